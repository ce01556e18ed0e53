"""A plan opened on the GPU: its first stream answers queries one by one, the others only where they are asked for."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import GpuExecution, Images, Logits, Spans
from cxr_core.engines.tensorrt.library import checked, cudart, tensorrt
from cxr_core.engines.tensorrt.plan import OpenedPlan
from cxr_core.engines.tensorrt.stream import TensorRTStream
from cxr_core.errors import MachineError, ModelError
from cxr_core.refs import Precision

_MEBIBYTE = 1 << 20
_MOST_STREAMS = 8  # trtexec's --infStreams is seldom raised further: batches fill a GPU before that


class TensorRTRunner:
    """See ``Runner`` and ``Streaming``."""

    def __init__(self, engine: Path, *, precision: Precision, config: EngineConfig, profiling: bool = False) -> None:
        """Deserialises the plan and takes all memory that its first stream will ever need.

        A CUDA graph is captured where ``config.cuda_graph`` asks for it and nothing is profiled.

        Raises:
            MachineError: TensorRT refuses the plan, a CUDA call fails, or the memory is more than
                ``config.memory_mebibytes`` or than the GPU has free.
        """
        self._trt, self._cudart, self._config = tensorrt(), cudart(), config
        self._graph_wanted = config.cuda_graph and not profiling
        self._streams: list[TensorRTStream] = []
        self._asked = 0
        self.times: dict[str, float] = {}
        self._choose_wait()
        with ExitStack() as self._owned:  # whatever was taken is given back where the opening fails half-way
            checked(self._cudart.cudaSetDevice, 0)
            self._weights = engine.stat().st_size  # what else is in a plan is small beside them
            self._refuse_too_much(f"{precision} plan {engine.name}", 0, 0)
            self._opened = OpenedPlan(engine, precision)
            self._owned.callback(self._opened.close)
            (self._first,) = self.streams(1)
            if profiling:
                self._first.profile(_profiler(self._trt, self.times))
            self._owned = self._owned.pop_all()

    def _choose_wait(self) -> None:
        """Before the device is first used. Where it is refused nothing fails: ``execution`` says what holds."""
        runtime = self._cudart
        spin, sleep = runtime.cudaDeviceScheduleSpin, runtime.cudaDeviceScheduleBlockingSync
        runtime.cudaSetDeviceFlags(spin if self._config.spin_wait else sleep)
        runtime.cudaGetLastError()

    @property
    def most_streams(self) -> int:
        """See ``Streaming``."""
        return _MOST_STREAMS

    def streams(self, count: int) -> Sequence[TensorRTStream]:
        """See ``Streaming``."""
        self._refuse_too_much(self._opened.name, count, self._opened.bytes_a_stream)
        while len(self._streams) < count:
            added = TensorRTStream(self._opened, cuda_graph=self._graph_wanted)
            self._owned.callback(added.close)
            self._streams.append(added)
        self._asked = count
        return self._streams[:count]

    def _refuse_too_much(self, name: str, count: int, each: int) -> None:
        """Before anything of it is allocated: the weights where there are no streams, else so many streams."""
        needed = self._weights + count * each
        missing = (count - len(self._streams)) * each if count else self._weights
        free, _ = checked(self._cudart.cudaMemGetInfo)
        if needed > self._config.memory_mebibytes * _MEBIBYTE or missing > free:
            parts, mend = f"weights {self._weights / _MEBIBYTE:.1f} MiB", "end other processes on it"
            if count:
                parts += f"; {count} x {each / _MEBIBYTE:.1f} MiB for the activations and buffers of a stream"
                mend = f"lower {'benchmark.streams or ' if count > 1 else ''}engine.batches"
            raise MachineError(
                f"{name} needs {needed / _MEBIBYTE:.1f} MiB ({parts}); {free / _MEBIBYTE:.1f} MiB are free on the GPU "
                f"and engine.memory_mebibytes is {self._config.memory_mebibytes}: {mend}, or raise the limit"
            )

    @property
    def execution(self) -> GpuExecution:
        """See ``Streaming``. What the driver says, and what was launched; memory of streams opened before counts."""
        working = self._streams[: self._asked]
        flags = int(checked(self._cudart.cudaGetDeviceFlags))
        return GpuExecution(
            streams=len(working),
            transfers=all(one.copies for one in working),
            cuda_graph=all(one.graph_launched for one in working),
            spin_wait=flags & self._cudart.cudaDeviceScheduleMask == self._cudart.cudaDeviceScheduleSpin,
            memory_mebibytes=round(len(self._streams) * self._opened.bytes_a_stream / _MEBIBYTE, 3),
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See ``Runner``."""
        return self._opened.input_shape

    @property
    def tuned_batch(self) -> int:
        """The batch that the plan's kernels were chosen for."""
        return self._opened.tuned[0]

    @property
    def spans(self) -> Spans | None:
        """See ``Runner``."""
        return self._first.spans

    @property
    def bound_images(self) -> int:
        """See ``Runner``."""
        return self._first.bound_images

    def __call__(self, images: Images) -> Logits:
        """See ``Runner``.

        Raises:
            ModelError: the images do not fit the engine's input, or are more than its largest batch.
            MachineError: the runner was closed, or the GPU fails.
        """
        self._refuse_unfit(images)
        self._first.begin(images)
        self._first.end()
        return self._first.answers()

    def _refuse_unfit(self, images: Images) -> None:
        opened = self._opened
        if not opened.is_open:
            raise MachineError(f"{opened.name} was closed; open it again")
        if images.dtype != np.float32 or images.shape[1:] != opened.largest[1:]:
            raise ModelError(
                f"images {images.dtype} {images.shape} do not fit the engine's input float32 {opened.input_shape}"
            )
        if not opened.smallest[0] <= len(images) <= opened.largest[0]:
            raise ModelError(
                f"{len(images)} images at once, the plan takes {opened.smallest[0]} to {opened.largest[0]}: "
                "build it with other engine.batches"
            )

    def layer_information(self) -> str:
        """What TensorRT's engine inspector says of the plan at the shapes of the last call, as JSON text."""
        return self._first.layer_information()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._owned.close()
        except MachineError:
            if error is None:  # else the GPU failed before, and freeing only says so again
                raise


def _profiler(trt: Any, times: dict[str, float]) -> Any:
    """A ``trt.IProfiler`` that sums milliseconds by layer into ``times``."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times[layer_name] = times.get(layer_name, 0.0) + ms

    return Profiler()
