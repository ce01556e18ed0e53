"""The open loop is the queue M/D/1 of the books, latency counts from falling due, and overload is said. No test waits:
time passes on a clock of the test's."""

from math import exp, factorial, floor, sqrt
from pathlib import Path

import numpy as np
import pytest

from cxr_core.bench.clock import MachineClock
from cxr_core.bench.inputs import batches
from cxr_core.bench.load import Load, LoadResult, load, load_of
from cxr_core.bench.open_loop import Served, poisson_arrivals, serve
from cxr_core.config import BenchmarkConfig, EngineConfig
from cxr_core.errors import BranchError, UsageError
from tests.cxr_core.bench.virtual import SECOND, Sleeper, VirtualClock

ONE = batches(1, 8, 8, 0)
SERVICE = 0.01
FAST = BenchmarkConfig(warmup_seconds=0.02, warmup_longest_seconds=0.2)


def served(rate: float, seconds: float, service=lambda call, batch: SERVICE, seed: int = 3) -> Served:
    clock = VirtualClock()
    return serve(Sleeper(clock, service), ONE, poisson_arrivals(rate, seconds, seed), 2 * seconds, clock)


def told(rate: float, seconds: float, **how) -> Load:
    return load_of(served(rate, seconds, **how), rate, seconds, 3)


def regenerative(values: np.ndarray, first: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error over busy cycles, which are independent where waiting times are not: a cycle begins
    with a query that finds nobody (M. Crane and A. Lemoine, "Regenerative Method for Simulation Analysis", 1977)."""
    cycle = np.cumsum(first) - 1
    sums, counts = np.bincount(cycle, values), np.bincount(cycle)
    mean = sums.sum() / counts.sum()
    return mean, float(np.sqrt(np.mean((sums - mean * counts) ** 2) / len(counts)) / counts.mean())


def waits_no_longer_than(seconds: float, rate: float) -> float:
    """Erlang 1909: (1 - rho) sum over k <= t/S of (-rate (t - kS))^k / k! exp(rate (t - kS))."""
    left = [seconds - k * SERVICE for k in range(floor(seconds / SERVICE) + 1)]
    return (1 - rate * SERVICE) * sum((-rate * t) ** k / factorial(k) * exp(rate * t) for k, t in enumerate(left))


@pytest.mark.parametrize("rate", [30, 60, 85])
def test_waiting_is_that_of_the_queue_m_d_1(rate: float) -> None:
    """Mean and tail by both formulas, within four standard errors: of 75 seeds at a quarter of this length none was off
    by more than 3.3."""
    found = served(rate, 20_000 / rate)
    waits = (found.turn.starts - found.due) / SECOND
    nobody = waits < 1e-9
    utilisation = rate * SERVICE
    mean, error = regenerative(waits, nobody)
    assert abs(mean - utilisation * SERVICE / (2 * (1 - utilisation))) < 4 * error < 0.3 * mean
    tail = SERVICE * (2 if rate < 50 else 4)
    share, error = regenerative((waits <= tail).astype(float), nobody)
    assert abs(share - waits_no_longer_than(tail, rate)) < 4 * error < 0.1


def test_the_summary_holds_what_pollaczek_and_khinchine_expect() -> None:
    found = served(60, 200)
    summary = load_of(found, 60, 200, 3)
    arrived = len(found.due) / 200
    waiting = arrived * SERVICE**2 / (2 * (1 - arrived * SERVICE))
    assert summary.expected_mean_ms == pytest.approx(1000 * (SERVICE + waiting))
    _, error = regenerative(found.latencies_ms, found.turn.starts - found.due < 10)
    assert abs(summary.latency.mean_ms - summary.expected_mean_ms) < 4 * error
    assert not summary.overloaded and summary.unserved == 0 and "keeps up" in summary.says
    assert summary.service.median_ms == pytest.approx(10) and summary.utilisation == pytest.approx(arrived * SERVICE)


def test_arrivals_are_poisson_and_repeatable() -> None:
    moments = poisson_arrivals(200, 100, 1)
    np.testing.assert_array_equal(moments, poisson_arrivals(200, 100, 1))
    assert not np.array_equal(moments[:100], poisson_arrivals(200, 100, 2)[:100])
    assert (np.diff(moments) >= 0).all() and moments[0] >= 0 and moments[-1] < 100 * SECOND
    assert abs(len(moments) - 20_000) < 4 * sqrt(20_000)
    gaps = np.diff(moments) / SECOND  # exponential: deviation equals mean, 1 - 1/e of them are shorter than it
    assert abs(gaps.std() / gaps.mean() - 1) < 4 * sqrt(2 / len(gaps))
    assert abs((gaps < gaps.mean()).mean() - (1 - exp(-1))) < 4 * sqrt(exp(-1) * (1 - exp(-1)) / len(gaps))


def test_a_stall_is_felt_by_all_who_came_meanwhile() -> None:
    """One second in which nothing is answered, at 100 queries a second: a closed loop would show one slow query."""
    found = served(100, 10, lambda call, batch: 1.0 if call == 500 else 0.001)
    late = found.latencies_ms > 100
    assert (found.turn.milliseconds > 100).sum() == 1
    in_stall = (found.due > found.turn.starts[500]) & (found.due < found.turn.stops[500] - 0.1 * SECOND)
    assert late.sum() >= in_stall.sum() > 60
    assert load_of(found, 100, 10, 3).latency.p99_ms > 500


def test_overload_is_said_with_its_arithmetic() -> None:
    found = told(100, 20, service=lambda call, batch: 0.015)
    assert found.overloaded and found.expected_mean_ms is None and found.unserved == 0
    assert found.utilisation == pytest.approx(found.arrivals / 20 * 0.015)
    assert found.served_per_second == pytest.approx(1 / 0.015, rel=0.02)
    # Waiting lines grow by what arrives and is not served; 4 standard errors of a Poisson count over 20 s.
    assert abs(found.queue.growth - (100 - 1 / 0.015)) < 4 * sqrt(100 / 20)
    assert found.queue.most == pytest.approx(found.queue.at_end, rel=0.1) and found.latency.max_ms > 5000
    assert "overloaded" in found.says and f"to {found.queue.at_end:,}" in found.says and "given up" not in found.says


def test_what_would_take_for_ever_is_given_up_and_counts_as_late() -> None:
    found = told(400, 10, service=lambda call, batch: 0.015)
    assert found.arrivals - found.unserved == pytest.approx(20 / 0.015, abs=2)
    assert f"{found.unserved:,} of {found.arrivals:,} were given up" in found.says
    assert found.latency.count == found.arrivals and found.service.count == found.arrivals - found.unserved
    assert found.latency.p90_ms > 10_000


def test_nobody_is_served_before_falling_due_nor_out_of_order() -> None:
    found = served(80, 20)
    assert (found.turn.starts >= found.due).all() and (found.turn.starts[1:] >= found.turn.stops[:-1]).all()
    idle = found.turn.starts[1:] > found.turn.stops[:-1]
    np.testing.assert_array_equal(found.turn.starts[1:][idle], found.due[1:][idle])


def test_the_machines_clock_never_ends_a_wait_early() -> None:
    clock = MachineClock()
    for wait in (-1_000_000, 0, 50_000, 4_000_000):
        moment = clock.now() + wait
        clock.wait_until(moment)
        assert clock.now() >= moment


def test_an_engine_under_load(built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = built("fake", "int8")

    def under(rate: float, seconds: float = 0.3):
        found = load(
            engine=folder / "engine", engine_metadata=folder / "engine.json", config=FAST,
            engine_config=EngineConfig(threads=1), rate=rate, seconds=seconds,
        )  # fmt: skip
        return LoadResult.model_validate(found)

    found = under(200)
    assert found.engine.fake and found.engine.precision == "int8" and found.engine.device == "FAKE device"
    assert found.load.arrivals == found.load.latency.count == len(poisson_arrivals(200, 0.3, FAST.seed))
    assert found.load.latency.min_ms >= found.load.service.min_ms
    with pytest.raises(UsageError, match=r"none arrives in 0.3 s: take more seconds"):
        under(1e-6)
    with pytest.raises(UsageError, match="more than 5,000,000"):
        under(1e9)
    monkeypatch.setenv("CXR_FAKE", "slow:int8")  # an answer takes 5 ms: 200 a second at most
    assert under(2000, 0.2).load.overloaded
    monkeypatch.setenv("CXR_FAKE", "wrong:int8")
    with pytest.raises(BranchError, match="not a valid measurement: query"):
        under(200)
