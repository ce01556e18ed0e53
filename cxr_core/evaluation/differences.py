"""A figure of the engine minus that of the reference: its bounds, its test, and what the two allow to be said."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import numpy as np

from cxr_core.evaluation.intervals import Interval, PatientBootstrap
from cxr_core.evaluation.metrics import Bools, Floats, Labels, Rate
from cxr_core.evaluation.signflip import auc_parts, sign_flip_p

# Central 90 %: each end is then a one-sided 95 % bound, which is what non-inferiority asks for.
CONFIDENCE = 0.90
Z_95 = 1.6448536269514722  # normal quantile of 0.95
_FEW = 6  # changed patients from which an exact test at 5 % could find a difference


class Finding(StrEnum):
    """What is shown against a margin. That no difference was found shows nothing by itself."""

    EQUIVALENT = "equivalent"
    NOT_INFERIOR = "not inferior"
    INFERIOR = "inferior"
    OPEN = "open"


class Difference(Interval):
    """This minus the reference over the same images; each end is a one-sided 95 % bound.

    ``p``: the two-sided sign-flip test over patients; ``p_holm``: the same after Holm's correction over the engines of
    the comparison. ``finding`` against ``margin``: ``equivalent`` where both bounds lie inside of it (two one-sided
    tests, Schuirmann 1987), ``not inferior`` where the lower one does, ``inferior`` where the whole interval is a loss
    beyond it, else ``open``.
    """

    p: Rate | None = None
    p_holm: Rate | None = None
    margin: float | None = None
    finding: Finding | None = None


def difference_of_shares(
    ours: Bools, theirs: Bools, within: Bools, bootstrap: PatientBootstrap, margin: float
) -> Difference | None:
    """Difference of the share of right decisions among the images ``within``; None where there are none.

    The wider of two intervals at each end: patients' bootstrap (clusters) and Tango (few changes).
    """
    images = int(within.sum())
    if not images:
        return None
    change = (ours.astype(np.float64) - theirs) * within
    low, high = bootstrap.interval(bootstrap.totals(change) / bootstrap.totals(within.astype(float)), CONFIDENCE)
    lost, gained = int((change < 0).sum()), int((change > 0).sum())
    interval = Interval(
        value=(gained - lost) / images,
        low=min(low, tango_bound(lost, gained, images, -1)),
        high=max(high, tango_bound(lost, gained, images, 1)),
    )
    return _judged(interval, sign_flip_p(change, bootstrap.patient, seed=0), margin)


def difference_of_auc(
    label: Labels, ours: Floats, theirs: Floats, bootstrap: PatientBootstrap, margin: float, seed: int
) -> Difference:
    """Difference of the areas under the ROC curve: patients' bootstrap of the paired difference."""
    interval = auc_difference_interval(label, ours, theirs, bootstrap)
    return _judged(interval, sign_flip_p(auc_parts(label, ours, theirs), bootstrap.patient, seed), margin)


def auc_difference_interval(label: Labels, ours: Floats, theirs: Floats, bootstrap: PatientBootstrap) -> Interval:
    """The difference and its one-sided 95 % bounds, from the same drawn patients for both.

    Where hardly a patient's rank changed the draws collapse; then as much stays possible as no change among the images
    of the smaller class leaves open (Tango's bound): an image of it can be worth its whole share of the AUC.
    """
    low, high = bootstrap.interval(bootstrap.auc(label, ours) - bootstrap.auc(label, theirs), CONFIDENCE)
    parts = auc_parts(label, ours, theirs)
    value = float(parts.sum())
    if np.count_nonzero(np.abs(np.bincount(bootstrap.patient, weights=parts)) > 1e-12) < _FEW:
        unseen = tango_bound(0, 0, int(min(label.sum(), (1 - label).sum())), 1)
        low, high = low - unseen, high + unseen
    return Interval(value=value, low=min(low, value), high=max(high, value))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values (Holm 1979, Scand. J. Stat. 6:65), in the order given."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


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


def null_variance(lost: float, gained: float, images: float, delta: float) -> float:
    """Variance of gained - lost where the true difference is ``delta``, the rest being as likely as can be (Tango)."""
    a = 2 * images
    b = -gained - lost + (2 * images - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    share_lost = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    return float(images * (2 * share_lost + delta * (1 - delta)))


def _score(lost: int, gained: int, images: int, delta: float) -> float:
    """Tango's score statistic of gained - lost at a difference ``delta``: the count over its null deviation."""
    variance = max(null_variance(lost, gained, images, delta), 1e-300)
    return float((gained - lost - images * delta) / np.sqrt(variance))


def _judged(interval: Interval, p: float, margin: float) -> Difference:
    return Difference(**dict(interval), p=p, margin=margin, finding=_finding(interval, margin))


def _finding(interval: Interval, margin: float) -> Finding:
    if interval.low > -margin:
        return Finding.EQUIVALENT if interval.high < margin else Finding.NOT_INFERIOR
    return Finding.INFERIOR if interval.high < -margin else Finding.OPEN
