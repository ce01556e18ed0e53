"""A decision table from logs alone: what they show, and where they show nothing, why."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cxr_core.bench.trtexec.accuracy import Printed, read_accuracies
from cxr_core.bench.trtexec.case import Case, Finding, NotApplied
from cxr_core.bench.trtexec.context import Context, KnownLog, read_context
from cxr_core.bench.trtexec.exports import read_layers, read_profile, read_times
from cxr_core.bench.trtexec.findings import findings
from cxr_core.bench.trtexec.logs import read_log
from cxr_core.bench.trtexec.measured import Measured, measured, median_latency
from cxr_core.engines.effective import effective_from_layers
from cxr_core.engines.tensorrt.inspector import timed_layers
from cxr_core.errors import UsageError
from cxr_core.evaluation.intervals import wilson
from cxr_core.refs import Frozen, Precision

# With one of these the printed throughput is no rate of images.
_NO_RATE = ("batch-multiplied", "throughput-contradicted", "above-roofline")


class ImportedRow(Frozen):
    """One log. ``images_per_second`` and ``accuracy`` are None where they cannot be trusted; ``reason`` says why."""

    precision: str
    log: str
    device: str | None
    queries: int
    queries_per_second: float
    images_per_second: float | None
    median_ms: float
    variation: float | None
    engine_bytes: int | None
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    images: int | None
    reason: str


class Imported(Frozen):
    """``fastest`` is the precision of the highest trusted rate, None where fewer than two rows have one.

    ``not_applied`` are rules that lacked something: that they found nothing says nothing.
    """

    model: str | None
    device: str | None
    rows: tuple[ImportedRow, ...]
    fastest: str | None
    findings: tuple[Finding, ...]
    not_applied: tuple[NotApplied, ...]


def import_logs(logs: Sequence[Path], context_file: Path | None) -> Imported:
    """The table and the findings of log files, with what a context file knows of them.

    Without logs, those of the context are taken. A log that the context does not name is of the precision that its
    options or file names say. What the context names as something else is no log: ``*`` may take it in.

    Raises:
        UsageError: nothing to read, or a file that is not what it should be; the message names it.
    """
    context = read_context(context_file) if context_file else Context()
    folder = context_file.parent if context_file else Path()
    listed = [_whole(folder / one.log) for one in context.logs]
    others = {_whole(folder / name) for name in context.other_files} | {context_file and _whole(context_file)}
    chosen = [path for path in map(_whole, logs) if path not in others] if logs else listed
    if not chosen:
        raise UsageError("nothing to import: name log files of trtexec, or a context that lists some with --context")
    for paths in (listed, chosen):
        if twice := sorted({str(path) for path in paths if paths.count(path) > 1}):
            raise UsageError(f"{twice[0]} is named twice; name each log once")
    known = dict(zip(listed, context.logs, strict=True))
    accuracies = read_accuracies(folder / context.accuracy_log) if context.accuracy_log else {}
    measurements = [_measured(path, known.get(path), folder) for path in chosen]
    case = Case(measurements, context, accuracies)
    found, not_applied = findings(case)
    rows = tuple(_row(one, case, found) for one in measurements)
    device = context.device if isinstance(context.device, str) or context.device is None else context.device.name
    return Imported(
        model=context.model,
        device=device,
        rows=rows,
        fastest=_fastest(rows),
        findings=tuple(found),
        not_applied=tuple(not_applied),
    )


def _whole(path: Path) -> Path:
    # Path.resolve raises for links in a circle; those are refused by name where they are read.
    return Path(os.path.realpath(path))


def _measured(path: Path, known: KnownLog | None, folder: Path) -> Measured:
    times = read_times(folder / known.times) if known and known.times else ()
    one = measured(read_log(path), path.name, known, times)
    if not (known and known.layers and known.profile):
        return one
    layers, profile = read_layers(folder / known.layers), read_profile(folder / known.profile)
    timed = timed_layers(layers["Layers"], {layer.name: layer.timeMs for layer in profile.layers})
    return one.model_copy(update={"effective": effective_from_layers(timed)})


def _row(one: Measured, case: Case, found: Sequence[Finding]) -> ImportedRow:
    against = [finding for finding in found if finding.precision == one.label and finding.severity == "error"]
    no_rate = any(finding.rule in _NO_RATE for finding in against)
    right, images, interval = _accuracy(one.precision, case.accuracies, case.context, against)
    card = case.card(one)
    return ImportedRow(
        precision=one.label,
        log=one.name,
        device=card.name if card else None,
        queries=one.queries,
        queries_per_second=one.queries / one.log.walltime,
        images_per_second=None if no_rate else one.images_per_second,
        median_ms=median_latency(one),
        variation=one.variation,
        engine_bytes=one.engine_bytes,
        accuracy=None if right is None or not images else right / images,
        accuracy_interval=interval,
        images=images,
        reason="; ".join(dict.fromkeys(finding.rule for finding in against)),
    )


def _accuracy(
    precision: Precision | None, accuracies: Mapping[Precision, Printed], context: Context, against: Sequence[Finding]
) -> tuple[int | None, int | None, tuple[float, float] | None]:
    printed = accuracies.get(precision) if precision else None
    total = context.dataset.get(context.evaluated)
    if printed is None or total is None or any(finding.rule == "wrong-sample-size" for finding in against):
        return None, None, None
    right = printed.right_of(total)
    return (None, None, None) if right is None else (right, total, wilson(right, total))


def _fastest(rows: Sequence[ImportedRow]) -> str | None:
    trusted = [row for row in rows if row.images_per_second is not None and not row.reason]
    if len(trusted) < 2:
        return None
    return max(trusted, key=lambda row: row.images_per_second or 0.0).precision
