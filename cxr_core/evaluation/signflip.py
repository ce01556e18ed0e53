"""The sign-flip (permutation) test over patients: would a swap of engine and reference matter?

If both are alike, then in each patient their answers could as well be swapped, which turns the sign of what that
patient adds to the difference. p is the share of all swaps whose difference is at least as large as the one found.
"""

import numpy as np
from numpy.typing import NDArray

from cxr_core.evaluation.metrics import Floats, Labels

_DRAWS = 9999
_BLOCK = 512
_ENUMERATED = 12  # patients whose 2^12 swaps are all tried, which takes less than the draws


def sign_flip_p(of_images: Floats, patient: NDArray[np.int64], seed: int) -> float:
    """Two-sided p of a sum over images.

    Whole numbers (changed decisions) are judged exactly, by their distribution; where each patient has one image that
    is McNemar's exact test. Other sums of more than a dozen patients take seeded draws, with the found one
    among them (Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39).

    Args:
        of_images: what each image adds to the difference, shape [images].
        patient: index of each image's patient, shape [images].
    """
    sums = np.bincount(patient, weights=of_images)
    sums = sums[np.abs(sums) > 1e-12]
    if not len(sums):
        return 1.0
    if (sums == np.round(sums)).all():
        return _exact(np.abs(sums).astype(np.int64), abs(round(sums.sum())))
    found = abs(float(sums.sum())) * (1 - 1e-9)
    if len(sums) <= _ENUMERATED:
        signs = 1 - 2 * ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1)
        return float((np.abs(signs @ sums) >= found).mean())
    rng, as_large = np.random.default_rng(seed), 1
    for start in range(0, _DRAWS, _BLOCK):
        signs = 1 - 2 * rng.integers(0, 2, (min(_BLOCK, _DRAWS - start), len(sums)), dtype=np.int8)
        as_large += int((np.abs(signs @ sums) >= found).sum())
    return as_large / (_DRAWS + 1)


def auc_parts(label: Labels, ours: Floats, theirs: Floats) -> Floats:
    """What each image adds to the difference of two AUCs, shape [images]. Swapping both answers of some patients
    turns the sign of their parts and nothing else (Bandos, Rockette and Gur 2005, Stat. Med. 24:2873)."""
    positive = label == 1
    ill, well = (ours[positive], theirs[positive]), (ours[~positive], theirs[~positive])
    parts = np.empty(len(label))
    gain = sum(_share_below(ill[0], other) - _share_below(ill[1], other) for other in well)
    parts[positive] = gain / (2 * positive.sum())
    loss = sum(_share_below(well[0], other) - _share_below(well[1], other) for other in ill)
    parts[~positive] = -loss / (2 * (~positive).sum())
    return parts


def _share_below(values: Floats, others: Floats) -> Floats:
    """The share of ``others`` below each value, ties counted half."""
    ordered = np.sort(others)
    counts = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(counts / (2 * len(others)))


def _exact(sizes: NDArray[np.int64], found: int) -> float:
    """Chance that random signs give a sum of at least ``found`` in size; the sums' distribution, patient by patient."""
    total = int(sizes.sum())
    chance = np.zeros(2 * total + 1)
    chance[total] = 1.0
    for size in sizes:
        chance = (np.roll(chance, size) + np.roll(chance, -size)) / 2
    return min(1.0, float(chance[np.abs(np.arange(-total, total + 1)) >= found].sum()))
