"""A compiled blob opened on the CPU, one synchronous request."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Images, Logits, Spans
from cxr_core.engines.openvino.library import library
from cxr_core.engines.processor import thread_count
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


def properties(precision: Precision, config: EngineConfig, *, profiling: bool = False) -> dict[str, Any]:
    """How an engine is compiled and opened: one stream, all its threads on one request."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": thread_count(config),
        "INFERENCE_PRECISION_HINT": _ARITHMETIC[precision],
        "PERF_COUNT": profiling,
    }


class OpenVINORunner:
    """See ``Runner``."""

    spans: Spans | None = None

    def __init__(self, engine: Path, *, precision: Precision, config: EngineConfig, profiling: bool = False) -> None:
        """Imports the blob.

        Raises:
            MachineError: OpenVINO refuses the blob.
        """
        openvino = library()

        try:
            self._compiled: Any = openvino.Core().import_model(
                engine.read_bytes(), "CPU", properties(precision, config, profiling=profiling)
            )
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise MachineError(
                f"OpenVINO {openvino.__version__} refuses {engine.name}: {reason}; build it here"
            ) from error
        self._request: Any = self._compiled.create_infer_request()
        self._bound = 0

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
