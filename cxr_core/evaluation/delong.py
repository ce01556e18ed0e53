"""Two correlated areas under the ROC curve, compared by DeLong's method.

DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837, computed from midranks as in Sun and Xu 2014, IEEE Signal
Processing Letters 21:1389. Images count as independent here, which those of one patient are not: shown beside the
patients' bootstrap and sign-flip test, which decide.
"""

import numpy as np

from cxr_core.evaluation.metrics import Floats, Labels, Rate
from cxr_core.refs import Frozen


class DeLong(Frozen):
    """``difference`` of two AUCs, its standard error, and the two-sided p of no difference."""

    difference: float
    standard_error: float
    p: Rate


def delong(label: Labels, ours: Floats, theirs: Floats) -> DeLong | None:
    """Compare two sets of probabilities of the same images. None where a class has fewer than two images,
    or where the difference is not 0 and yet has no variance: then the method says nothing."""
    from scipy.stats import norm

    ill, well = (np.array(side) for side in zip(*(components(label, one) for one in (ours, theirs)), strict=True))
    if min(ill.shape[1], well.shape[1]) < 2:
        return None
    covariance = np.cov(ill) / ill.shape[1] + np.cov(well) / well.shape[1]
    difference = float(ill[0].mean() - ill[1].mean())
    error = float(np.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    if error < 1e-12:
        return DeLong(difference=0.0, standard_error=0.0, p=1.0) if abs(difference) < 1e-12 else None
    return DeLong(difference=difference, standard_error=error, p=float(2 * norm.sf(abs(difference) / error)))


def components(label: Labels, probability: Floats) -> tuple[Floats, Floats]:
    """For each image of class 1 the share of class 0 that it stands above (a tie counts half), and for each of
    class 0 the share of class 1 that stands above it. The mean of either is the AUC."""
    from scipy.stats import rankdata

    ill, well = probability[label == 1], probability[label == 0]
    among_all = rankdata(np.concatenate([ill, well]))
    above = (among_all[: len(ill)] - rankdata(ill)) / len(well)
    below = 1 - (among_all[len(ill) :] - rankdata(well)) / len(ill)
    return above, below
