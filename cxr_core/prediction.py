"""Radiographs through an exported graph. The ONNX file alone suffices: all that an answer needs is inside it."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from scipy.special import softmax

from cxr_core.data.decode import decode_and_resize
from cxr_core.graphs.files import open_graph


class Model:
    """A graph opened on ONNX Runtime. A context manager, like every runner."""

    def __init__(self, graph: Path) -> None:
        import onnxruntime

        _, self._about = open_graph(graph)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    @property
    def threshold(self) -> float:
        """PNEUMONIA at this probability and above; set before any look at test."""
        return self._about.threshold

    @property
    def temperature(self) -> float:
        """Logits are divided by it before the softmax."""
        return self._about.temperature

    def predict(self, image: Path) -> tuple[str, float]:
        """Label and calibrated probability of PNEUMONIA of one image file.

        Raises:
            UsageError: not an image that can be judged; the message says why.
        """
        pixels = decode_and_resize(image, size=self._about.size, filter=self._about.filter)
        logits = self._session.run(["output"], {"input": pixels[None, None].astype(np.float32)})[0]
        probability = float(softmax(np.asarray(logits[0], np.float64) / self.temperature)[1])
        return self._about.labels[int(probability >= self.threshold)], probability

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None


def open_model(graph: Path) -> Model:
    """Open a graph exported here.

    Raises:
        ModelError: not an ONNX file, or one without the metadata that an answer needs.
    """
    return Model(graph)
