"""A against B: the verdict follows from the interval, and the machine's drift is told apart from the engines' ratio."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cxr_core.bench.ab import AbResult, Verdict, ab, compared, overall
from cxr_core.bench.ratio import Drift, drift_over_rounds
from cxr_core.bench.rounds import drifting
from cxr_core.config import BenchmarkConfig, EngineConfig
from cxr_core.errors import BranchError, UsageError
from tests.cxr_core.bench.virtual import forged_work

FAST = BenchmarkConfig(
    warmup_seconds=0.02, warmup_longest_seconds=0.5, round_seconds=0.04, rounds=4, iterations=4, median_width=100,
    throughput_batch=4, peak_seconds=0.02,
)  # fmt: skip
Built = Callable[..., Path]


def run(a: Path, b: Path) -> AbResult:
    found = ab(
        engine=a / "engine", engine_metadata=a / "engine.json", other=b / "engine", other_metadata=b / "engine.json",
        config=FAST, engine_config=EngineConfig(threads=1),
    )  # fmt: skip
    return AbResult.model_validate(found)


def test_the_faster_of_two(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    fp32, int8 = built("fake"), built("fake", "int8")
    monkeypatch.setenv("CXR_FAKE", "slow:int8")  # 5 ms a query, where the other takes microseconds
    found = run(fp32, int8)
    assert found.verdict == found.latency.verdict == found.throughput.verdict == "faster"
    assert found.latency.ratio.low > 2 and found.latency.ratio.rounds == found.ended.rounds
    assert (found.a.engine.precision, found.b.engine.precision) == ("fp32", "int8")
    assert found.b.latency.median_ms > 5 > found.a.latency.median_ms


def test_engines_of_two_backends_are_compared(built: Built) -> None:
    found = run(built("openvino"), built("onnxruntime"))
    assert (found.a.engine.backend, found.b.engine.backend) == ("openvino", "onnxruntime")
    assert found.a.engine.engine_digest != found.b.engine.engine_digest and found.drift is not None


def test_wrong_answers_of_either_are_refused(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = built("fake"), built("fake", "int8")
    monkeypatch.setenv("CXR_FAKE", "wrong:int8")
    with pytest.raises(BranchError, match="not a valid measurement: B: query"):
        run(*folders)


def test_engines_on_two_devices_are_not_compared(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_doubles.backend import FakeBackend

    folders = built("fake"), built("onnxruntime")
    monkeypatch.setattr(FakeBackend, "devices", lambda self: ("GPU-double",))
    with pytest.raises(UsageError, match="A computes on GPU-double, B on cpu"):
        run(*folders)


@pytest.mark.parametrize(
    ("per_round", "verdict"),
    [
        ([1.10, 1.12, 1.11, 1.09], "faster"),
        ([0.90, 0.88, 0.91, 0.89], "slower"),
        ([1.02, 0.98, 1.03, 0.99], "inconclusive"),
        ([1.3, 0.9, 1.3, 0.95], "inconclusive"),
    ],
)
def test_the_verdict_is_by_whether_the_interval_excludes_one(per_round: list[float], verdict: str) -> None:
    assert compared(per_round, 0).verdict == verdict


@pytest.mark.parametrize(
    ("latency", "throughput", "verdict"),
    [
        ("faster", "faster", "faster"),
        ("faster", "inconclusive", "faster"),
        ("inconclusive", "slower", "slower"),
        ("faster", "slower", "inconclusive"),
        ("inconclusive", "inconclusive", "inconclusive"),
    ],
)
def test_both_figures_make_one_verdict(latency: Verdict, throughput: Verdict, verdict: str) -> None:
    assert overall(latency, throughput) == verdict


def test_verdicts_on_engines_that_are_equal_are_rarely_wrong() -> None:
    """10 rounds with 5 % of noise, 400 times: at most 5 % + four standard errors of the share are called different."""
    random = np.random.default_rng(11)
    wrong = [
        compared(np.exp(random.normal(0, 0.05, 10)).tolist(), seed).verdict != "inconclusive" for seed in range(400)
    ]
    assert np.mean(wrong) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 400)


def test_drift_is_found_and_does_not_move_the_ratio() -> None:
    """The machine slows down by 30 % over the session; A is 1.2 times as fast as B, in turns A B, B A."""
    random = np.random.default_rng(2)
    speed = np.exp(np.linspace(0, np.log(0.7), 40) + random.normal(0, 0.005, 40))
    a = np.array([0 if i % 4 in (0, 3) else 1 for i in range(40)], dtype=bool)
    first, second = 1.2 * speed[~a], speed[a]
    found = drift_over_rounds(np.sqrt(first * second).tolist())
    assert found is not None and found.low < -0.29 < found.high < -0.25
    assert compared((first / second).tolist(), 0).ratio.value == pytest.approx(1.2, rel=0.005)


def test_a_machine_that_surely_moved_is_told() -> None:
    assert drifting(None) == drifting(Drift(value=-0.2, low=-0.35, high=-0.05)) == ""
    assert drifting(Drift(value=0.02, low=0.01, high=0.03)) == ""
    assert "moved by -30 % over the rounds [-35, -25]" in drifting(Drift(value=-0.3, low=-0.35, high=-0.25))
    assert "moved by +30 %" in drifting(Drift(value=0.3, low=0.25, high=0.35))


def test_no_drift_holds_zero_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(4), []
    for _ in range(400):
        found = drift_over_rounds(np.exp(random.normal(0, 0.05, 10)).tolist())
        assert found is not None
        held.append(found.low <= 0 <= found.high)
    assert abs(np.mean(held) - 0.95) < 4 * np.sqrt(0.05 * 0.95 / 400)
    assert drift_over_rounds([1.0, 1.1]) is None


@pytest.mark.slow
def test_a_rate_above_what_the_device_computes_is_refused(built: Callable[..., Path], tmp_path: Path) -> None:
    forged = forged_work(built("openvino"), tmp_path / "forged")
    with pytest.raises(BranchError, match=r"not a valid measurement: .*images/s x 1e\+05 GFLOP"):
        run(forged, built("openvino"))
