"""A graph's answers under ONNX Runtime on the CPU, and how far two sets of answers are apart."""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from pydantic import JsonValue
from scipy.special import expit

from cxr_core.graphs.files import INPUT, OUTPUT
from cxr_core.graphs.metadata import GraphMetadata

Images = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Logits = np.ndarray[Any, np.dtype[np.float32]]

_LEVELS = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_ERRORS_ONLY = 3


class Answering:
    """One session. ``basic`` computes Q/DQ as written instead of fusing it; ``none`` changes nothing at all."""

    def __init__(self, graph: Path | bytes, optimised: Literal["all", "basic", "none"] = "all") -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = _LEVELS[optimised]
        options.log_severity_level = _ERRORS_ONLY
        source = graph if isinstance(graph, bytes) else str(graph)
        self.session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: np.ndarray[Any, Any], batch: int) -> Logits:
        """Logits float32 ``[n, 2]`` of grey levels 0..255 ``[n, 1, H, W]``, ``batch`` images at a time."""
        chunks = (np.asarray(images[i : i + batch], np.float32) for i in range(0, len(images), batch))
        return np.concatenate([self.session.run([OUTPUT], {INPUT: chunk})[0] for chunk in chunks])


def probabilities(logits: Logits, metadata: GraphMetadata) -> Floats:
    """softmax(logits / temperature)[PNEUMONIA], float64 ``[n]``."""
    margin = logits[:, 1].astype(np.float64) - logits[:, 0]
    return np.asarray(expit(margin / metadata.temperature))


def shift(found: Logits, expected: Logits, metadata: GraphMetadata) -> dict[str, JsonValue]:
    """How far the answers moved: largest and mean change of probability, changed decisions, answers that are no number.

    An answer that is no number counts as a changed decision and is left out of the changes.
    """
    ours, theirs = probabilities(found, metadata), probabilities(expected, metadata)
    finite = np.isfinite(ours)
    moved = np.abs(ours - theirs)[finite]
    flips = ~finite | ((ours >= metadata.threshold) != (theirs >= metadata.threshold))
    return {
        "images": len(ours),
        "max_shift": rounded(moved.max()) if finite.any() else None,
        "mean_shift": rounded(moved.mean()) if finite.any() else None,
        "flips": int(flips.sum()),
        "not_finite": int((~finite).sum()),
    }


def rounded(value: float) -> float:
    """Four significant digits: enough to judge by, and steady from run to run."""
    return float(f"{value:.4g}") if math.isfinite(value) else value
