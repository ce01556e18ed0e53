"""An optimised graph opened on the CPU, once for each stream."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import CpuExecution, Images, Logits, Spans
from cxr_core.engines.processor import thread_count
from cxr_core.engines.streams import CallStream, ThreadStream
from cxr_core.errors import MachineError, ModelError

_ERRORS_ONLY = 3


def silenced() -> Any:
    """The library, with its telemetry off."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def session_options(config: EngineConfig) -> Any:
    """Threads are stated, because the default pins one to every core of the host, a container's limit or not."""
    options = silenced().SessionOptions()
    options.intra_op_num_threads = thread_count(config)
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    return options


class OnnxRuntimeRunner:
    """See ``Runner`` and ``Streaming``."""

    spans: Spans | None = None

    def __init__(
        self, engine: Path, *, config: EngineConfig, profiling: bool = False, profile: Path | None = None
    ) -> None:
        """Opens the graph as it is: what was optimised at build time is not optimised again.

        ``profile`` is the prefix of the trace that ``profiling`` writes; its default is beside the engine.

        Raises:
            MachineError: ONNX Runtime refuses the file.
        """
        runtime = silenced()
        options = session_options(config)
        self._engine, self._config = engine, config
        self._opened: dict[int, Sequence[CallStream]] = {1: [CallStream(self)]}
        self._asked = 1
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_profiling = profiling
        options.profile_file_prefix = str(profile or engine.with_name("profile"))
        try:
            self._session: Any = runtime.InferenceSession(str(engine), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            reason = str(error).strip().splitlines()[-1]
            raise MachineError(
                f"ONNX Runtime {runtime.__version__} refuses {engine.name}: {reason}; build it here"
            ) from error
        self._input: Any = self._session.get_inputs()[0]
        self._output: str = self._session.get_outputs()[0].name
        self._binding: Any = self._session.io_binding()
        self._value: Any = runtime.OrtValue.ortvalue_from_numpy
        self._bound = 0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See ``Runner``."""
        return tuple(side if isinstance(side, int) else -1 for side in self._input.shape)

    @property
    def bound_images(self) -> int:
        """See ``Runner``."""
        return self._bound

    def __call__(self, images: Images) -> Logits:
        """See ``Runner``.

        Raises:
            ModelError: the images do not fit the engine's input.
        """
        value = self._value(images)
        try:
            self._binding.bind_ortvalue_input(self._input.name, value)
            self._binding.bind_output(self._output)
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            raise ModelError(
                f"images {images.shape} do not fit the engine's input {self.input_shape}: {error}"
            ) from error
        self._bound = int(value.shape()[0])
        return np.asarray(self._binding.copy_outputs_to_cpu()[0], dtype=np.float32)

    @property
    def threads(self) -> int:
        """Those that the session has, the caller's among them."""
        return int(self._session.get_session_options().intra_op_num_threads)

    @property
    def most_streams(self) -> int:
        """See ``Streaming``. A thread for each."""
        return self.threads

    def streams(self, count: int) -> Sequence[CallStream]:
        """See ``Streaming``. Several are a session each, with an equal part of the threads: calls of one session that
        run at once share its threads and bring another each, so that more than were asked for would compute."""
        if count > self.threads:
            raise MachineError(
                f"ONNX Runtime has {self.threads} threads for the {count} streams asked for: lower benchmark.streams, "
                "or raise engine.threads"
            )
        if count not in self._opened:
            part = self._config.model_copy(update={"threads": self.threads // count})
            self._opened[count] = [ThreadStream(OnnxRuntimeRunner(self._engine, config=part)) for _ in range(count)]
        self._asked = count
        return self._opened[count]

    @property
    def execution(self) -> CpuExecution:
        """See ``Streaming``."""
        return CpuExecution(streams=self._asked, threads=self._asked * (self.threads // self._asked))

    def end_profiling(self) -> Path:
        """Closes the trace and says where it lies."""
        return Path(self._session.end_profiling())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._binding = self._session = None
        for one in (stream for streams in self._opened.values() for stream in streams):
            one.close()
        self._opened.clear()
