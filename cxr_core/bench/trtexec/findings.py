"""What logs do not show, though they seem to: one rule a function, each with its arithmetic.

A rule looks at all measurements and yields a finding for each precision that it concerns, and for no other. It says
nothing where what it needs is not known.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cxr_core.bench.percentiles import least_count
from cxr_core.bench.trtexec.accuracy import Printed, sample_size
from cxr_core.bench.trtexec.cards import Card, card_of
from cxr_core.bench.trtexec.context import Claim, Context
from cxr_core.bench.trtexec.measured import Measured
from cxr_core.engines.capability import lacking
from cxr_core.refs import Frozen, Precision

# An engine's plan holds more than weights; where no FP32 engine of the same model tells how much more, so many bytes.
_PLAN = 4_000_000
# Bytes a parameter that only FP32 weights come to.
_LOWERED = 3.0
_SIGNIFICANT = 0.05

_BYTES = {Precision.FP16: 2, Precision.BF16: 2, Precision.INT8: 1, Precision.FP8: 1}


class Finding(Frozen):
    """``error``: the figure is not what it says. ``warning``: it does not carry what is read into it."""

    rule: str
    precision: str
    severity: Literal["error", "warning"]
    arithmetic: str
    says: str


@dataclass(frozen=True)
class Case:
    """All that is known: the measurements, the context, and accuracies by precision."""

    measurements: Sequence[Measured]
    context: Context = field(default_factory=Context)
    accuracies: Mapping[Precision, Printed] = field(default_factory=dict)

    def card(self, one: Measured) -> Card | None:
        """The card that a log ran on: the log's own words before the context's."""
        return card_of(one.log.device) if one.log.device is not None else self.context.card

    def of(self, precision: Precision) -> list[Measured]:
        """The measurements of a precision."""
        return [one for one in self.measurements if one.precision is precision]


def findings(case: Case) -> list[Finding]:
    """Everything that the rules find, in the order of the rules."""
    return [found for rule in RULES for found in rule(case)]


def batch_multiplied(case: Case) -> Iterator[Finding]:
    """Throughput x walltime / queries is the ``--batch`` of the command line: the option was multiplied in."""
    for one in case.measurements:
        if one.multiplied:
            log, batch = one.log, one.batch_option
            yield Finding(
                rule="batch-multiplied",
                precision=one.label,
                severity="error",
                arithmetic=f"{log.throughput:g} qps x {log.walltime:g} s / {one.queries} queries = "
                f"{one.counted_per_query:.1f}, which is --batch={batch}; "
                f"{_rate(one.queries / log.walltime)} queries a second were answered",
                says=f"The throughput counts {batch} images a query because the option says so. An engine with an "
                "explicit batch takes what its input is bound to, whatever --batch says.",
            )


def above_roofline(case: Case) -> Iterator[Finding]:
    """Images a second x operations an image exceed what the card can do at its very best."""
    operations = case.context.gflop_per_image
    for one in case.measurements:
        card = case.card(one)
        peak = card.peak_for(one.precision or Precision.INT8) if card else None
        if operations is None or card is None or peak is None:
            continue
        kind, tera = peak
        needed = one.images_per_second * operations / 1000
        if needed > tera:
            yield Finding(
                rule="above-roofline",
                precision=one.label,
                severity="error",
                arithmetic=f"{one.images_per_second:,.0f} images/s x {operations:g} GFLOP = {needed:.1f} TFLOP/s; "
                f"{card.name}: {tera:g} TFLOP/s in {kind.value}; {needed / tera:.1f} times the limit",
                says=f"No such card can answer more than {tera * 1000 / operations:,.0f} of these images a second. "
                "The figure cannot be a rate of images.",
            )


def weights_not_lowered(case: Case) -> Iterator[Finding]:
    """The engine's size shows FP32 weights where the precision should have made them smaller."""
    parameters = case.context.parameters
    if parameters is None:
        return
    wide = [one.engine_bytes for one in case.of(Precision.FP32) if one.engine_bytes]
    overhead = max(0, min(wide) - 4 * parameters) if wide else _PLAN
    for one in case.measurements:
        expected = _BYTES.get(one.precision) if one.precision else None
        if expected is None or one.engine_bytes is None:
            continue
        found = (one.engine_bytes - overhead) / parameters
        if found >= _LOWERED:
            yield Finding(
                rule="weights-not-lowered",
                precision=one.label,
                severity="error",
                arithmetic=f"({one.engine_bytes:,} - {overhead:,} bytes) / {parameters:,} parameters = {found:.2f} "
                f"bytes each; {one.label} takes {expected}, FP32 4",
                says="The engine still holds FP32 weights: the builder did not lower them. What was timed is FP32, "
                "whatever the file is called.",
            )


def precision_unsupported(case: Case) -> Iterator[Finding]:
    """The card has no arithmetic of that precision."""
    for one in case.measurements:
        card = case.card(one)
        reason = lacking(card.capability, one.precision) if card and one.precision else ""
        if card and reason:
            yield Finding(
                rule="precision-unsupported",
                precision=one.label,
                severity="error",
                arithmetic=f"{reason} ({card.name})",
                says=f"This card does not compute in {one.label}. The builder falls back to FP32 without an error.",
            )


def too_few_queries(case: Case) -> Iterator[Finding]:
    """A percentile is printed that so few queries do not carry."""
    for one in case.measurements:
        short = [percent for percent in sorted(one.percentiles()) if one.queries < least_count(percent)]
        if short:
            needed = ", ".join(f"p{percent:g} needs {least_count(percent)}" for percent in short)
            yield Finding(
                rule="too-few-queries",
                precision=one.label,
                severity="warning",
                arithmetic=f"{one.queries} queries; {needed} (the smallest n with P[Binomial(n, 1 - p) <= 1] <= 1 %)",
                says="The percentile printed is one of the slowest queries, not a tail. Measure longer, or drop it.",
            )


def noise_exceeds_difference(case: Case) -> Iterator[Finding]:
    """A gain in throughput is claimed from one run each, and is smaller than the spread of their queries."""
    for claim in _claims(case, "throughput"):
        mine, others = case.of(claim.precision), case.of(claim.over)
        if len(mine) != 1 or len(others) != 1:
            continue  # with several runs each, how they differ from each other is the question
        spreads = [one.variation or 0.0 for one in (mine[0], others[0])]
        noise, percent = math.hypot(*spreads), claim.percent or 0.0
        if percent < noise:
            yield Finding(
                rule="noise-exceeds-difference",
                precision=claim.precision.value,
                severity="warning",
                arithmetic=f"sqrt({spreads[0]:g}^2 + {spreads[1]:g}^2) = {noise:.1f} % > {percent:g} % claimed over "
                f"{claim.over.value}; one run each",
                says="Queries of one run differ by more than the gain, and how much runs differ from each other is "
                "unknown: nothing shows that a second pair of runs would say the same. Alternate both engines in "
                "rounds and give the ratio with its interval.",
            )


def accuracy_within_noise(case: Case) -> Iterator[Finding]:
    """A gain in accuracy is claimed that two independent samples of that size do not show."""
    sized = _sample(case)
    for claim in _claims(case, "accuracy"):
        pair = [case.accuracies.get(kind) for kind in (claim.precision, claim.over)]
        if sized is None or pair[0] is None or pair[1] is None:
            continue
        total = sized[0]
        right = [round(one.value * total) for one in pair if one is not None]
        statistic, chance = two_proportions(right[0], right[1], total)
        if chance >= _SIGNIFICANT:
            yield Finding(
                rule="accuracy-within-noise",
                precision=claim.precision.value,
                severity="warning",
                arithmetic=f"{right[0]} and {right[1]} right of {total}: z = {statistic:.2f}, p = {chance:.3f} (two "
                "proportions, two-sided, unpaired)",
                says=f"{right[0] - right[1]} images more than {claim.over.value} are within chance at this size. The "
                "answers of both engines to the same images would tell more: compare them pairwise.",
            )


def wrong_sample_size(case: Case) -> Iterator[Finding]:
    """An accuracy is no whole number of right answers of the images that it is said to be of."""
    dataset, evaluated = case.context.dataset, case.context.evaluated
    if evaluated not in dataset:
        return
    stated = dataset[evaluated]
    sized = sample_size(case.accuracies.values(), dataset)
    for precision, printed in case.accuracies.items():
        if printed.right_of(stated) is not None:
            continue
        near = round(printed.value * stated)
        fits = (
            f"; {printed.right_of(sized[0])}/{sized[0]} ({sized[1]}) is"
            if sized is not None
            else "; nor is any sum of the splits"
        )
        yield Finding(
            rule="wrong-sample-size",
            precision=precision.value,
            severity="error",
            arithmetic=f"{near}/{stated} = {near / stated:.6f} is not {printed.value:g}{fits}",
            says=f"The accuracy is not of the {stated} images of {evaluated}."
            + (f" It fits {sized[0]} images: {sized[1]}." if sized is not None else ""),
        )


Rule = Callable[[Case], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    batch_multiplied,
    above_roofline,
    weights_not_lowered,
    precision_unsupported,
    too_few_queries,
    noise_exceeds_difference,
    accuracy_within_noise,
    wrong_sample_size,
)


def two_proportions(first: int, second: int, total: int) -> tuple[float, float]:
    """z and two-sided p of the pooled test of two independent proportions, each of ``total``.

    z = (p1 - p2) / sqrt(2 p (1 - p) / n) with p pooled (Fleiss, Levin, Paik, "Statistical Methods for Rates and
    Proportions", 3.2, without continuity correction). Equal counts give 0 and 1.
    """
    from scipy.stats import norm

    pooled = (first + second) / (2 * total)
    error = math.sqrt(2 * pooled * (1 - pooled) / total)
    if first == second or error == 0:
        return 0.0, 1.0
    statistic = (first - second) / total / error
    return statistic, float(2 * norm.sf(abs(statistic)))


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _claims(case: Case, metric: str) -> Iterator[Claim]:
    return (claim for claim in case.context.claims if claim.metric == metric)


def _sample(case: Case) -> tuple[int, str] | None:
    """The images that the accuracies can be of: those they are said to be of, else the fewest of any splits."""
    stated = case.context.dataset.get(case.context.evaluated)
    if stated and all(one.right_of(stated) is not None for one in case.accuracies.values()):
        return stated, case.context.evaluated
    return sample_size(case.accuracies.values(), case.context.dataset)
