"""trtexec's names and definitions for what was timed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from pydantic import JsonValue

from cxr_core.bench.percentiles import carried_percentile
from cxr_core.refs import Frozen


class LatencySummary(Frozen):
    """Milliseconds per query of ``batch`` images. A percentile that ``count`` does not carry is None.

    ``cv`` is the coefficient of variation in percent: population standard deviation / mean x 100; 0 where all are 0.
    """

    batch: int
    count: int
    min_ms: float
    max_ms: float
    mean_ms: float
    median_ms: float
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    cv: float


class ThroughputSummary(Frozen):
    """``images`` counts what was bound, ``seconds`` the wall time of the timed turns."""

    batch: int
    queries: int
    images: int
    seconds: float
    images_per_second: float


def latency_summary(milliseconds: ArrayLike, batch: int) -> LatencySummary:
    """Over at least one value, in float32 as trtexec computes (sampleReporting.cpp)."""
    ordered = np.sort(np.asarray(milliseconds, dtype=np.float32))
    mean = ordered.mean()
    return LatencySummary(
        batch=batch,
        count=len(ordered),
        min_ms=float(ordered[0]),
        max_ms=float(ordered[-1]),
        mean_ms=float(mean),
        median_ms=float(np.median(ordered)),
        p90_ms=carried_percentile(ordered, 90),
        p95_ms=carried_percentile(ordered, 95),
        p99_ms=carried_percentile(ordered, 99),
        cv=float(np.sqrt(np.mean((ordered - mean) ** 2)) / mean * 100) if mean else 0.0,
    )


def throughput_summary(batch: int, queries: int, images: int, seconds: float) -> ThroughputSummary:
    """Images per second: bound images over wall time."""
    return ThroughputSummary(
        batch=batch, queries=queries, images=images, seconds=seconds, images_per_second=images / seconds
    )


def thinned(values: Sequence[float], most: int = 2000) -> list[JsonValue]:
    """At most ``most`` of the values, evenly over the run, in their order; microsecond resolution."""
    chosen = np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)
    return [round(float(values[i]), 3) for i in chosen]
