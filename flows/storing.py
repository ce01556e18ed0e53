"""``cxr store``: looking into the store."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue
from rich.table import Table

from cxr_core.errors import UsageError
from cxr_core.refs import Precision, Record, Ref
from flows.answering import answer
from flows.runs import expired, lost_of, records_of
from flows.showing import output, print_lost, progress_bars, say
from tasks.place import current_store

if TYPE_CHECKING:
    from tasks.progress import Reporter


def ls(stage: str | None, as_json: bool) -> None:
    """Every record, newest first."""
    rows = [row for row in current_store().ls() if stage in (None, row.stage)]
    if as_json:
        answer([_plain(row) for row in rows])
        return
    table = Table("stage", "branch", "key", "outputs", "bytes", "seconds", "written", "")
    for row in rows:
        branch = "@".join(str(part) for part in (row.precision, row.backend) if part)
        names = ", ".join(ref.name for ref in row.outputs)
        table.add_row(
            row.stage,
            branch,
            row.key[:12],
            names,
            f"{row.bytes:,}",
            f"{row.seconds:.1f}",
            row.written,
            "" if row.whole else "outputs missing",
        )
    output.print(table)


def show(name: str, as_json: bool) -> None:
    """A record by key, or whatever records say of an artifact's digest."""
    found = named(name)
    document = found.model_dump(mode="json")
    if as_json:
        answer(document)
        return
    output.print_json(data=document)
    if isinstance(found, Record):
        print_lost(lost_of([found]))
    elif not current_store().has(found):
        print_lost([lost for lost in lost_of(_all_records()) if lost["digest"] == found.digest][:1])


def why(stage: str, precision: Precision | None, backend: str | None, as_json: bool) -> None:
    """What changed against the nearest earlier record of that stage."""
    differences = current_store().why(stage, precision=precision, backend=backend)
    if as_json:
        answer([_plain(difference) for difference in differences])
        return
    if not differences:
        say(f"{stage}: its newest record is the first of its kind, nothing earlier to compare with")
    for difference in differences:
        output.print(str(difference), markup=False, highlight=False, soft_wrap=True)


def verify(as_json: bool) -> int:
    """Hash everything; 1 if new damage was found."""
    with progress_bars(), _reporter("verify") as reporter:
        report = current_store().verify(reporter.progress)
    if as_json:
        answer(_plain(report))
        return report.exit_code
    for damage in report.new_damage:
        output.print(f"[red]damaged[/] {damage.what}: {damage.reason}; now in quarantine", soft_wrap=True)
    for damage in report.lost:
        output.print(f"lost (known before) {damage.what}: {damage.reason}", markup=False, soft_wrap=True)
    output.print(
        f"{report.blobs} blobs, {report.bytes:,} bytes, {report.records} records, {report.runs} runs: "
        + ("sound" if report.exit_code == 0 else "damage found; run again to compute anew what was withdrawn"),
        highlight=False,
    )
    return report.exit_code


def gc(dry_run: bool, keep_days: float, keep_runs_days: float, as_json: bool) -> None:
    """Forget old runs, then remove what nothing names. A dry run tells what would go if no run were forgotten."""
    forgotten = expired(keep_runs_days)
    if not dry_run:
        for run_id in forgotten:
            current_store().drop_run(run_id)
    report = current_store().gc(dry_run=dry_run, keep_days=keep_days)
    if as_json:
        answer({**_fields(report), "forgotten_runs": list(forgotten)})
        return
    verb = "would remove" if dry_run else "removed"
    output.print(
        f"{'would forget' if dry_run else 'forgot'} {len(forgotten)} runs older than {keep_runs_days:g} days",
        highlight=False,
    )
    output.print(
        f"{verb} {len(report.removed_blobs)} blobs ({report.removed_bytes:,} bytes), "
        f"{len(report.removed_records)} records, {len(report.removed_leftovers)} leftovers",
        highlight=False,
    )
    for reason, count in report.kept.items():
        output.print(f"kept {count} blobs: {reason}", markup=False, highlight=False)


def path(digest: str, as_json: bool) -> None:
    """The file of an artifact."""
    found = named(digest)
    if isinstance(found, Record):
        raise UsageError(
            f"{digest} is a record's key; name one of its outputs: "
            + ", ".join(f"{ref.name} {ref.digest[:19]}" for ref in found.outputs.values())
        )
    file = current_store().path(found)
    answer({"path": str(file), "digest": found.digest}) if as_json else output.print(str(file), soft_wrap=True)


def named(name: str) -> Record | Ref:
    """A record by the start of its key, else an artifact by the start of its digest.

    Raises:
        UsageError: nothing or several things have that name.
    """
    wanted = name.removeprefix("sha256:")
    records = list(current_store().records())
    if not any(_answers_to(record, wanted) for record in records):
        records = _all_records()
    by_key = {record.key: record for record in records if record.key.startswith(wanted)}
    by_digest = {
        ref.digest: ref
        for record in records
        for ref in record.outputs.values()
        if ref.digest.removeprefix("sha256:").startswith(wanted)
    }
    found: list[Record | Ref] = [*by_key.values(), *by_digest.values()]
    if len(wanted) < 4 or len(found) != 1:
        raise UsageError(
            f"{name!r} names {len(found)} records and artifacts in {current_store().root}; "
            "give at least 4 and enough digits of a key or digest (cxr store ls shows them)"
        )
    return found[0]


def _all_records() -> list[Record]:
    """Those that runs embed: also what was replaced or withdrawn since."""
    return [record for run in current_store().runs() for record in records_of(run.run_id)]


def _answers_to(record: Record, wanted: str) -> bool:
    digests = (ref.digest.removeprefix("sha256:") for ref in record.outputs.values())
    return any(name.startswith(wanted) for name in (record.key, *digests))


def _fields(value: Any) -> dict[str, JsonValue]:
    return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


def _plain(value: Any) -> JsonValue:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, Ref):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return str(value) if isinstance(value, Path) else value


def _reporter(label: str) -> "Reporter":
    from tasks.progress import Reporter  # brings Prefect

    return Reporter(label)
