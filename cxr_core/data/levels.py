"""Deep pixel values to 8-bit grey."""

import numpy as np

from cxr_core.data.refusal import ImageRefused

_USED_SHARE = 1 / 16  # 12-bit values in 16 bits use no more; a radiograph that fills its range does


def eight_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values of the range ``low..high`` scaled to 0..255, clipped and rounded: uint8 of the same shape."""
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def check_spread(values: np.ndarray, low: float, high: float) -> None:
    """Refuse values that would give a black or flat picture when scaled by their full range.

    Raises:
        ImageRefused: ``depth``, if they use only a sixteenth of it (12-bit values in 16 bits, say).
    """
    if float(np.ptp(values)) / (high - low) <= _USED_SHARE:
        raise ImageRefused(
            "depth",
            f"values {values.min():g} to {values.max():g} in a range of {low:g} to {high:g}; "
            "scale them to the full range",
        )
