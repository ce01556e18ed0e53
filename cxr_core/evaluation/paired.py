"""An engine against the reference on the same images: what changed, and how sure the loss is bounded."""

import numpy as np

from cxr_core.config import CompareConfig
from cxr_core.evaluation.delong import DeLong, delong
from cxr_core.evaluation.differences import CONFIDENCE, Difference, difference_of_auc, difference_of_shares
from cxr_core.evaluation.intervals import Interval, PatientBootstrap
from cxr_core.evaluation.metrics import Floats, Labels, decisions, expected_calibration_error
from cxr_core.evaluation.scores import Scores
from cxr_core.refs import Frozen

SHIFT_SHARES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""The quantiles at which ``Paired.shift`` is told."""


class Paired(Frozen):
    """Differences from the reference over the same images.

    ``ill``: images of class 1, on which sensitivity stands.
    ``shift``: quantiles of the signed change of the probability of class 1, at ``SHIFT_SHARES``.
    ``lost``: right there, wrong here. ``gained``: the other way round. Their sum are the ``flips``.
    All ends of intervals are one-sided 95 % bounds. ``mcnemar_p`` and ``delong`` take images for independent:
    they are shown, the sign-flip tests and bootstraps over patients decide.
    """

    images: int
    ill: int
    flips: int
    lost: int
    gained: int
    agreement: float
    flips_share: Interval
    mean_abs_dp: Interval
    max_abs_dp: float
    shift: tuple[float, ...] = ()
    accuracy_difference: Difference
    sensitivity_difference: Difference | None = None
    specificity_difference: Difference | None = None
    auc_difference: Difference | None = None
    ece_difference: Interval | None = None
    mcnemar_p: float
    delong: DeLong | None = None


def paired(
    scores: Scores, reference: Scores, threshold: float, bootstrap: PatientBootstrap, config: CompareConfig
) -> Paired:
    """Compare two sets of finite scores of the same images (``require_same_images`` first)."""
    label, truth = reference.label, reference.label == 1
    ours = decisions(scores.probability, threshold) == truth
    theirs = decisions(reference.probability, threshold) == truth
    lost, gained = int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
    change = scores.probability - reference.probability
    shift = np.abs(change)
    images, margin = len(reference), config.accuracy_margin
    accuracy = difference_of_shares(ours, theirs, np.ones_like(truth), bootstrap, margin)
    assert accuracy is not None
    return Paired(
        images=images,
        ill=int(truth.sum()),
        flips=lost + gained,
        lost=lost,
        gained=gained,
        agreement=1 - (lost + gained) / images,
        flips_share=exact_share(lost + gained, images),
        mean_abs_dp=mean_interval(shift, bootstrap),
        max_abs_dp=float(shift.max()),
        shift=tuple(float(value) for value in np.quantile(change, SHIFT_SHARES)),
        accuracy_difference=accuracy,
        sensitivity_difference=difference_of_shares(
            ours, theirs, truth, bootstrap, config.sensitivity_margin or config.accuracy_margin
        ),
        specificity_difference=difference_of_shares(ours, theirs, ~truth, bootstrap, margin),
        auc_difference=difference_of_auc(
            label, scores.probability, reference.probability, bootstrap, margin, config.seed
        ),
        ece_difference=calibration_difference(label, scores.probability, reference.probability, bootstrap),
        mcnemar_p=mcnemar_exact(lost, gained),
        delong=delong(label, scores.probability, reference.probability),
    )


def mcnemar_exact(lost: int, gained: int) -> float:
    """Two-sided exact McNemar test: are losses and gains equally likely? 1 when nothing changed."""
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, 0.5).pvalue) if lost + gained else 1.0


def exact_share(count: int, total: int) -> Interval:
    """A share with exact (Clopper-Pearson) one-sided 95 % bounds."""
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(confidence_level=CONFIDENCE, method="exact")
    return Interval(value=count / total, low=float(interval.low), high=float(interval.high))


def mean_interval(values: Floats, bootstrap: PatientBootstrap) -> Interval:
    """Mean over the images and its one-sided 95 % bounds, by patients' bootstrap."""
    low, high = bootstrap.interval(bootstrap.means(values), CONFIDENCE)
    return Interval(value=float(values.mean()), low=low, high=high)


def calibration_difference(label: Labels, ours: Floats, theirs: Floats, bootstrap: PatientBootstrap) -> Interval:
    """Growth of the calibration error and its one-sided 95 % bounds, from the same drawn patients for both."""
    value = expected_calibration_error(label, ours) - expected_calibration_error(label, theirs)
    low, high = bootstrap.interval(bootstrap.ece(label, ours) - bootstrap.ece(label, theirs), CONFIDENCE)
    return Interval(value=value, low=min(low, value), high=max(high, value))
