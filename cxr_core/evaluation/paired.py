"""An engine against the reference on the same images: what changed, and how sure the loss is bounded."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cxr_core.evaluation.intervals import PatientBootstrap, percentile_interval
from cxr_core.evaluation.metrics import decisions
from cxr_core.evaluation.scores import Scores
from cxr_core.refs import Frozen

# Central 90 %: each end is then a one-sided 95 % bound, which is what non-inferiority asks for.
CONFIDENCE = 0.90
Z_95 = 1.6448536269514722  # normal quantile of 0.95


class Interval(Frozen):
    """A value between its bounds."""

    value: float
    low: float
    high: float


class Paired(Frozen):
    """Differences from the reference over the same images.

    ``lost``: right there, wrong here. ``gained``: the other way round. Their sum are the ``flips``.
    ``accuracy_difference``: this minus the reference; its ends, and those of ``flips_share`` and
    ``mean_abs_dp``, are one-sided 95 % bounds.
    """

    images: int
    flips: int
    lost: int
    gained: int
    agreement: float
    flips_share: Interval
    mean_abs_dp: Interval
    max_abs_dp: float
    accuracy_difference: Interval
    mcnemar_p: float


def paired(scores: Scores, reference: Scores, threshold: float, bootstrap: PatientBootstrap) -> Paired:
    """Compare two sets of finite scores of the same images (``require_same_images`` first)."""
    truth = reference.label == 1
    ours = decisions(scores.probability, threshold) == truth
    theirs = decisions(reference.probability, threshold) == truth
    lost, gained = int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
    shift = np.abs(scores.probability - reference.probability)
    images = len(reference)
    return Paired(
        images=images,
        flips=lost + gained,
        lost=lost,
        gained=gained,
        agreement=1 - (lost + gained) / images,
        flips_share=_share(lost + gained, images),
        mean_abs_dp=_bootstrapped(shift, bootstrap),
        max_abs_dp=float(shift.max()),
        accuracy_difference=_difference(ours, theirs, bootstrap),
        mcnemar_p=mcnemar_exact(lost, gained),
    )


def mcnemar_exact(lost: int, gained: int) -> float:
    """Two-sided exact McNemar test: are losses and gains equally likely? 1 when nothing changed."""
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, 0.5).pvalue) if lost + gained else 1.0


def tango_bound(lost: int, gained: int, images: int, side: Literal[-1, 1], z: float = Z_95) -> float:
    """One end of the score interval of a paired difference of shares (Tango 1998, Stat. Med. 17:891).

    It keeps its coverage where a bootstrap collapses: no changed decision, or very few.

    Args:
        side: -1 for the lower bound of (gained - lost) / images, 1 for the upper.
    """
    from scipy.optimize import brentq

    difference = (gained - lost) / images

    def excess(delta: float) -> float:
        return _score(lost, gained, images, delta) + side * z

    edge = float(side)
    if abs(difference - edge) < 1e-12 or excess(edge * (1 - 1e-9)) * excess(difference) > 0:
        return edge
    return float(brentq(excess, difference, edge * (1 - 1e-9), xtol=1e-10))


def _score(lost: int, gained: int, images: int, delta: float) -> float:
    """Tango's score statistic of gained - lost at a difference ``delta``: the count over its null deviation."""
    a = 2 * images
    b = -gained - lost + (2 * images - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    share_lost = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = images * (2 * share_lost + delta * (1 - delta))
    return float((gained - lost - images * delta) / np.sqrt(max(variance, 1e-300)))


def _difference(ours: NDArray[np.bool_], theirs: NDArray[np.bool_], bootstrap: PatientBootstrap) -> Interval:
    """The wider of two intervals at each end: patients' bootstrap (clusters) and Tango (few changes)."""
    change = ours.astype(np.float64) - theirs
    low, high = percentile_interval(bootstrap.means(change), CONFIDENCE)
    lost, gained, images = int((change < 0).sum()), int((change > 0).sum()), len(change)
    return Interval(
        value=(gained - lost) / images,
        low=min(low, tango_bound(lost, gained, images, -1)),
        high=max(high, tango_bound(lost, gained, images, 1)),
    )


def _share(count: int, total: int) -> Interval:
    """A share with exact (Clopper-Pearson) one-sided 95 % bounds."""
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(confidence_level=CONFIDENCE, method="exact")
    return Interval(value=count / total, low=float(interval.low), high=float(interval.high))


def _bootstrapped(values: NDArray[np.float64], bootstrap: PatientBootstrap) -> Interval:
    low, high = percentile_interval(bootstrap.means(values), CONFIDENCE)
    return Interval(value=float(values.mean()), low=low, high=high)
