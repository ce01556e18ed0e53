"""What every backend promises. The contract tests run on all of them, the test double too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from cxr_core.config import EngineConfig
from cxr_core.progress import Progress
from cxr_core.refs import Frozen, Precision

Images = NDArray[np.float32]
Logits = NDArray[np.float32]
Share = Annotated[float, Field(ge=0, le=1)]


class Support(Frozen):
    """Whether this machine runs a precision on this backend, found by asking the machine.

    ``emulated``: the answers are those of the precision, the speed is not. ``reason`` is one sentence,
    empty only where there is nothing to say about a native precision.
    """

    level: Literal["native", "emulated", "unsupported"]
    reason: str = ""


class Layer(Frozen):
    """One executed layer as the compiled engine names it. ``share`` is its part of the whole weight.

    ``inputs`` and ``outputs`` are the formats of its tensors and ``tactic`` is its kernel, in the engine's own words;
    empty where it does not tell.
    """

    name: str
    kind: str
    precision: str
    share: Share
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    tactic: str = ""


class Effective(Frozen):
    """The arithmetic that really runs, read back from a compiled engine and never from the request.

    ``shares`` maps a precision (or ``unknown``) to its part of the weight; they sum to 1 unless nothing
    could be read. ``label`` names those that matter, largest first: ``fp32``, ``int8+fp32``, ``unknown``.
    ``counts`` is the share of the layers that run in each precision, ``weights`` that of the weights that are stored in
    it, empty where the engine does not tell.
    """

    shares: dict[str, Share]
    weighted_by: Literal["time", "flops", "layers"]
    layers: tuple[Layer, ...]
    label: str
    counts: dict[str, Share] = Field(default_factory=dict)
    weights: dict[str, Share] = Field(default_factory=dict)


class Spans(NamedTuple):
    """Where one query's time went, in ms under trtexec's names: ``enqueue`` on the host, the others on the GPU."""

    enqueue: float
    h2d: float
    compute: float
    d2h: float


class Runner(Protocol):
    """An engine opened for answering. A context manager: leaving it frees the device."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """[batch, 1, height, width] as the engine declares it; -1 stands for any batch."""
        ...

    @property
    def bound_images(self) -> int:
        """Batch dimension of the tensor that the engine really had bound at the last call; 0 before any."""
        ...

    @property
    def spans(self) -> Spans | None:
        """Of the last call; None where nothing is copied to a device of its own."""
        ...

    def __call__(self, images: Images) -> Logits:
        """Logits float32 [batch, 2] of images float32 0..255 [batch, 1, height, width]."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Execution(Frozen):
    """How queries were really executed: as asked for or not. ``streams`` is how many at once."""

    streams: int


class CpuExecution(Execution):
    """``threads`` computed, those of all streams together."""

    threads: int


class GpuExecution(Execution):
    """``transfers``: images and answers were copied within each query. ``spin_wait``: the host spun while it waited;
    else it slept, and being woken is part of a query's time as the host sees it. ``memory_mebibytes`` is what all
    streams take on the GPU beside the weights.
    """

    transfers: bool
    cuda_graph: bool
    spin_wait: bool
    memory_mebibytes: float


class Stream(Protocol):
    """One queue of a device, with buffers of its own: a query at a time, beside those of other streams.

    A processor copies nothing: ``load`` only says which images a query without images is of.
    """

    @property
    def bound_images(self) -> int:
        """See ``Runner``."""
        ...

    @property
    def spans(self) -> Spans | None:
        """Of the last query that has ended."""
        ...

    def load(self, images: Images) -> None:
        """Copies images to the device, for queries without copies, and wipes out the answers that lie there."""
        ...

    def begin(self, images: Images | None) -> None:
        """Enqueues a query and does not wait: images in, execution, answers out. None leaves out both copies and
        computes on what was loaded. The images fit the engine, see ``Runner.__call__``."""
        ...

    def end(self) -> None:
        """Waits for the query."""
        ...

    def answers(self) -> Logits:
        """Of the query that has ended last; copied now where it was without copies."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """What a runner offers besides ``Runner`` where it can work on several queries at once."""

    @property
    def most_streams(self) -> int:
        """More than these are not worth a trial."""
        ...

    def streams(self, count: int) -> Sequence[Stream]:
        """So many streams; one alone is what answers calls. They live as long as the runner.

        Raises:
            MachineError: the device has not as many, or not the memory for them (with the weights, no more than
                ``EngineConfig.memory_mebibytes``).
        """
        ...

    @property
    def execution(self) -> Execution:
        """Of the streams asked for last, and of the last query of each."""
        ...


class Backend(Protocol):
    """A way to compile and run a graph. A test double carries ``fake = True``; everything shown says so."""

    name: str
    fake: bool

    def support(self, precision: Precision) -> Support:
        """Cheap: asks the machine without importing the backend's library where that can be avoided."""
        ...

    def device(self) -> str:
        """The device's own name, as a figure must carry it."""
        ...

    def devices(self) -> tuple[str, ...]:
        """The devices on which it computes alike, one at a time; the first is the one that it takes by itself.

        Names of their locks (``cxr_core/device.py``): ``cpu``, or UUIDs of GPUs.
        """
        ...

    def environment(self) -> Mapping[str, JsonValue]:
        """What changes a result here: library version, device, its instruction sets, processor count."""
        ...

    def build(
        self,
        *,
        graph: Path,
        precision: Precision,
        engine: Path,
        config: EngineConfig,
        progress: Progress,
        cache: Path | None = None,
    ) -> dict[str, JsonValue]:
        """Compiles ``graph`` into the file ``engine``; small facts, ``note`` among them where one is due.

        What the engine depends on beyond graph and environment is the fact ``built_with``. ``cache`` is a folder that
        outlives the build: what the backend keeps there may make the next build faster and changes no answer.

        Raises:
            ModelError: the backend cannot compile this graph.
            MachineError: the backend is not usable here; the message says what to install.
        """
        ...

    def runner(self, engine: Path, *, precision: Precision, config: EngineConfig, profiling: bool = False) -> Runner:
        """Opens an engine that was checked before (``metadata.check_engine``)."""
        ...

    def inspect(self, engine: Path, *, precision: Precision, config: EngineConfig) -> Effective:
        """Runs the engine a few times under its profiler and reads back each layer's arithmetic.

        ``precision`` only chooses how the engine is opened; it never colours what is read.
        """
        ...

    def peak(self, precision: Precision, *, config: EngineConfig, seconds: float) -> float | None:
        """The most that the device computes in that arithmetic, measured for about ``seconds``: tera operations a
        second, a multiply-add counted as two. None where this backend does not measure it, or the device has none."""
        ...
