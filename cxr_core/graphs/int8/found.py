"""What a search found, as it stands in the record of the INT8 variant and in the report."""

from typing import Literal

from cxr_core.refs import Frozen

Calibrator = Literal["minmax", "percentile", "entropy", "mse"]


class Trial(Frozen):
    """One INT8 graph on the held-back patients.

    ``left`` counts the nodes that the search left in FP32, ``time_share`` is their share of the estimated time
    of all that could be quantised; ``shift`` is the mean |delta p| against FP32 (None: no finite answer),
    ``flips`` counts changed decisions.
    """

    calibrator: Calibrator
    left: int
    time_share: float
    shift: float | None
    flips: int
    held: bool


class Size(Frozen):
    """The chosen graph, had it been calibrated on fewer images; ``shift``, ``flips`` and ``held`` as in a trial."""

    images: int
    shift: float | None
    flips: int
    held: bool


class Sensitivity(Frozen):
    """One node, quantised alone: its signal over its quantisation noise, and its share of the estimated time."""

    node: str
    op: str
    sqnr_db: float
    time_share: float
    left: bool


class Found(Frozen):
    """The account of a search. ``sensitivity`` is ranked, worst first.

    ``sizes``: the fewest calibration images first, all of them last. ``note``: what makes the finding doubtful.
    """

    images: int
    budget_shift: float
    budget_flips: float
    held: bool
    calibrator: Calibrator
    chosen: Trial
    calibrators: tuple[Trial, ...]
    curve: tuple[Trial, ...]
    sensitivity: tuple[Sensitivity, ...] = ()
    sizes: tuple[Size, ...] = ()
    note: str = ""
