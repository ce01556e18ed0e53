"""What the stage ``robustness`` leaves. Apart from it, so that a reader needs no runtime."""

from cxr_core.evaluation.intervals import Bounds
from cxr_core.evaluation.metrics import Rate
from cxr_core.refs import Frozen, Precision

CLEAN = "none"


class Trial(Frozen):
    """One precision at one level of one change. ``agreement``: share of decisions that are FP32's on the same images.

    ``kind`` is ``CLEAN`` for the images as they are.
    """

    precision: Precision
    kind: str
    level: float
    accuracy: Rate
    accuracy_interval: Bounds
    agreement: Rate


class Robustness(Frozen):
    """``robustness.json``. ``images`` are of the validation split."""

    images: int
    trials: tuple[Trial, ...]
