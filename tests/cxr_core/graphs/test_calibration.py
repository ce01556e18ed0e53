from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_core.errors import CxrError, DataError, UsageError
from cxr_core.graphs.calibration import neighbour_correlation, open_calibration

Array = np.ndarray[Any, Any]


def test_images_are_taken(calibration: Path) -> None:
    assert open_calibration(calibration, 64).shape == (24, 1, 64, 64)


@pytest.mark.parametrize(
    ("edit", "kind", "told"),
    [
        (lambda a: a[:0], DataError, "holds 0 .*at least 16"),
        (lambda a: a[:15], DataError, "holds 15"),
        (lambda a: a * 0 + 90, DataError, "24 of 24 calibration images are blank"),
        (lambda a: np.repeat(a[:1], 24, axis=0), DataError, "all 24 calibration images are the same one"),
        (lambda a: np.random.default_rng(0).integers(0, 256, a.shape, np.uint8), DataError, "this is noise"),
        (lambda a: a.astype(np.float32), DataError, r"expected uint8 .*found float32"),
        (lambda a: a[:, 0], DataError, r"expected uint8 \[n, 1, 64, 64\].*found uint8 \[24, 64, 64\]"),
        (lambda a: a[..., :32, :32], DataError, r"\[24, 1, 32, 32\]"),
    ],
)
def test_worthless_images_are_refused(
    calibration: Path, tmp_path: Path, edit: Callable[[Array], Array], kind: type[CxrError], told: str
) -> None:
    path = tmp_path / "calibration.npy"
    np.save(path, edit(np.load(calibration)))
    with pytest.raises(kind, match=f"{told}.*calibration stage"):
        open_calibration(path, 64)


def test_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no calibration images"):
        open_calibration(tmp_path / "none.npy", 64)


def test_a_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.npy"
    path.write_bytes(b"not an array")
    with pytest.raises(DataError, match="no array"):
        open_calibration(path, 64)


def test_radiographs_are_far_from_noise(radiographs: Array) -> None:
    assert neighbour_correlation(radiographs[:, None].astype(np.float32)) > 0.9
