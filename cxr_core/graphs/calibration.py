"""Opening the calibration images, and those that judge them.

Ranges taken from nothing, from noise or from one image are worth nothing.
"""

from pathlib import Path

import numpy as np

from cxr_core.errors import DataError, UsageError
from cxr_core.graphs.answers import Images

FEWEST = 16
FEWEST_HELD_BACK = 8  # they set no range; what a search finds on so few is a guess that the gate judges on test
# Neighbouring pixels: above 0.9 on radiographs at 64 to 224 pixels, 0 on noise.
_LEAST_CORRELATION = 0.3
_MOST_BLANK = 0.1  # a few change no range
_MEND = "make it with the calibration stage, from training images"
_MEND_HELD_BACK = (
    "the calibration stage takes them from a third of the training patients, of whom it needs 24: lower "
    "calibration.images, add patients, or name a calibrator in variant.int8_method"
)


def open_calibration(path: Path, size: int, mend: str = _MEND, fewest: int = FEWEST) -> Images:
    """Calibration images uint8 ``[n, 1, size, size]``, memory-mapped. ``mend`` ends every message.

    Raises:
        UsageError: no such file.
        DataError: another type or shape, too few, blank or all alike, or noise instead of images.
    """
    if not path.is_file():
        raise UsageError(f"no calibration images at {path.name}; {mend}")
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path.name} is no array of numpy ({error}); {mend}") from error
    images: Images = np.asarray(loaded)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (1, size, size):
        raise DataError(
            f"{path.name}: expected uint8 [n, 1, {size}, {size}] as the graph's input, found {images.dtype} "
            f"{list(images.shape)}; {mend}"
        )
    if len(images) < fewest:
        raise DataError(f"{path.name} holds {len(images)} calibration images, expected at least {fewest}; {mend}")
    _check_content(images, path.name, mend)
    return images


def open_held_back(path: Path, size: int, calibration: Images) -> Images:
    """Images that judge a calibration, none of them in it, uint8 ``[n, 1, size, size]``.

    Raises:
        DataError: as :func:`open_calibration`, or an image that is among ``calibration``.
    """
    images = open_calibration(path, size, _MEND_HELD_BACK, FEWEST_HELD_BACK)
    known = {image.tobytes() for image in calibration}
    if shared := sum(image.tobytes() in known for image in images):
        raise DataError(
            f"{path.name}: {shared} of {len(images)} held-back images are calibration images too, which would judge "
            f"themselves; {_MEND_HELD_BACK}"
        )
    return images


def _check_content(images: Images, name: str, mend: str) -> None:
    pixels = np.asarray(images, np.float32)
    blank = int((np.ptp(pixels, axis=(1, 2, 3)) == 0).sum())
    if blank > _MOST_BLANK * len(images):
        raise DataError(f"{name}: {blank} of {len(images)} calibration images are blank (one grey level each); {mend}")
    if (images == images[0]).all():
        raise DataError(f"{name}: all {len(images)} calibration images are the same one; {mend}")
    correlation = neighbour_correlation(pixels)
    if correlation < _LEAST_CORRELATION:
        raise DataError(
            f"{name}: neighbouring pixels correlate by {correlation:.2f}, expected at least {_LEAST_CORRELATION} "
            f"as in any radiograph; this is noise, whose ranges would ruin the quantised graph; {mend}"
        )


def neighbour_correlation(pixels: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    """Median over the images ``[n, 1, H, W]`` of the correlation of each pixel with its right neighbour."""
    centred = pixels - pixels.mean(axis=(1, 2, 3), keepdims=True)
    left, right = centred[..., :-1], centred[..., 1:]
    together = (left * right).sum(axis=(1, 2, 3))
    return float(np.median(together / np.sqrt((left**2).sum(axis=(1, 2, 3)) * (right**2).sum(axis=(1, 2, 3)))))
