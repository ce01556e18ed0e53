"""Near duplicates: the same radiograph once more, re-encoded, with other brightness, or shifted by a few pixels.

Every pair of 48x48 thumbnails is compared by normalised correlation, in three passes that each let
few pairs through to the next: shifts by whole pixels on pictures of half the side, the same at full
side, and shifts by quarters of a pixel. On the published set the highest correlation of two
different pictures is 0.976. That of a picture and its copy, shifted by up to 7 of 224 pixels and
saved at JPEG quality 50, was nowhere below 0.986 (400 pictures, 14 shifts). Mirrored, turned or
cropped copies are not found.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from cxr_core.progress import Progress, silent

_REACH = 1  # thumbnail pixels tried in the first pass: 4.7 pixels of a 224 image, and half as much again by the second
_MARGIN = _REACH + 2  # thumbnail pixels cut off, so that a shifted window stays inside and a new border outside
_SLACK = 0.055  # what a copy can lose between whole-pixel shifts (0.055 measured) is granted in the first two passes
_BLOCK = 512  # rows or pairs compared at a time: bounds the memory
_STEP = 0.25  # thumbnail pixels
_SHIFTS = tuple(product(range(-_REACH, _REACH + 1), repeat=2))  # (down, right)


@dataclass(frozen=True)
class NearPair:
    """Rows of two thumbnails, ``first < second``, and their correlation at the best shift."""

    first: int
    second: int
    correlation: float


def near_duplicates(thumbs: np.ndarray, *, threshold: float, progress: Progress = silent) -> list[NearPair]:
    """All pairs that correlate at least ``threshold`` at some small shift, sorted by rows.

    Args:
        thumbs: uint8 ``[images, side, side]``. A picture of one single grey correlates with nothing.
    """
    pairs: list[NearPair] = []
    for first, second in _candidates(thumbs, threshold - _SLACK, progress):
        close = _whole_shifts(thumbs[first], thumbs[second]) >= threshold - _SLACK
        first, second = first[close], second[close]
        values = _quarter_shifts(thumbs[first], thumbs[second])
        pairs.extend(
            NearPair(int(a), int(b), float(c)) for a, b, c in zip(first, second, values, strict=True) if c >= threshold
        )
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def _candidates(thumbs: np.ndarray, threshold: float, progress: Progress) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of pairs that come close at half the side, a few at a time, ``first < second``."""
    still = _unit(_halved(_window(thumbs, 0, 0)))
    shifted = [_unit(_halved(_window(thumbs, *shift))) for shift in _SHIFTS]
    for start in range(0, len(thumbs), _BLOCK):
        block = still[start : start + _BLOCK]
        best = np.full((len(block), len(thumbs) - start), -1, np.float32)
        for moved in shifted:
            np.maximum(best, block @ moved[start:].T, out=best)
        rows, columns = np.nonzero(np.triu(best >= threshold, 1))
        for part in range(0, len(rows), _BLOCK):
            yield rows[part : part + _BLOCK] + start, columns[part : part + _BLOCK] + start
        progress(min(start + _BLOCK, len(thumbs)), len(thumbs), "near duplicates")


def _whole_shifts(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Highest correlation of each pair over shifts by whole pixels, float32 ``[pairs]``."""
    still = _unit(_window(left, 0, 0))
    return np.asarray(np.max([(still * _unit(_window(right, *shift))).sum(axis=1) for shift in _SHIFTS], axis=0))


def _window(thumbs: np.ndarray, dy: int, dx: int) -> np.ndarray:
    side = thumbs.shape[-1]
    return thumbs[:, _MARGIN + dy : side - _MARGIN + dy, _MARGIN + dx : side - _MARGIN + dx]


def _halved(windows: np.ndarray) -> np.ndarray:
    count, height, width = windows.shape
    return np.asarray(windows.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4), dtype=np.float32))


def _centred(windows: np.ndarray) -> np.ndarray:
    flat = windows.reshape(len(windows), np.prod(windows.shape[1:], dtype=int)).astype(np.float32)
    return np.asarray(flat - flat.mean(axis=1, keepdims=True))


def _unit(windows: np.ndarray) -> np.ndarray:
    flat = _centred(windows)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-3))


def _quarter_shifts(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Highest correlation of each pair over shifts by quarters of a pixel, float64 ``[pairs]``.

    A bilinear shift is a weighted sum of whole shifts, so all of them follow from the inner products
    of the whole shifts: no window is interpolated.
    """
    weights = _bilinear_weights()
    whole = product(range(-_REACH - 1, _REACH + 2), repeat=2)
    windows = np.stack([_centred(_window(right, *shift)) for shift in whole], axis=1)
    products = np.einsum("pkn,pn->pk", windows, _unit(_window(left, 0, 0))) @ weights.T
    gram = windows @ windows.transpose(0, 2, 1)
    squares = np.einsum("fk,pkl,fl->pf", weights, gram, weights, optimize=True)
    return np.asarray((products / np.sqrt(np.maximum(squares, 1e-6))).max(axis=1))


def _bilinear_weights() -> np.ndarray:
    """Rows: fractional shifts; columns: whole shifts in row-major order."""
    whole = np.arange(-_REACH - 1, _REACH + 2)
    fractional = np.arange(-_REACH - 0.5, _REACH + 0.5 + _STEP / 2, _STEP)
    along = np.maximum(0, 1 - np.abs(fractional[:, None] - whole[None]))
    return np.asarray(np.kron(along, along))
