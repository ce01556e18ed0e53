"""Percentiles under trtexec's definition, and how many values each needs before it may be printed."""

from bisect import bisect_left
from functools import cache

import numpy as np
from numpy.typing import NDArray

_CONFIDENCE = 0.99


@cache
def least_count(percent: float) -> int:
    """Smallest n for which n values carry the ``percent`` percentile: 64 for p90, 130 for p95, 662 for p99.

    ``percent`` lies between 0 and 100, which are the least and the largest value: no count carries those.

    With p = percent/100, the smallest n whose chance of at most one value beyond the percentile,
    p^(n-1) (p + n (1 - p)), is at most 1 % (the early-stopping rule of MLPerf's load generator).
    """
    counts, p = range(1, 1 << 60), percent / 100
    return counts[bisect_left(counts, True, key=lambda n: p ** (n - 1) * (p + n * (1 - p)) <= 1 - _CONFIDENCE)]


def percentile(ordered: NDArray[np.float32], percent: float) -> float:
    """The value that trtexec calls percentile(``percent`` %), of values in rising order; no interpolation.

    It is x[max(n - 1 - int((1 - percent/100) n), 0)] with the product in float32, where float64 would
    give another index for some n. Source: NVIDIA/TensorRT samples/common/sampleReporting.cpp.
    """
    count = len(ordered)
    excluded = int((np.float32(1) - np.float32(percent) / np.float32(100)) * np.float32(count))
    return float(ordered[max(count - 1 - excluded, 0)])


def carried_percentile(ordered: NDArray[np.float32], percent: float) -> float | None:
    """``percentile``, or None where there are fewer values than ``least_count``."""
    return percentile(ordered, percent) if len(ordered) >= least_count(percent) else None
