"""What the stage ``occlusion`` leaves. Apart from it, so that a reader needs no runtime."""

from cxr_core.refs import Frozen, Precision

GRID = 12  # places along each side of a picture

Rows = tuple[tuple[float, ...], ...]


class Maps(Frozen):
    """One image: what covering each place takes from the probability of PNEUMONIA, ``[GRID][GRID]``, row by row."""

    file: str
    precision: Precision
    fp32: Rows
    low: Rows


class Occlusion(Frozen):
    """``occlusion.json``."""

    maps: tuple[Maps, ...]
