"""A plan deserialised: what its streams share."""

from pathlib import Path
from typing import Any

import numpy as np

from cxr_core.engines.graph import INPUT, OUTPUT
from cxr_core.engines.tensorrt.library import tensorrt
from cxr_core.engines.tensorrt.log import log_sink, why
from cxr_core.errors import MachineError
from cxr_core.refs import Precision

_FLOAT = 4  # bytes


class OpenedPlan:
    """Runtime and engine. Input and output are float32 in every precision; the graph casts inside.

    ``smallest``, ``tuned`` and ``largest`` are shapes of the input [batch, 1, height, width].
    """

    def __init__(self, file: Path, precision: Precision) -> None:
        """Deserialises the plan.

        Raises:
            MachineError: TensorRT cannot start here, or refuses the plan.
        """
        self.name = f"{precision} plan {file.name}"
        self._trt = tensorrt()
        self.sink = log_sink(self._trt)
        # Plans with host code in them stay refused: engine_host_code_allowed is left at its default.
        self._opener = self._started()
        self._engine: Any = self._opener.deserialize_cuda_engine(file.read_bytes())
        if self._engine is None:
            raise MachineError(f"TensorRT {self._trt.__version__} refuses {self.name}: {why(self.sink)}; build it here")
        self.smallest, self.tuned, self.largest = (
            tuple(int(side) for side in shape) for shape in self._engine.get_tensor_profile_shape(INPUT, 0)
        )
        self.input_shape = tuple(int(side) for side in self._engine.get_tensor_shape(INPUT))
        self.classes = int(tuple(self._engine.get_tensor_shape(OUTPUT))[-1])

    def _started(self) -> Any:
        try:
            return self._trt.Runtime(self.sink)
        except TypeError as error:  # what a null from the library becomes
            raise MachineError(
                f"TensorRT {self._trt.__version__} cannot start its runtime here: {why(self.sink)} ({error}); "
                "driver and TensorRT's libraries must fit its version: install them anew"
            ) from error

    @property
    def is_open(self) -> bool:
        """Until it is closed."""
        return self._engine is not None

    @property
    def bytes_in(self) -> int:
        """Of one image."""
        return int(np.prod(self.largest[1:])) * _FLOAT

    @property
    def bytes_out(self) -> int:
        """Of one image's logits."""
        return self.classes * _FLOAT

    @property
    def bytes_a_stream(self) -> int:
        """GPU memory that each stream takes: activations, and buffers for the largest batch. Weights are shared."""
        return int(self._engine.device_memory_size_v2) + self.largest[0] * (self.bytes_in + self.bytes_out)

    def context(self) -> Any:
        """A new execution context. All of them must be forgotten before the plan is closed.

        Raises:
            MachineError: TensorRT makes none.
        """
        context: Any = self._engine.create_execution_context()
        if context is None:
            raise MachineError(
                f"TensorRT makes no execution context for {self.name}: {why(self.sink)}; the GPU has no room left: "
                "end other processes on it, or lower engine.batches"
            )
        return context

    def layer_information(self, context: Any) -> str:
        """What TensorRT's engine inspector says of the plan at the shapes of that context, as JSON text."""
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def close(self) -> None:
        """In this order: engine, runtime."""
        self._engine = None
        self._opener = None
