"""Percentiles and summaries under trtexec's definitions, and the counts that carry them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from cxr_core.bench.percentiles import carried_percentile, least_count, percentile
from cxr_core.bench.summary import latency_summary, thinned, throughput_summary


@pytest.mark.parametrize(
    ("percent", "count"), [(90, 64), (95, 130), (99, 662), (50, 11), (1e-300, 2), (99.99999, 66383518)]
)
def test_floors_are_the_smallest_counts_that_hold(percent: float, count: int) -> None:
    assert least_count(percent) == count
    beyond = 1 - percent / 100
    assert binom.cdf(1, count, beyond) <= 0.01 < binom.cdf(1, count - 1, beyond)


@pytest.mark.parametrize(("percent", "count"), [(90, 64), (95, 130), (99, 662)])
def test_a_percentile_is_blank_just_below_its_floor(percent: float, count: int) -> None:
    values = np.arange(count, dtype=np.float32)
    assert carried_percentile(values, percent) is not None
    assert carried_percentile(values[:-1], percent) is None


@pytest.mark.parametrize(
    ("count", "percent", "index"),
    # 1000 at 99 %: float32 leaves out 9 values where float64 would leave out 10. 100 at 99 %: none, the maximum.
    [(1000, 99, 990), (100, 99, 99), (1000, 90, 899), (1, 99, 0), (64, 90, 57)],
)
def test_percentile_takes_trtexecs_index(count: int, percent: float, index: int) -> None:
    assert percentile(np.arange(count, dtype=np.float32), percent) == index


def test_summary_of_a_worked_example() -> None:
    found = latency_summary([4.0, 1.0, 3.0, 2.0], batch=1)
    assert (found.count, found.min_ms, found.max_ms, found.mean_ms, found.median_ms) == (4, 1.0, 4.0, 2.5, 2.5)
    assert found.cv == pytest.approx(np.sqrt(1.25) / 2.5 * 100, rel=1e-6)
    assert found.p90_ms is found.p95_ms is found.p99_ms is None
    assert latency_summary([0.0, 0.0], batch=1).cv == 0.0


def test_summary_prints_each_percentile_from_its_own_count_on() -> None:
    at_64, at_130, at_662 = (latency_summary(np.arange(1, n + 1), 1) for n in (64, 130, 662))
    assert (at_64.p90_ms, at_64.p95_ms) == (58, None)
    assert at_130.p95_ms is not None and at_130.p99_ms is None
    assert at_662.p99_ms == 656


def test_throughput_counts_images_over_wall_time() -> None:
    assert throughput_summary(32, 10, 320, 4.0).images_per_second == 80


@given(st.lists(st.floats(0.001, 1e3), min_size=1, max_size=5000))
def test_thinning_keeps_ends_order_and_limit(values: list[float]) -> None:
    kept = thinned(values, 100)
    assert len(kept) == min(100, len(values))
    assert kept[0] == round(values[0], 3) and (len(values) < 2 or kept[-1] == round(values[-1], 3))
