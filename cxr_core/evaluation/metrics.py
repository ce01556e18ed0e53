"""Figures of one set of answers at a frozen threshold. A figure whose denominator is 0 is None, not 0."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cxr_core.refs import Frozen

CALIBRATION_BINS = 10

Rate = Annotated[float, Field(ge=0, le=1)]
Labels = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Confusion(Frozen):
    """Counts of images. Positive is PNEUMONIA."""

    true_positive: int
    false_negative: int
    true_negative: int
    false_positive: int


class Metrics(Frozen):
    """Point figures. ``ppv_at_prevalence`` is the PPV that the same sensitivity and specificity give elsewhere."""

    images: int
    confusion: Confusion
    accuracy: Rate
    sensitivity: Rate | None
    specificity: Rate | None
    ppv: Rate | None
    npv: Rate | None
    ppv_at_prevalence: Rate | None
    prevalence: Rate
    f1: Rate | None
    auc: Rate
    ece: Rate
    brier: Rate


def metrics(label: Labels, probability: Floats, threshold: float, prevalence: float) -> Metrics:
    """All point figures.

    Args:
        label: 0 or 1, shape [images], both present.
        probability: calibrated probability of class 1, shape [images].
        threshold: a decision is class 1 when the probability is at least this.
        prevalence: the share of class 1 at which PPV is also stated.
    """
    from sklearn.metrics import brier_score_loss, roc_auc_score

    counts = confusion(label, decisions(probability, threshold))
    sensitivity = _ratio(counts.true_positive, counts.true_positive + counts.false_negative)
    specificity = _ratio(counts.true_negative, counts.true_negative + counts.false_positive)
    return Metrics(
        images=len(label),
        confusion=counts,
        accuracy=(counts.true_positive + counts.true_negative) / len(label),
        sensitivity=sensitivity,
        specificity=specificity,
        ppv=_ratio(counts.true_positive, counts.true_positive + counts.false_positive),
        npv=_ratio(counts.true_negative, counts.true_negative + counts.false_negative),
        ppv_at_prevalence=ppv_at(sensitivity, specificity, prevalence),
        prevalence=prevalence,
        f1=_ratio(2 * counts.true_positive, 2 * counts.true_positive + counts.false_positive + counts.false_negative),
        auc=float(roc_auc_score(label, probability)),
        ece=expected_calibration_error(label, probability),
        brier=float(brier_score_loss(label, probability)),
    )


def decisions(probability: Floats, threshold: float) -> Bools:
    """True where class 1 is called, shape [images]. NaN is never called."""
    return np.asarray(probability >= threshold)


def confusion(label: Labels, called: Bools) -> Confusion:
    """The four counts."""
    positive = label == 1
    return Confusion(
        true_positive=int((positive & called).sum()),
        false_negative=int((positive & ~called).sum()),
        true_negative=int((~positive & ~called).sum()),
        false_positive=int((~positive & called).sum()),
    )


def ppv_at(sensitivity: float | None, specificity: float | None, prevalence: float) -> float | None:
    """Bayes: the share of true alarms among alarms where ``prevalence`` of the people are ill."""
    if sensitivity is None or specificity is None:
        return None
    true_alarms = sensitivity * prevalence
    return _ratio(true_alarms, true_alarms + (1 - specificity) * (1 - prevalence))


def expected_calibration_error(label: Labels, probability: Floats, bins: int = CALIBRATION_BINS) -> float:
    """Mean |observed share of class 1 - mean probability| over equal-width bins of P(class 1), weighted by count.

    The binary form of Naeini et al. 2015 (AAAI), on the probability of class 1.
    """
    which = bin_of(probability, bins)
    gap = np.bincount(which, weights=label - probability, minlength=bins)
    return float(np.abs(gap).sum() / len(label))


def bin_of(probability: Floats, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """Index of the equal-width bin of 0..1 that each probability falls in; 1.0 belongs to the last."""
    return np.minimum((probability * bins).astype(np.int64), bins - 1)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
