"""Single images on the page: those on which the engines disagree, and the reference's surest errors."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_core.data.columns import LABELS
from cxr_core.data.tensors import open_tensors
from cxr_core.errors import DataError
from cxr_core.evaluation.cases import Case
from cxr_core.evaluation.maps import Maps

Shown = dict[str, Any]

# Okabe and Ito's vermilion and sky blue, told apart with any common colour blindness.
_FOR, _AGAINST = (213, 94, 0), (86, 180, 233)


def gallery(
    cases: Sequence[Case], tensors: Path, threshold: float, maps: Mapping[str, Maps] | None = None
) -> list[Shown]:
    """What the page shows of each case: the picture as the network gets it, and who says what.

    Args:
        tensors: the folder of frozen tensors that the engines were scored on.
        maps: by file, of those images that have any.

    Raises:
        DataError: the tensors cannot be read, or a case is of other tensors.
    """
    if not cases:
        return []
    frozen = open_tensors(tensors)
    row_of = {str(file): row for row, file in enumerate(frozen.index["file"])}
    strange = [case.file for case in cases if case.file not in row_of]
    if strange:
        raise DataError(
            f"{tensors.name}/index.csv does not list {strange[0]}, which was scored; mend: give the tensors of that run"
        )
    return [_shown(case, frozen.images[row_of[case.file]], threshold, (maps or {}).get(case.file)) for case in cases]


def _shown(case: Case, picture: NDArray[np.uint8], threshold: float, maps: Maps | None) -> Shown:
    label = LABELS[case.label]
    said = _called(case.reference, threshold)
    others = {name: answer for name, answer in case.answers.items() if name in case.otherwise}
    agreeing = len(case.answers) - len(others)
    return {
        "picture": _data_uri(picture),
        "alternative": f"Radiograph of the class {label}, called {said} by the reference",
        "file": case.file,
        "truth": label if case.kind.upper() == label else f"{label}, {case.kind}",
        "reference": f"{case.reference:.3f}",
        "said": said,
        "right": said == label,
        "others": [
            {"name": name.replace("@", " "), "probability": f"{answer:.3f}", "said": _called(answer, threshold)}
            for name, answer in others.items()
        ],
        "agreeing": agreeing,
        "maps": _maps(picture, maps) if maps else [],
    }


def _maps(picture: NDArray[np.uint8], maps: Maps) -> list[Shown]:
    """FP32's map and the other's over the picture, in one scale: the larger of both is full colour."""
    scale = max(1e-9, *(abs(value) for one in (maps.fp32, maps.low) for row in one for value in row))
    return [
        {
            "picture": _data_uri(_overlaid(picture, np.asarray(values) / scale)),
            "name": name,
            "alternative": f"Where the answer of {name} hangs, over the same radiograph",
        }
        for name, values in (("fp32", maps.fp32), (maps.precision.value, maps.low))
    ]


def _overlaid(picture: NDArray[np.uint8], weights: NDArray[np.float64]) -> NDArray[np.uint8]:
    """RGB ``[H, W, 3]``: orange where covering takes from pneumonia (weight 1), blue where it adds (-1)."""
    from PIL import Image

    height, width = picture.shape
    smooth = Image.fromarray(weights.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    weight = np.asarray(smooth)[..., None]
    colour = np.where(weight > 0, np.array(_FOR, np.float32), np.array(_AGAINST, np.float32))
    opaque = 0.75 * np.abs(weight).clip(0, 1)
    return np.asarray(((1 - opaque) * picture[..., None] + opaque * colour).round(), np.uint8)


def _called(probability: float, threshold: float) -> str:
    return LABELS[int(probability >= threshold)]


def _data_uri(picture: NDArray[np.uint8]) -> str:
    """A lossless PNG of grey values [H, W] or colours [H, W, 3] inside an address, so that the page stays one file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
