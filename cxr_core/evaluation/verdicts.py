"""May this precision ship? A few questions, each with a budget stated beforehand in the profile.

Against the reference, for an engine whose answers are finite and not all alike:

- **accuracy**, and **sensitivity** where its margin is stated: the one-sided 95 % lower bound of the paired
  difference lies above -margin;
- **flips**: the share of changed decisions on the test split is at most its budget;
- **shift**: the mean |delta p| on the test split is at most its budget;
- **calibration**, where stated: the calibration error grows by at most its budget.

Of the engine by itself, where stated: **latency** and **size**.

``pass``: all hold, and there is a benchmark. ``fail``: the answers are broken, or at least
one budget is exceeded beyond doubt, which is when the 95 % bound on the good side is already
beyond it. ``inconclusive``: anything between. ``unsupported``: the device cannot run it at all.
"""

from collections.abc import Iterator
from enum import StrEnum

from cxr_core.config import CompareConfig
from cxr_core.evaluation.branches import Speed
from cxr_core.evaluation.differences import Difference
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


_Complaint = tuple[Verdict, str]


def judge(
    compared: Paired, config: CompareConfig, speed: Speed | None = None, engine_bytes: int | None = None
) -> Judgement:
    """The verdict on an engine's answers, and on its latency and size where these have budgets."""
    return _verdict(
        [*_of_answers(compared, config), *_of_engine(config, speed, engine_bytes)],
        f"{_flips(compared)} and an accuracy loss above {_points(max(0.0, -compared.accuracy_difference.low))} "
        f"points is ruled out (margin {_points(config.accuracy_margin)}).",
    )


def judge_reference(
    compared: Paired, config: CompareConfig, speed: Speed | None = None, engine_bytes: int | None = None
) -> Judgement:
    """The verdict on the reference's own branch: its answers ``pass``, unless its engine answers differently."""
    if compared.flips == 0 and compared.max_abs_dp <= _SAME_ANSWERS:
        return _verdict([*_of_engine(config, speed, engine_bytes)], "Is the reference.")
    return judge(compared, config, speed, engine_bytes)


def without_benchmark(judged: Judgement, reason: str) -> Judgement:
    """A pass without a measurement of speed cannot be decided on; a fail stays a fail."""
    if judged.verdict is Verdict.FAIL:
        return judged
    return Judgement(verdict=Verdict.INCONCLUSIVE, reason=reason)


def gate_sentence(config: CompareConfig) -> str:
    """The rule with this run's budgets, for the report."""
    parts = [
        f"a loss of {_points(config.accuracy_margin)} points of accuracy or more is ruled out (one-sided 95 % "
        "bound, paired, the wider of patients' bootstrap and Tango's score interval)",
    ]
    if config.sensitivity_margin is not None:
        parts.append(f"one of {_points(config.sensitivity_margin)} points of sensitivity too")
    parts += [
        f"at most {_percent(config.flips_share)} of the decisions change",
        f"the mean probability shift is at most {config.probability_shift:g}",
    ]
    if config.calibration_loss is not None:
        parts.append(f"the calibration error grows by at most {config.calibration_loss:g}")
    if config.latency_ms is not None:
        parts.append(f"99 % of the single queries take at most {config.latency_ms:g} ms")
    if config.engine_mb is not None:
        parts.append(f"the engine weighs at most {config.engine_mb:g} MB")
    return (
        f"Pass: {', '.join(parts[:-1])}, and {parts[-1]}. Fail: one of these is exceeded beyond its 95 % bound, or the "
        "answers are broken. Otherwise inconclusive. Answers are held against the FP32 reference on the same images."
    )


def _verdict(complaints: list[_Complaint], sound: str) -> Judgement:
    """What failed outweighs what is open, and only the graver of the two is told."""
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if parts := [words for found, words in complaints if found is verdict]:
            text = "; ".join(parts)
            return Judgement(verdict=verdict, reason=text[0].upper() + text[1:] + ".")
    return Judgement(verdict=Verdict.PASS, reason=sound)


def _of_answers(compared: Paired, config: CompareConfig) -> Iterator[_Complaint]:
    yield from _loss("accuracy", compared.accuracy_difference, config.accuracy_margin, compared.images)
    if config.sensitivity_margin is not None and compared.sensitivity_difference:
        yield from _loss("sensitivity", compared.sensitivity_difference, config.sensitivity_margin, compared.ill)
    flips = f"{_flips(compared)} ({_percent(compared.flips_share.value)}, budget {_percent(config.flips_share)})"
    if compared.flips_share.low > config.flips_share:
        yield Verdict.FAIL, flips
    elif compared.flips_share.value > config.flips_share:
        yield Verdict.INCONCLUSIVE, f"{flips}, which may be chance"
    shift, budget = compared.mean_abs_dp, f"{config.probability_shift:g}"
    if shift.low > config.probability_shift:
        yield Verdict.FAIL, f"the probability shifts by {shift.value:.3g} on average (budget {budget})"
    elif shift.value > config.probability_shift:
        yield (
            Verdict.INCONCLUSIVE,
            f"the mean probability shift {shift.value:.3g} may be within its budget {budget} or not",
        )
    if config.calibration_loss is not None and (grown := compared.ece_difference):
        words = f"the calibration error grows by {grown.value:.3g} (budget {config.calibration_loss:g})"
        if grown.low > config.calibration_loss:
            yield Verdict.FAIL, words
        elif grown.value > config.calibration_loss:
            yield Verdict.INCONCLUSIVE, f"{words}, which may be chance"


def _loss(name: str, difference: Difference, margin: float, images: int) -> Iterator[_Complaint]:
    if difference.high < -margin:
        yield (
            Verdict.FAIL,
            f"{name} falls by {_points(-difference.value)} points, at least {_points(-difference.high)} "
            f"(margin {_points(margin)})",
        )
    elif difference.low <= -margin:
        yield (
            Verdict.INCONCLUSIVE,
            f"a loss of {_points(-difference.low)} points of {name} cannot be ruled out on {images} images "
            f"(margin {_points(margin)})",
        )


def _of_engine(config: CompareConfig, speed: Speed | None, engine_bytes: int | None) -> Iterator[_Complaint]:
    if config.latency_ms is not None and speed:
        slowest = speed.p50_ms if speed.p99_ms is None else speed.p99_ms
        name = "the median" if speed.p99_ms is None else "99 %"
        if slowest > config.latency_ms:
            yield Verdict.FAIL, f"{name} of the single queries took {slowest:.3g} ms (budget {config.latency_ms:g})"
        elif speed.p99_ms is None:
            yield (
                Verdict.INCONCLUSIVE,
                f"{speed.latency_count or 0} queries do not carry the 99th percentile that latency is judged by "
                f"(budget {config.latency_ms:g} ms)",
            )
    if config.engine_mb is not None and engine_bytes is not None and engine_bytes > config.engine_mb * 1e6:
        yield Verdict.FAIL, f"the engine weighs {engine_bytes / 1e6:.2f} MB (budget {config.engine_mb:g})"


def _flips(compared: Paired) -> str:
    return f"{compared.flips} of {compared.images} decisions changed"


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
