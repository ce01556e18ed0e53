import re

import pytest

from cxr_core.config import CompareConfig
from cxr_core.evaluation.branches import Speed
from cxr_core.evaluation.differences import Difference
from cxr_core.evaluation.paired import Paired
from cxr_core.evaluation.verdicts import Judgement, Verdict, gate_sentence, judge, judge_reference, without_benchmark

BUDGETS = CompareConfig(accuracy_margin=0.01, flips_share=0.01, probability_shift=0.01)


def _interval(value: float, low: float, high: float) -> Difference:
    return Difference(value=value, low=low, high=high)


def _compared(**changes: object) -> Paired:
    """An engine that passes, but for what the test changes."""
    fine = {
        "images": 500,
        "ill": 300,
        "flips": 2,
        "lost": 1,
        "gained": 1,
        "agreement": 0.996,
        "max_abs_dp": 0.02,
        "mcnemar_p": 1.0,
        "flips_share": _interval(0.004, 0.001, 0.012),
        "mean_abs_dp": _interval(0.001, 0.0008, 0.0012),
        "accuracy_difference": _interval(0.0, -0.006, 0.006),
    }
    return Paired.model_validate({**fine, **changes})


def test_all_three_within_their_budgets_pass():
    found = judge(_compared(), BUDGETS)
    assert found.verdict is Verdict.PASS
    assert found.reason == (
        "2 of 500 decisions changed and an accuracy loss above 0.60 points is ruled out (margin 1.00)."
    )


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        # accuracy: the whole interval below the margin; a bound beyond it; a bound exactly on it
        (
            {"accuracy_difference": _interval(-0.02, -0.03, -0.011)},
            Verdict.FAIL,
            "Accuracy falls by 2.00 points, at least 1.10",
        ),
        ({"accuracy_difference": _interval(-0.02, -0.03, -0.009)}, Verdict.INCONCLUSIVE, "loss of 3.00 points"),
        ({"accuracy_difference": _interval(0.0, -0.01, 0.01)}, Verdict.INCONCLUSIVE, "loss of 1.00 points"),
        # flips: beyond doubt; over the budget; exactly on it
        (
            {"flips": 12, "flips_share": _interval(0.024, 0.014, 0.04)},
            Verdict.FAIL,
            r"12 of 500 decisions changed \(2.4 %, budget 1 %\)",
        ),
        ({"flips": 6, "flips_share": _interval(0.012, 0.005, 0.02)}, Verdict.INCONCLUSIVE, "which may be chance"),
        ({"flips": 5, "flips_share": _interval(0.01, 0.004, 0.02)}, Verdict.PASS, "5 of 500"),
        # shift: beyond doubt; over the budget; exactly on it
        ({"mean_abs_dp": _interval(0.02, 0.015, 0.03)}, Verdict.FAIL, "shifts by 0.02 on average"),
        ({"mean_abs_dp": _interval(0.012, 0.009, 0.015)}, Verdict.INCONCLUSIVE, "shift 0.012 may be within"),
        ({"mean_abs_dp": _interval(0.01, 0.009, 0.011)}, Verdict.PASS, "ruled out"),
    ],
)
def test_each_budget_decides_by_itself(changes, verdict, words):
    found = judge(_compared(**changes), BUDGETS)
    assert found.verdict is verdict
    assert re.search(words, found.reason), found.reason


def test_a_fail_outweighs_an_open_question_and_names_only_what_failed():
    found = judge(
        _compared(accuracy_difference=_interval(0, -0.03, 0.03), mean_abs_dp=_interval(0.02, 0.015, 0.03)), BUDGETS
    )
    assert found.verdict is Verdict.FAIL
    assert "accuracy" not in found.reason.lower()


def test_all_reasons_are_told():
    found = judge(
        _compared(
            flips_share=_interval(0.1, 0.08, 0.12),
            mean_abs_dp=_interval(0.02, 0.015, 0.03),
            accuracy_difference=_interval(-0.05, -0.07, -0.03),
        ),
        BUDGETS,
    )
    assert found.reason.count(";") == 2


def test_the_budgets_are_the_configured_ones():
    lost = _compared(accuracy_difference=_interval(-0.02, -0.03, -0.011))
    wide = CompareConfig(accuracy_margin=0.04, flips_share=0.01, probability_shift=0.01)
    assert judge(lost, BUDGETS).verdict is Verdict.FAIL
    assert judge(lost, wide).verdict is Verdict.PASS
    assert "4.00 points" in gate_sentence(wide)


def test_the_reference_passes_as_such_only_with_its_own_answers():
    same = _compared(
        flips=0, flips_share=_interval(0, 0, 0.006), max_abs_dp=1e-6, accuracy_difference=_interval(0, -0.1, 0.1)
    )
    assert judge_reference(same, BUDGETS) == Judgement(verdict=Verdict.PASS, reason="Is the reference.")
    assert (
        judge_reference(_compared(max_abs_dp=0.1, accuracy_difference=_interval(0, -0.1, 0.1)), BUDGETS).verdict
        is Verdict.INCONCLUSIVE
    )


def test_a_missing_benchmark_takes_a_pass_away_but_no_fail():
    passed, failed = (Judgement(verdict=v, reason="As judged.") for v in (Verdict.PASS, Verdict.FAIL))
    assert without_benchmark(passed, "throttled at 2.1 GHz") == Judgement(
        verdict=Verdict.INCONCLUSIVE, reason="throttled at 2.1 GHz"
    )
    assert without_benchmark(failed, "throttled") == failed


STATED = CompareConfig(sensitivity_margin=0.02, calibration_loss=0.01, latency_ms=5.0, engine_mb=1.5)


def _speed(p50: float = 3.0, p99: float | None = 4.0) -> Speed:
    return Speed(
        device="a CPU", reason="", images_per_second=300, ratio=_interval(1, 0.9, 1.1), throughput_batch=32,
        throughput_images=320, p50_ms=p50, p99_ms=p99, latency_count=70,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "speed", "engine_bytes", "verdict", "words"),
    [
        ({}, _speed(), 1_400_000, Verdict.PASS, "ruled out"),
        # sensitivity: beyond doubt; a bound beyond the margin
        (
            {"sensitivity_difference": _interval(-0.04, -0.06, -0.021)},
            _speed(), 1, Verdict.FAIL, "Sensitivity falls by 4.00 points, at least 2.10",
        ),
        (
            {"sensitivity_difference": _interval(0.0, -0.03, 0.03)},
            _speed(), 1, Verdict.INCONCLUSIVE, "loss of 3.00 points of sensitivity cannot be ruled out on 300 images",
        ),
        # calibration: beyond doubt; over the budget; on it
        ({"ece_difference": _interval(0.03, 0.02, 0.04)}, _speed(), 1, Verdict.FAIL, "calibration error grows by 0.03"),
        ({"ece_difference": _interval(0.02, 0.0, 0.04)}, _speed(), 1, Verdict.INCONCLUSIVE, "which may be chance"),
        ({"ece_difference": _interval(0.01, 0.0, 0.04)}, _speed(), 1, Verdict.PASS, "ruled out"),
        # latency: too slow; too few queries for the percentile; too slow in the median, whatever the count
        ({}, _speed(p99=5.1), 1, Verdict.FAIL, "99 % of the single queries took 5.1 ms"),
        ({}, _speed(p99=None), 1, Verdict.INCONCLUSIVE, "70 queries do not carry the 99th percentile"),
        ({}, _speed(p50=6.0, p99=None), 1, Verdict.FAIL, "the median of the single queries took 6 ms"),
        # size: one byte too many; exactly the budget
        ({}, _speed(), 1_500_001, Verdict.FAIL, "engine weighs 1.50 MB"),
        ({}, _speed(), 1_500_000, Verdict.PASS, "ruled out"),
    ],
)  # fmt: skip
def test_each_optional_budget_decides_by_itself(changes, speed, engine_bytes, verdict, words):
    found = judge(_compared(**changes), STATED, speed, engine_bytes)
    assert found.verdict is verdict
    assert words.lower() in found.reason.lower()
    assert judge(_compared(**changes), BUDGETS, speed, engine_bytes).verdict is Verdict.PASS, "not stated, not asked"


def test_the_reference_too_must_be_quick_and_small_enough():
    same = _compared(flips=0, flips_share=_interval(0, 0, 0.006), max_abs_dp=0.0)
    assert judge_reference(same, STATED, _speed(), 1).reason == "Is the reference."
    assert judge_reference(same, STATED, _speed(p99=9.0), 1).verdict is Verdict.FAIL


def test_the_gate_says_every_budget_that_is_stated_and_no_other():
    words = ("2.00 points of sensitivity", "calibration error", "at most 5 ms", "at most 1.5 MB")
    assert all(word in gate_sentence(STATED) for word in words)
    assert not any(word in gate_sentence(BUDGETS) for word in ("sensitivity", "calibration", " ms", " MB"))
