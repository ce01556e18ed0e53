"""A compiled blob opened on the CPU: one synchronous request, or several at once on streams of their own."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import CpuExecution, Images, Logits, Spans, Stream
from cxr_core.engines.openvino.library import library
from cxr_core.engines.processor import thread_count
from cxr_core.engines.streams import CallStream
from cxr_core.errors import MachineError, ModelError
from cxr_core.refs import Precision

# Always stated, never left to OpenVINO, whose default is bf16 on CPUs that have it. fp16 and bf16 variants
# carry their types themselves: "dynamic" runs the graph as it is written, so that its fp32 first nodes stay
# fp32 (the hint "f16" lowers them too). Around int8 layers the rest is fp32.
_ARITHMETIC = {
    Precision.FP32: "f32",
    Precision.INT8: "f32",
    Precision.FP16: "dynamic",
    Precision.BF16: "dynamic",
}


def properties(
    precision: Precision, config: EngineConfig, *, profiling: bool = False, streams: int = 1
) -> dict[str, Any]:
    """How an engine is compiled and opened: all threads on one request, or an equal part of them on each stream."""
    return {
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": thread_count(config),
        "INFERENCE_PRECISION_HINT": _ARITHMETIC[precision],
        "PERF_COUNT": profiling,
    }


class OpenVINOStream:
    """See ``Stream``: an asynchronous request."""

    spans: Spans | None = None

    def __init__(self, request: Any) -> None:
        self._request = request
        self._loaded: Images | None = None
        self._bound = 0

    @property
    def bound_images(self) -> int:
        """See ``Stream``."""
        return self._bound

    def load(self, images: Images) -> None:
        """See ``Stream``."""
        self._loaded = images
        self._request.get_output_tensor(0).data[:] = np.nan

    def begin(self, images: Images | None) -> None:
        """See ``Stream``."""
        self._request.start_async({0: self._loaded if images is None else images}, share_inputs=True)

    def end(self) -> None:
        """See ``Stream``."""
        self._request.wait()
        self._bound = int(self._request.get_input_tensor(0).shape[0])

    def answers(self) -> Logits:
        """See ``Stream``."""
        return np.array(self._request.get_output_tensor(0).data, dtype=np.float32)


class OpenVINORunner:
    """See ``Runner`` and ``Streaming``."""

    spans: Spans | None = None

    def __init__(self, engine: Path, *, precision: Precision, config: EngineConfig, profiling: bool = False) -> None:
        """Imports the blob.

        Raises:
            MachineError: OpenVINO refuses the blob.
        """
        self._engine, self._precision, self._config, self._profiling = engine, precision, config, profiling
        self._compiled: Any = self._imported(1)
        self._request: Any = self._compiled.create_infer_request()
        self._bound = 0
        # The number of streams is fixed where a blob is imported, so each number that is asked for is an import.
        self._opened: dict[int, tuple[Any, Sequence[Stream]]] = {1: (self._compiled, [CallStream(self)])}
        self._asked = 1

    def _imported(self, streams: int) -> Any:
        openvino = library()
        how = properties(self._precision, self._config, profiling=self._profiling, streams=streams)
        try:
            return openvino.Core().import_model(self._engine.read_bytes(), "CPU", how)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise MachineError(
                f"OpenVINO {openvino.__version__} refuses {self._engine.name}: {reason}; build it here"
            ) from error

    @property
    def most_streams(self) -> int:
        """See ``Streaming``. A thread for each."""
        return int(self._compiled.get_property("INFERENCE_NUM_THREADS"))

    def streams(self, count: int) -> Sequence[Stream]:
        """See ``Streaming``."""
        if count not in self._opened:
            compiled = self._imported(count)
            if (held := compiled.get_property("NUM_STREAMS")) != count:
                raise MachineError(
                    f"OpenVINO makes {held} of the {count} streams asked for on "
                    f"{compiled.get_property('INFERENCE_NUM_THREADS')} threads: lower benchmark.streams, "
                    "or raise engine.threads where it is what limits them"
                )
            self._opened[count] = compiled, [OpenVINOStream(compiled.create_infer_request()) for _ in range(count)]
        self._asked = count
        return self._opened[count][1]

    @property
    def execution(self) -> CpuExecution:
        """See ``Streaming``. What OpenVINO says of itself."""
        compiled = self._opened[self._asked][0]
        streams, threads = (int(compiled.get_property(name)) for name in ("NUM_STREAMS", "INFERENCE_NUM_THREADS"))
        return CpuExecution(streams=streams, threads=threads)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See ``Runner``."""
        return tuple(d.get_length() if d.is_static else -1 for d in self._compiled.input(0).partial_shape)

    @property
    def bound_images(self) -> int:
        """See ``Runner``."""
        return self._bound

    def __call__(self, images: Images) -> Logits:
        """See ``Runner``.

        Raises:
            ModelError: the images do not fit the engine's input.
        """
        try:
            answers = self._request.infer({0: images}, share_inputs=True)[0]
        except RuntimeError as error:
            raise ModelError(
                f"images {images.shape} do not fit the engine's input {self.input_shape}: {error}"
            ) from error
        self._bound = int(self._request.get_input_tensor(0).shape[0])
        return np.asarray(answers, dtype=np.float32)

    def runtime_layers(self) -> list[dict[str, str]]:
        """What the last calls executed: OpenVINO's runtime attributes per layer, ``name`` added."""
        return [
            {key: value.astype(str) for key, value in op.get_rt_info().items()} | {"name": op.get_friendly_name()}
            for op in self._compiled.get_runtime_model().get_ordered_ops()
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._request = self._compiled = None
        self._opened.clear()
