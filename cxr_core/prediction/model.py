"""A graph opened for answering. All that an answer needs is inside the ONNX file, and ONNX Runtime reads it."""

from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL.Image import Image

from cxr_core.config import EngineConfig
from cxr_core.data.decode import resize
from cxr_core.engines.onnxruntime.runner import session_options, silenced
from cxr_core.errors import ModelError
from cxr_core.graphs.metadata import GraphMetadata, metadata_from_properties

_INPUT, _OUTPUT, _FLOAT = "input", "output", "tensor(float)"


class Model:
    """A context manager, like every runner. It takes a graph in any precision whose input and output are float32."""

    def __init__(self, content: bytes, source: str) -> None:
        """``content`` is an ONNX file; from bytes, no file beside it can be read as a part of it.

        Raises:
            ModelError: not an ONNX file, other inputs and outputs, or without the metadata that an answer needs.
        """
        runtime = silenced()
        try:
            self._session: Any = runtime.InferenceSession(
                content, session_options(EngineConfig()), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"{source}: ONNX Runtime {runtime.__version__} cannot open it: {reason}") from error
        try:
            self.about: GraphMetadata = metadata_from_properties(self._session.get_modelmeta().custom_metadata_map)
        except ModelError as error:
            raise ModelError(f"{source}: {error}") from error
        self._check_ports(source)

    def probability(self, image: Image) -> float:
        """softmax(output / temperature)[PNEUMONIA] of a picture in mode L: calibrated, 0 to 1.

        Raises:
            ModelError: the graph's answer is no number.
        """
        pixels = resize(image, size=self.about.size, filter=self.about.filter)
        logits = self._session.run([_OUTPUT], {_INPUT: pixels[None, None].astype(np.float32)})[0]
        normal, pneumonia = np.asarray(logits, np.float64)[0]
        if not np.isfinite([normal, pneumonia]).all():
            raise ModelError(f"the graph answers {normal} and {pneumonia}, which are no numbers: export it again")
        return float(np.exp(-np.logaddexp(0, (normal - pneumonia) / self.about.temperature)))

    def label(self, probability: float) -> str:
        """PNEUMONIA from the threshold on, which was set before any look at test."""
        return self.about.labels[int(probability >= self.about.threshold)]

    def _check_ports(self, source: str) -> None:
        size = self.about.size
        found = [
            (port.name, port.type, [side if isinstance(side, int) else -1 for side in port.shape])
            for port in (*self._session.get_inputs(), *self._session.get_outputs())
        ]
        if found != [(_INPUT, _FLOAT, [-1, 1, size, size]), (_OUTPUT, _FLOAT, [-1, 2])]:
            raise ModelError(
                f"{source}: expected {_INPUT} {_FLOAT} [-1, 1, {size}, {size}] and {_OUTPUT} {_FLOAT} [-1, 2] "
                f"(-1 is any batch), as cxr.size says, found {found}; export it again"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
