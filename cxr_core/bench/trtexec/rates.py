"""Rules about what was timed: rates, engines, and how many queries stand behind a percentile."""

from collections.abc import Iterator

from cxr_core.bench.percentiles import least_count
from cxr_core.bench.trtexec.cards import Card
from cxr_core.bench.trtexec.case import Case, Finding, NotApplied
from cxr_core.bench.trtexec.measured import EXACT, Measured
from cxr_core.engines.capability import lacking
from cxr_core.refs import Precision

# An engine's plan holds more than weights; where no FP32 engine of the same model tells how much more, so many bytes.
_PLAN = 4_000_000
# Bytes a parameter that only FP32 weights come to.
_LOWERED = 3.0

# Figures of a log that were rounded by hand differ by less.
_APART = 1.1

# Share of the time whose layers must tell their precision, for a verdict on all of it.
_TOLD = 0.5

_BYTES = {Precision.FP16: 2, Precision.BF16: 2, Precision.INT8: 1, Precision.FP8: 1}


def batch_multiplied(case: Case) -> Iterator[Finding | NotApplied]:
    """Throughput x walltime / queries is the ``--batch`` of the command line: the option was multiplied in."""
    for one in case.measurements:
        log, batch = one.log, one.batch_option
        if not log.command and abs(one.counted_per_query - 1) >= EXACT:
            lacks = f"the command line: its throughput counts {one.counted_per_query:.1f} images a query"
            yield NotApplied(rule="batch-multiplied", precision=one.label, lacks=lacks)
        elif one.multiplied and not one.implicit_batch:
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


def throughput_contradicted(case: Case) -> Iterator[Finding]:
    """The throughput printed is far from queries over the walltime, and no ``--batch`` accounts for it."""
    for one in case.measurements:
        log, counted = one.log, one.counted_per_query
        if not (one.multiplied or 1 / _APART < counted < _APART):
            yield Finding(
                rule="throughput-contradicted",
                precision=one.label,
                severity="error",
                arithmetic=f"{log.throughput:g} qps x {log.walltime:g} s / {one.queries} queries = {counted:.3g} a "
                f"query; {_rate(one.queries / log.walltime)} queries a second were answered",
                says="The throughput is not that of the queries that were timed, and no --batch on the command line "
                "says why. The log is of two runs, was changed, or lost its command line.",
            )


def above_roofline(case: Case) -> Iterator[Finding | NotApplied]:
    """Images a second x operations an image exceed what the card can do at its very best."""
    operations = case.context.gflop_per_image
    for one in case.measurements:
        card, arithmetic = case.card(one), _arithmetic(one)
        peak = card.peak_for(arithmetic) if card else None
        if operations is None or card is None or peak is None:
            lacks = "gflop_per_image" if operations is None else case.without_card()
            if operations is not None and card is not None:
                lacks = f"the peak of {card.name} in {arithmetic.value}"
            yield NotApplied(rule="above-roofline", precision=one.label, lacks=lacks)
            continue
        kind, dense = peak
        tera, sparse = (2 * dense, " with sparsity") if _sparse(one, card, kind) else (dense, "")
        needed = one.images_per_second * operations / 1000
        if needed > tera:
            yield Finding(
                rule="above-roofline",
                precision=one.label,
                severity="error",
                arithmetic=f"{one.images_per_second:,.0f} images/s x {operations:g} GFLOP = {needed:.1f} TFLOP/s; "
                f"{card.name}: {tera:g} TFLOP/s in {kind.value}{sparse}; {needed / tera:.1f} times the limit",
                says=f"No such card can answer more than {tera * 1000 / operations:,.0f} of these images a second. "
                "The figure cannot be a rate of images.",
            )


def _sparse(one: Measured, card: Card, kind: Precision) -> bool:
    """Whether half of the weights may have been left out: ``--sparsity``, on tensor cores of 8.0 and newer, which
    have TF32 too. They are then twice as fast at most (A100 white paper)."""
    asked = one.log.option("sparsity") in ("enable", "force")
    return asked and kind is not Precision.FP32 and not lacking(card.capability, Precision.TF32)


def _arithmetic(one: Measured) -> Precision:
    """The fastest that such an engine may compute in.

    FP32 may be TF32: trtexec leaves it on unless told ``--noTF32`` (NVIDIA/TensorRT, samples/common/sampleOptions.h).
    """
    if one.precision is Precision.FP32 and one.log.option("noTF32") is None:
        return Precision.TF32
    return one.precision or Precision.INT8


def weights_not_lowered(case: Case) -> Iterator[Finding | NotApplied]:
    """The engine's size shows FP32 weights where the precision should have made them smaller."""
    parameters = case.context.parameters
    wide = [one.engine_bytes for one in case.of(Precision.FP32) if one.engine_bytes]
    overhead = max(0, min(wide) - 4 * parameters) if wide and parameters else _PLAN
    for one in case.measurements:
        expected = _BYTES.get(one.precision) if one.precision else None
        if one.precision and expected is None:
            continue
        if expected is None or parameters is None or one.engine_bytes is None:
            needs = {"its precision": expected, "parameters": parameters, "engine_bytes": one.engine_bytes}
            lacks = " and ".join(name for name, value in needs.items() if value is None)
            yield NotApplied(rule="weights-not-lowered", precision=one.label, lacks=lacks)
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


def precision_not_run(case: Case) -> Iterator[Finding | NotApplied]:
    """By the exported layers and their profiled times, most of the time that tells runs in another precision."""
    for one in case.measurements:
        asked = one.precision
        if asked not in _BYTES or asked is None:
            continue
        shares = one.effective.shares if one.effective else {}
        told = {name: share for name, share in shares.items() if name in set(Precision)}
        if sum(told.values()) < _TOLD:
            lacks = "layers and profile (--exportLayerInfo, --exportProfile)"
            if one.effective:
                lacks = f"layers that tell their precision: {sum(told.values()):.0%} of the time do; build with "
                lacks += "--profilingVerbosity=detailed"
            yield NotApplied(rule="precision-not-run", precision=one.label, lacks=lacks)
        elif told.get(asked.value, 0.0) < sum(told.values()) / 2:
            said = ", ".join(f"{share:.0%} {name}" for name, share in shares.items())
            yield Finding(
                rule="precision-not-run",
                precision=one.label,
                severity="warning",
                arithmetic=f"time by layer: {said}",
                says=f"Most of the time does not run in {one.label}: the builder found other layers faster, or was not "
                "allowed to lower them.",
            )


def precision_unsupported(case: Case) -> Iterator[Finding | NotApplied]:
    """The card has no arithmetic of that precision."""
    for one in case.measurements:
        card = case.card(one)
        if one.precision is Precision.FP32:
            continue
        if card is None or one.precision is None:
            lacks = case.without_card() if card is None else "its precision"
            yield NotApplied(rule="precision-unsupported", precision=one.label, lacks=lacks)
        elif reason := lacking(card.capability, one.precision):
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


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
