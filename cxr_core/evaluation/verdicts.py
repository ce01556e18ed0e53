"""May this precision ship? Three questions against the reference, each with a budget stated beforehand.

The rule, for an engine whose answers are finite and not all alike:

- **accuracy**: the one-sided 95 % lower bound of the paired accuracy difference lies above -margin;
- **flips**: the share of changed decisions on the test split is at most its budget;
- **shift**: the mean |delta p| on the test split is at most its budget.

``pass``: all three hold, and there is a benchmark. ``fail``: the answers are broken, or at least
one budget is exceeded beyond doubt, which is when the 95 % bound on the good side is already
beyond it. ``inconclusive``: anything between. ``unsupported``: the device cannot run it at all.
"""

from enum import StrEnum

from cxr_core.config import CompareConfig
from cxr_core.evaluation.paired import Paired
from cxr_core.refs import Frozen

# The reference's own engine is only called that if it still gives the reference's answers.
_SAME_ANSWERS = 1e-3


class Verdict(StrEnum):
    """What may be said about shipping a precision. A verdict is a result, never an error."""

    PASS = "pass"  # noqa: S105 (no password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNSUPPORTED = "unsupported"


class Judgement(Frozen):
    """A verdict and the one sentence that explains it."""

    verdict: Verdict
    reason: str


def judge(compared: Paired, config: CompareConfig) -> Judgement:
    """The verdict on an engine's answers alone."""
    broken = [*_beyond_doubt(compared, config)]
    if broken:
        return Judgement(verdict=Verdict.FAIL, reason=_sentence(broken))
    open_questions = [*_not_shown(compared, config)]
    if open_questions:
        return Judgement(verdict=Verdict.INCONCLUSIVE, reason=_sentence(open_questions))
    excluded = _points(max(0.0, -compared.accuracy_difference.low))
    return Judgement(
        verdict=Verdict.PASS,
        reason=f"{_flips(compared)} and an accuracy loss above {excluded} points is ruled out "
        f"(margin {_points(config.accuracy_margin)}).",
    )


def judge_reference(compared: Paired, config: CompareConfig) -> Judgement:
    """The verdict on the reference's own branch: ``pass``, unless its engine answers differently."""
    if compared.flips == 0 and compared.max_abs_dp <= _SAME_ANSWERS:
        return Judgement(verdict=Verdict.PASS, reason="Is the reference.")
    return judge(compared, config)


def without_benchmark(judged: Judgement, reason: str) -> Judgement:
    """A pass without a measurement of speed cannot be decided on; a fail stays a fail."""
    if judged.verdict is Verdict.FAIL:
        return judged
    return Judgement(verdict=Verdict.INCONCLUSIVE, reason=reason)


def gate_sentence(config: CompareConfig) -> str:
    """The rule with this run's budgets, for the report."""
    return (
        f"Pass: a loss of {_points(config.accuracy_margin)} points of accuracy or more is ruled out (one-sided 95 % "
        "bound, paired, the wider of patients' bootstrap and Tango's score interval), at most "
        f"{_percent(config.flips_share)} of the decisions change, and the mean probability shift is at most "
        f"{config.probability_shift:g}. Fail: one of the three is exceeded beyond its 95 % bound, or the answers are "
        "broken. Otherwise inconclusive. All against the FP32 reference on the same images."
    )


def _beyond_doubt(compared: Paired, config: CompareConfig) -> list[str]:
    found = []
    if compared.accuracy_difference.high < -config.accuracy_margin:
        found.append(
            f"accuracy falls by {_points(-compared.accuracy_difference.value)} points, at least "
            f"{_points(-compared.accuracy_difference.high)} (margin {_points(config.accuracy_margin)})"
        )
    if compared.flips_share.low > config.flips_share:
        found.append(_flips_against(compared, config))
    if compared.mean_abs_dp.low > config.probability_shift:
        found.append(
            f"the probability shifts by {compared.mean_abs_dp.value:.3g} on average "
            f"(budget {config.probability_shift:g})"
        )
    return found


def _not_shown(compared: Paired, config: CompareConfig) -> list[str]:
    found = []
    if compared.accuracy_difference.low <= -config.accuracy_margin:
        found.append(
            f"a loss of {_points(-compared.accuracy_difference.low)} points of accuracy cannot be ruled out "
            f"on {compared.images} images (margin {_points(config.accuracy_margin)})"
        )
    if compared.flips_share.value > config.flips_share:
        found.append(f"{_flips_against(compared, config)}, which may be chance")
    if compared.mean_abs_dp.value > config.probability_shift:
        found.append(
            f"the mean probability shift {compared.mean_abs_dp.value:.3g} may be within its budget "
            f"{config.probability_shift:g} or not"
        )
    return found


def _flips(compared: Paired) -> str:
    return f"{compared.flips} of {compared.images} decisions changed"


def _flips_against(compared: Paired, config: CompareConfig) -> str:
    share, budget = _percent(compared.flips_share.value), _percent(config.flips_share)
    return f"{_flips(compared)} ({share}, budget {budget})"


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _sentence(parts: list[str]) -> str:
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."
