"""Points of the ROC and calibration curves, ready to draw."""

import numpy as np

from cxr_core.evaluation.metrics import CALIBRATION_BINS, Floats, Labels, Rate, bin_of
from cxr_core.refs import Frozen


class RocCurve(Frozen):
    """Corners of the ROC curve from (0, 0) to (1, 1), and the operating point."""

    false_positive_rate: tuple[Rate, ...]
    true_positive_rate: tuple[Rate, ...]


class CalibrationBin(Frozen):
    """One non-empty bin: mean predicted probability, observed share of class 1, images."""

    predicted: Rate
    observed: Rate
    images: int


def roc(label: Labels, probability: Floats) -> RocCurve:
    """The ROC curve without the points that lie on a straight line between their neighbours."""
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(label, probability, drop_intermediate=True)
    return RocCurve(
        false_positive_rate=tuple(map(float, false_positive)), true_positive_rate=tuple(map(float, true_positive))
    )


def calibration_bins(label: Labels, probability: Floats, bins: int = CALIBRATION_BINS) -> tuple[CalibrationBin, ...]:
    """Equal-width bins of the probability, empty ones left out."""
    which = bin_of(probability, bins)
    found = []
    for index in range(bins):
        inside = which == index
        if inside.any():
            found.append(
                CalibrationBin(
                    predicted=float(np.mean(probability[inside])),
                    observed=float(np.mean(label[inside])),
                    images=int(inside.sum()),
                )
            )
    return tuple(found)
