"""A warm-up ends when speed stands still, not before, and never later than its limit. All on a clock of the test's."""

from collections.abc import Callable

import pytest

from cxr_core.bench.inputs import batches
from cxr_core.bench.warmup import Warmup, warm_up
from tests.cxr_core.bench.virtual import Sleeper, VirtualClock

ONE = batches(1, 8, 8, 0)


def warmed(seconds: Callable[[int, int], float], least: float = 0.3, longest: float = 20.0) -> Warmup:
    clock = VirtualClock()
    return warm_up(Sleeper(clock, seconds), ONE, least, longest, clock)


def test_a_steady_engine_is_warm_after_the_least_time() -> None:
    assert warmed(lambda call, batch: 0.01) == Warmup(seconds=0.3, windows=3, spread=1.0, stable=True)


def test_an_engine_that_gets_faster_is_run_until_it_no_longer_does() -> None:
    """From 50 ms down to 10 ms over 20 queries: 0.6 s of ramp, of which a warm-up of 0.3 s alone would leave half."""
    found = warmed(lambda call, batch: max(0.01, 0.05 - 0.002 * call))
    assert found.stable and found.spread <= 1.1 and 0.7 < found.seconds < 1.5
    assert found.seconds < warmed(lambda call, batch: max(0.01, 0.08 - 0.002 * call)).seconds


def test_a_ramp_too_slow_for_three_windows_is_seen_by_longer_ones() -> None:
    """A tenth over three windows is what the rule can see: what is slower is left to the drift over the rounds."""
    slowly = lambda call, batch: max(0.01, 0.05 - 0.0004 * call)  # noqa: E731
    assert warmed(slowly).seconds < 1 < 3 < warmed(slowly, least=1.5).seconds


def test_one_interrupted_query_does_not_prolong_it() -> None:
    assert warmed(lambda call, batch: 0.5 if call == 15 else 0.01).windows == 3


@pytest.mark.parametrize("factor", [1.09, 1.11])
def test_ten_percent_is_the_limit(factor: float) -> None:
    found = warmed(lambda call, batch: 0.01 * (factor if call // 10 == 1 else 1))
    assert (found.windows == 3) == (factor < 1.1)


def test_an_engine_that_never_stands_still_is_left_at_the_limit_and_said_to_be_unsteady() -> None:
    found = warmed(lambda call, batch: 0.01 if call // 10 % 2 else 0.02, longest=2.0)
    assert not found.stable and found.spread > 1.5 and 2.0 <= found.seconds < 2.5


def test_a_window_is_a_query_where_one_takes_longer_and_without_a_least_time() -> None:
    assert warmed(lambda call, batch: 4.0).seconds == 12.0
    assert warmed(lambda call, batch: 0.25, least=0.0) == Warmup(seconds=0.75, windows=3, spread=1.0, stable=True)


def test_a_side_says_what_was_not_steady() -> None:
    from cxr_core.bench.rounds import Side

    one = Side("engine", Sleeper(VirtualClock(), lambda call, batch: 0.01), ONE, ONE)
    one.warmup = {
        "latency": Warmup(seconds=1.0, windows=9, spread=1.0, stable=True),
        "throughput": Warmup(seconds=5.0, windows=9, spread=1.34, stable=False),
    }
    assert one.unsteady == "engine: not steady after 6.0 s of warm-up (throughput by 1.34 in 3 windows)"
    one.warmup.pop("throughput")
    assert one.unsteady == ""
