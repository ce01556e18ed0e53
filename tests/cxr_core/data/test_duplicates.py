from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from cxr_core.config import SplitConfig
from cxr_core.data.decode import decode, resize
from cxr_core.data.duplicates import NearPair, near_duplicates

THRESHOLD = SplitConfig().near_duplicate_correlation
Chest = Callable[..., np.ndarray]


def _thumb(picture: np.ndarray) -> np.ndarray:
    return resize(Image.fromarray(picture), size=48, filter="bilinear")


def _copy(picture: np.ndarray, down: int, right: int, encoded: Callable[..., bytes]) -> np.ndarray:
    """Shifted with black coming in, other brightness and contrast, saved as JPEG of quality 50."""
    moved = np.zeros_like(picture)
    height, width = picture.shape
    moved[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = picture[
        max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
    ]
    dimmed = np.rint(moved * 0.8 + 10).astype(np.uint8)
    return np.asarray(decode(encoded(Image.fromarray(dimmed), "JPEG", quality=50)))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, -1), (2, 3), (-3, 2), (4, 5), (-5, -5), (0, 6)])
def test_a_planted_copy_is_found_and_nothing_else(
    down: int, right: int, chest: Chest, encoded: Callable[..., bytes]
) -> None:
    pictures = [chest(seed, (224, 224), kind) for seed, kind in enumerate(("normal", "virus", "bacteria") * 4)]
    thumbs = np.stack([_thumb(p) for p in [*pictures, _copy(pictures[5], down, right, encoded)]])
    found = near_duplicates(thumbs, threshold=THRESHOLD)
    assert [(pair.first, pair.second) for pair in found] == [(5, 12)]
    assert found[0].correlation > THRESHOLD


def test_a_shift_beyond_reach_is_not_claimed(chest: Chest, encoded: Callable[..., bytes]) -> None:
    picture = chest(0, (224, 224))
    thumbs = np.stack([_thumb(picture), _thumb(_copy(picture, 30, 0, encoded))])
    assert near_duplicates(thumbs, threshold=THRESHOLD) == []


def test_blocks_do_not_change_the_answer(chest: Chest, monkeypatch: pytest.MonkeyPatch) -> None:
    thumbs = np.stack([_thumb(chest(seed % 7)) for seed in range(20)])
    whole = near_duplicates(thumbs, threshold=THRESHOLD)
    monkeypatch.setattr("cxr_core.data.duplicates._BLOCK", 3)
    parts = near_duplicates(thumbs, threshold=THRESHOLD)
    assert [(p.first, p.second) for p in parts] == [(p.first, p.second) for p in whole]
    expected = {(a, b) for a in range(20) for b in range(a + 1, 20) if a % 7 == b % 7}
    assert {(p.first, p.second) for p in whole} == expected


def test_pictures_of_one_grey_match_nothing() -> None:
    assert near_duplicates(np.full((4, 48, 48), 128, np.uint8), threshold=THRESHOLD) == []


def test_one_picture_has_no_pair(chest: Chest) -> None:
    assert near_duplicates(_thumb(chest())[None], threshold=THRESHOLD) == []


def test_the_quarter_shifts_equal_an_interpolated_window(chest: Chest) -> None:
    """The shortcut through inner products against the plain way."""
    from cxr_core.data.duplicates import _quarter_shifts

    left, right = _thumb(chest(1)), _thumb(chest(1, (64, 81)))
    best = -1.0
    padded = right.astype(float)
    for fy in np.arange(-1.5, 1.51, 0.25):
        for fx in np.arange(-1.5, 1.51, 0.25):
            y, x = int(np.floor(fy)), int(np.floor(fx))
            wy, wx = fy - y, fx - x
            corner = [
                padded[3 + y + a : 45 + y + a, 3 + x + b : 45 + x + b]
                for a in (0, 1)
                for b in (0, 1)
                if (a == 0 or wy) and (b == 0 or wx)
            ]
            weight = [
                (wy if a else 1 - wy) * (wx if b else 1 - wx)
                for a in (0, 1)
                for b in (0, 1)
                if (a == 0 or wy) and (b == 0 or wx)
            ]
            window = sum(w * c for w, c in zip(weight, corner, strict=True))
            best = max(best, float(np.corrcoef(left[3:45, 3:45].ravel(), window.ravel())[0, 1]))
    assert _quarter_shifts(left[None], right[None])[0] == pytest.approx(best, abs=1e-5)


def test_a_pair_is_a_frozen_value() -> None:
    with pytest.raises(AttributeError):
        NearPair(0, 1, 1.0).first = 2  # type: ignore[misc]
