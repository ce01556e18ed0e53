"""Figures over rounds with their intervals; how much faster than the reference above all."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr_core.refs import Frozen

_RESAMPLES = 4000


class OverRounds(Frozen):
    """The geometric mean of a figure over ``rounds``, and its 95 % interval."""

    value: float
    low: float
    high: float
    rounds: int

    @property
    def width(self) -> float:
        """Of the interval, as a share of the value."""
        return (self.high - self.low) / self.value


class Ratio(OverRounds):
    """Above 1 the engine is faster than its reference."""


class Drift(Frozen):
    """By how much a figure rose from the first round to the last, as a share, by a straight line through its logarithm;
    95 % interval."""

    value: float
    low: float
    high: float


def ratio_from_rounds(ratios: Sequence[float], seed: int) -> Ratio:
    """Per-round ratios as ``over_rounds`` takes them together."""
    return Ratio(**over_rounds(ratios, seed).model_dump())


def over_rounds(figures: Sequence[float], seed: int) -> OverRounds:
    """Geometric mean of positive per-round figures with an expanded-percentile bootstrap interval, or Student's where
    that is the wider one.

    Rounds are resampled, not queries: queries of one turn share the machine's mood. With few rounds the
    plain percentile interval is too narrow; the tail is widened to Phi(-sqrt(n/(n-1)) t(0.975, n-1))
    (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 3.4). Still no resample leaves the
    range of the rounds, which of two rounds holds the truth in every other case and of four in 87 %: so the ends are
    at least as far apart as t(0.975, n-1) s / sqrt(n) to each side, on the logarithms.

    Raises:
        ValueError: fewer than two rounds.
    """
    count = len(figures)
    if count < 2:
        raise ValueError(f"an interval over rounds needs at least 2, got {count}")
    logs = np.log(np.asarray(figures, dtype=np.float64))
    picks = np.random.default_rng(seed).integers(0, count, (_RESAMPLES, count))
    tail = _expanded_tail(count)
    low, high = np.quantile(_means(logs, picks), [tail, 1 - tail])
    mean, half = logs.mean(), _students_half(logs)
    value = float(np.exp(mean))
    # With equal rounds, rounding errors would put the value outside of its own interval.
    return OverRounds(
        value=value,
        low=min(value, float(np.exp(min(low, mean - half)))),
        high=max(value, float(np.exp(max(high, mean + half)))),
        rounds=count,
    )


def drift_over_rounds(figures: Sequence[float]) -> Drift | None:
    """Least squares with Student's t, n - 2 degrees of freedom; None for fewer than three rounds."""
    count = len(figures)
    if count < 3:
        return None
    (slope, _), covariance = np.polyfit(np.arange(count), np.log(np.asarray(figures, dtype=np.float64)), 1, cov=True)
    half = _t(count - 2) * np.sqrt(covariance[0, 0])
    value, low, high = (float(np.expm1(one * (count - 1))) for one in (slope, slope - half, slope + half))
    return Drift(value=value, low=low, high=high)


def _means(logs: NDArray[np.float64], picks: NDArray[np.int64]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = logs[picks].mean(axis=1)
    return means


def _students_half(logs: NDArray[np.float64]) -> float:
    return float(_t(len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs)))


def _expanded_tail(count: int) -> float:
    from scipy.special import ndtr

    return float(ndtr(-np.sqrt(count / (count - 1)) * _t(count - 1)))


def _t(degrees: int) -> float:
    """t(0.975, degrees)"""
    from scipy.special import stdtrit  # scipy.stats has the same and takes seconds to import, in every stage

    return float(stdtrit(degrees, 0.975))
