"""The stage ``occlusion``: where a picture's answer hangs, for FP32 and for a precision that disagrees with it.

A grey patch is laid over one place after the other, and what the probability of PNEUMONIA loses by it is written down
(Zeiler and Fergus 2014, ECCV, section 2.2). It needs answers alone, so it holds for any graph in any precision, where
Grad-CAM needs gradients, which an INT8 graph has not.
"""

from collections.abc import Container
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue, ValidationError

from cxr_core.config import OcclusionConfig
from cxr_core.data.tensors import open_tensors
from cxr_core.errors import DataError
from cxr_core.evaluation.cases import Case
from cxr_core.evaluation.maps import GRID, Maps, Occlusion, Rows
from cxr_core.evaluation.metrics import Floats
from cxr_core.evaluation.reading import what
from cxr_core.evaluation.rows import Comparison
from cxr_core.evaluation.variants import Variant, open_variants
from cxr_core.evaluation.writing import write_json
from cxr_core.progress import Progress, silent
from cxr_core.refs import Precision

PATCH = 8  # a patch's side is one so-manieth of the picture's


def occlusion(
    *,
    comparison: Path,
    tensors: Path,
    variants: Path,
    out: Path,
    config: OcclusionConfig,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Write ``occlusion.json`` of the first images on which a precision disagrees with FP32.

    Args:
        comparison: ``comparison.json``, which names the images.
        variants: JSON object of graph files by precision; an image on which only others disagree is left out.

    Returns:
        Facts: the number of images.

    Raises:
        DataError: unreadable or unfit inputs.
        ModelError: a graph that breaks the contract.
    """
    opened = open_variants(variants)
    wanted = [(case, low) for case in _cases(comparison) if (low := _lowest(case, opened.keys())) is not None]
    frozen = open_tensors(tensors)
    row_of = {str(file): row for row, file in enumerate(frozen.index["file"])}
    found = []
    for done, (case, low) in enumerate(chosen := wanted[: config.images]):
        progress(done, len(chosen), "occlusion maps")
        picture = frozen.images[row_of[case.file]]
        maps = (_rows(losses(opened[precision], picture)) for precision in (Precision.FP32, low))
        found.append(Maps(file=case.file, precision=low, **dict(zip(("fp32", "low"), maps, strict=True))))
    write_json(out / "occlusion.json", Occlusion(maps=tuple(found)))
    return {"images": len(found)}


def losses(variant: Variant, picture: NDArray[np.uint8]) -> Floats:
    """What covering each place takes from the probability of PNEUMONIA, ``[GRID, GRID]``; below 0 it adds to it.

    Args:
        picture: ``[H, W]``; the patch has its mean grey.
    """
    side = max(2, picture.shape[0] // PATCH)
    places = np.linspace(0, picture.shape[0] - side, GRID).round().astype(int)
    covered = np.repeat(picture[None], GRID * GRID, axis=0)
    grey = np.uint8(round(float(picture.mean())))
    for i, (top, left) in enumerate((top, left) for top in places for left in places):
        covered[i, top : top + side, left : left + side] = grey
    (whole,) = variant(picture[None])
    return np.asarray(whole - variant(covered)).reshape(GRID, GRID)


def _cases(comparison: Path) -> tuple[Case, ...]:
    try:
        return Comparison.model_validate_json(comparison.read_bytes()).disagreements
    except (OSError, ValidationError) as error:
        raise DataError(f"{comparison.name}: a comparison expected, but {what(error)}") from error


def _lowest(case: Case, able: Container[Precision]) -> Precision | None:
    """The precision with a graph here whose engine disagrees most."""
    by_shift = sorted(case.otherwise, key=lambda name: -abs(case.answers[name] - case.reference))
    precisions = [Precision(name.partition("@")[0]) for name in by_shift]
    return next((one for one in precisions if one in able and one is not Precision.FP32), None)


def _rows(values: Floats) -> Rows:
    return tuple(tuple(round(float(value), 5) for value in row) for row in values)
