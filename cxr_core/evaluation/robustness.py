"""The stage ``robustness``: how each precision does on validation images that were made worse, step by step.

On validation, because looking at the test split in twenty-one ways would be twenty-one looks; and nothing is chosen by
it. Threshold and temperature were set on (other changes of) these images, so absolute figures flatter the model a
little; what is meant to be read is how they fall, and whether a precision falls faster than FP32.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from cxr_core.config import RobustnessConfig
from cxr_core.data.tensors import open_tensors
from cxr_core.evaluation.intervals import patient_bootstrap, share_interval
from cxr_core.evaluation.metrics import decisions
from cxr_core.evaluation.trials import CLEAN, Robustness, Trial
from cxr_core.evaluation.variants import open_variants
from cxr_core.evaluation.writing import write_json
from cxr_core.progress import Progress, silent
from cxr_core.refs import Precision

Pictures = NDArray[np.uint8]

_REPLICATES = 2000  # as many as the comparison draws by default


def robustness(
    *, tensors: Path, variants: Path, out: Path, config: RobustnessConfig, progress: Progress = silent
) -> dict[str, JsonValue]:
    """Write ``robustness.json``: accuracy of every graph at five levels of each of ``CHANGES``.

    Args:
        variants: JSON object of graph files by precision.

    Returns:
        Facts: the number of images.

    Raises:
        DataError: no validation images, or unreadable inputs.
        ModelError: a graph that breaks the contract.
    """
    frozen = open_tensors(tensors)
    rows = frozen.select("val")
    chosen = np.sort(np.random.default_rng(config.seed).permutation(rows)[: config.images])
    pictures, ill = frozen.images[chosen], frozen.labels[chosen] == 1
    _, patient = np.unique(frozen.index["patient"].to_numpy(np.str_)[chosen], return_inverse=True)
    bootstrap = patient_bootstrap(frozen.labels[chosen], patient, _REPLICATES, config.seed)
    opened = open_variants(variants)
    threshold = opened[Precision.FP32].metadata.threshold
    steps = [(CLEAN, 0.0), *((kind, level) for kind, (levels, _) in CHANGES.items() for level in levels)]
    trials = []
    for done, (kind, level) in enumerate(steps):
        progress(done, len(steps), f"{kind} {level:g}")
        seen = changed(pictures, kind, level, config.seed) if kind in CHANGES else pictures
        called = {precision: decisions(variant(seen), threshold) for precision, variant in opened.items()}
        for precision, decided in called.items():
            right = decided == ill
            trials.append(
                Trial(
                    precision=precision,
                    kind=kind,
                    level=level,
                    accuracy=float(right.mean()),
                    accuracy_interval=share_interval(right, np.ones_like(ill), bootstrap),
                    agreement=float((decided == called[Precision.FP32]).mean()),
                )
            )
    write_json(out / "robustness.json", Robustness(images=len(ill), trials=tuple(trials)))
    return {"images": len(ill)}


def changed(pictures: Pictures, kind: str, level: float, seed: int) -> Pictures:
    """The pictures ``[n, H, W]`` with one change of ``CHANGES``; the same seed gives the same noise."""
    _, change = CHANGES[kind]
    rng = np.random.default_rng(seed)
    return np.stack([change(picture, level, rng) for picture in pictures])


def _jpeg(picture: Pictures, quality: float, _: np.random.Generator) -> Pictures:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer))


def _bright(picture: Pictures, factor: float, _: np.random.Generator) -> Pictures:
    return (picture * factor).clip(0, 255).astype(np.uint8)


def _turned(picture: Pictures, degrees: float, _: np.random.Generator) -> Pictures:
    from PIL import Image

    return np.asarray(Image.fromarray(picture).rotate(degrees, resample=Image.Resampling.BILINEAR))


def _noisy(picture: Pictures, deviation: float, rng: np.random.Generator) -> Pictures:
    return (picture + rng.normal(0, deviation, picture.shape)).round().clip(0, 255).astype(np.uint8)


CHANGES: dict[str, tuple[tuple[float, ...], Callable[[Pictures, float, np.random.Generator], Pictures]]] = {
    "JPEG quality": ((90, 70, 50, 30, 10), _jpeg),
    "brightness, times": ((0.85, 0.7, 0.55, 0.4, 0.25), _bright),
    "rotation, degrees": ((3, 6, 10, 15, 25), _turned),
    "noise, grey levels": ((4, 8, 16, 24, 40), _noisy),
}
"""Levels of each change from mild to harsh, and the change itself, on pictures as the network gets them."""
