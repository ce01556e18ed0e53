"""How much faster than the reference, with an interval over rounds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr_core.refs import Frozen

_RESAMPLES = 4000


class Ratio(Frozen):
    """Above 1 the engine is faster than its reference. 95 % interval; ``rounds`` ratios stand behind it."""

    value: float
    low: float
    high: float
    rounds: int


def ratio_from_rounds(ratios: Sequence[float], seed: int) -> Ratio:
    """Geometric mean of per-round ratios with an expanded-percentile bootstrap interval.

    Rounds are resampled, not queries: queries of one turn share the machine's mood. With few rounds the
    plain percentile interval is too narrow; the tail is widened to Phi(-sqrt(n/(n-1)) t(0.975, n-1))
    (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 3.4).

    Raises:
        ValueError: fewer than two rounds.
    """
    count = len(ratios)
    if count < 2:
        raise ValueError(f"an interval over rounds needs at least 2, got {count}")
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    picks = np.random.default_rng(seed).integers(0, count, (_RESAMPLES, count))
    tail = _expanded_tail(count)
    low, high = np.quantile(_means(logs, picks), [tail, 1 - tail])
    value = float(np.exp(logs.mean()))
    # min and max: with equal rounds, rounding errors would put the value outside of its own interval.
    return Ratio(value=value, low=min(value, float(np.exp(low))), high=max(value, float(np.exp(high))), rounds=count)


def _means(logs: NDArray[np.float64], picks: NDArray[np.int64]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = logs[picks].mean(axis=1)
    return means


def _expanded_tail(count: int) -> float:
    from scipy.stats import norm, t

    return float(norm.cdf(-np.sqrt(count / (count - 1)) * t.ppf(0.975, count - 1)))
