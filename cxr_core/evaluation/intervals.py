"""Intervals: patient-clustered bootstrap, and Wilson for a share of images that no patients are known of."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_core.evaluation.metrics import CALIBRATION_BINS, Bools, Floats, Labels, bin_of
from cxr_core.refs import Frozen

Bounds = tuple[float, float]


class Interval(Frozen):
    """A value between its bounds."""

    value: float
    low: float
    high: float


# Replicates computed at once: bounds the memory of a [replicates, images] array on large test sets.
_BLOCK = 256


def wilson(successes: int, total: int, confidence: float = 0.95) -> Bounds:
    """Wilson's score interval of a share (Wilson 1927, JASA 22). ``total`` is at least 1."""
    from scipy.stats import binomtest

    interval = binomtest(successes, total).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class PatientBootstrap:
    """Resampled patients: images of one patient are no independent evidence, so patients are drawn, not images.

    Patients are drawn within each class, since the class counts of a test split were fixed by its
    makers. ``weights`` [replicates, patients]: how often each patient was drawn. ``patient``
    [images]: each image's patient. ``fewest``: patients of the smaller class. One set of draws
    serves all engines, so that paired figures share it.
    """

    weights: Floats
    patient: NDArray[np.int64]
    fewest: int = 0

    def totals(self, values: Floats) -> Floats:
        """Sum over the drawn images of a value per image, shape [replicates]."""
        per_patient = np.bincount(self.patient, weights=values, minlength=self.weights.shape[1])
        return np.asarray(self.weights @ per_patient)

    def means(self, values: Floats) -> Floats:
        """Mean over the drawn images of a value per image, shape [replicates]."""
        return self.totals(values) / self.totals(np.ones(len(values)))

    def auc(self, label: Labels, probability: Floats) -> Floats:
        """Area under the ROC curve of each replicate, ties counted half, shape [replicates]."""
        of_images = _weighted_auc(label, probability)
        blocks = [of_images(self.weights[i : i + _BLOCK][:, self.patient]) for i in range(0, len(self.weights), _BLOCK)]
        return np.concatenate(blocks)

    def interval(self, replicates: Floats, confidence: float = 0.95) -> Bounds:
        """The central share of the replicates, widened for few patients: the tail is Phi(sqrt(n/(n-1)) t(tail, n-1))
        (Hesterberg 2015, The American Statistician 69:371). At 0.90 each end is a one-sided 95 % bound."""
        from scipy.stats import norm

        return percentile_interval(replicates, 1 - 2 * float(norm.sf(self.deviations(confidence))))

    def deviations(self, confidence: float = 0.95) -> float:
        """How many standard deviations of the replicates an interval reaches to each side, few patients allowed for."""
        from scipy.stats import norm, t

        tail, n = (1 - confidence) / 2, self.fewest
        return float(np.sqrt(n / (n - 1)) * t.isf(tail, n - 1) if n > 1 else norm.isf(tail))

    def ece(self, label: Labels, probability: Floats) -> Floats:
        """Expected calibration error of each replicate, shape [replicates]."""
        gaps = np.zeros((self.weights.shape[1], CALIBRATION_BINS))
        np.add.at(gaps, (self.patient, bin_of(probability)), label - probability)
        return np.asarray(np.abs(self.weights @ gaps).sum(axis=1) / self.totals(np.ones(len(label))))


def patient_bootstrap(label: Labels, patient: NDArray[np.int64], replicates: int, seed: int) -> PatientBootstrap:
    """Seeded draws of patients.

    Args:
        label: 0 or 1, shape [images]. A patient belongs to the class of its first image.
        patient: index of each image's patient, 0..patients-1, shape [images].
    """
    rng = np.random.default_rng(seed)
    _, first = np.unique(patient, return_index=True)
    weights, fewest = np.zeros((replicates, len(first))), len(first)
    for value in (0, 1):
        members = np.flatnonzero(label[first] == value)
        if len(members):
            equal = np.full(len(members), 1 / len(members))
            fewest = min(fewest, len(members))
            weights[:, members] = rng.multinomial(len(members), equal, size=replicates)
    return PatientBootstrap(weights=weights, patient=patient, fewest=fewest)


def percentile_interval(replicates: Floats, confidence: float = 0.95) -> Bounds:
    """The central share of the replicates. At 0.90 each end is a one-sided 95 % bound."""
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def share_interval(hits: Bools, within: Bools, bootstrap: PatientBootstrap) -> Bounds:
    """95 % interval of the share of ``hits`` among the images ``within``, at least one.

    The wider of two at each end: patients' bootstrap (clusters) and Wilson's (all or nearly all alike).
    """
    low, high = wilson(int((hits & within).sum()), int(within.sum()))
    counts = bootstrap.totals(within.astype(float))
    shares = bootstrap.totals((hits & within).astype(float)) / counts
    from_patients = bootstrap.interval(shares)
    return min(low, from_patients[0]), max(high, from_patients[1])


def auc_interval(label: Labels, probability: Floats, bootstrap: PatientBootstrap) -> Bounds:
    """95 % interval of the area under the ROC curve.

    On the logit scale, where it is nearly symmetric also close to 1 (Qin and Hotilovac 2008, Stat. Methods Med. Res.
    17:207), from the spread over drawn patients. Where the classes are told apart without an error there is none, and
    as much stays possible as Wilson leaves open on the images of the smaller class.
    """
    from scipy.special import expit, logit

    area = float(_weighted_auc(label, probability)(np.ones((1, len(label))))[0])
    if area in (0.0, 1.0):
        images = int(min(label.sum(), (1 - label).sum()))
        return wilson(round(area * images), images)
    spread = bootstrap.auc(label, probability).std(ddof=1) / (area * (1 - area))
    low, high = expit(logit(area) + bootstrap.deviations() * np.array([-spread, spread]))
    return float(low), float(high)


def _weighted_auc(label: Labels, probability: Floats) -> Callable[[Floats], Floats]:
    """A function from weights [replicates, images] to AUC [replicates]; the sorting is done once."""
    order = np.argsort(probability, kind="stable")
    _, starts = np.unique(probability[order], return_index=True)
    positive = (label[order] == 1).astype(np.float64)

    def auc(weights: Floats) -> Floats:
        ordered = weights[:, order]
        ill = np.add.reduceat(ordered * positive, starts, axis=1)
        well = np.add.reduceat(ordered * (1 - positive), starts, axis=1)
        below = np.cumsum(well, axis=1) - well / 2
        return np.asarray((ill * below).sum(axis=1) / (ill.sum(axis=1) * well.sum(axis=1)))

    return auc
