"""``cxr store``: looking into the store."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue
from rich.table import Table

from cxr_core.errors import UsageError
from cxr_core.refs import Record, Ref
from cxr_core.store import Kept, Store
from flows.answering import answer
from flows.runs import expired, lost_of, records_of
from flows.showing import output, print_lost, progress_bars
from tasks.place import current_store

if TYPE_CHECKING:
    from tasks.progress import Reporter


def ls(stage: str | None, as_json: bool) -> None:
    """Every record, newest first."""
    rows = [row for row in current_store().ls() if stage in (None, row.stage)]
    if as_json:
        answer([plain(row) for row in rows])
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
        print_lost([lost for lost in lost_of(_all_records(current_store())) if lost["digest"] == found.digest][:1])


def verify(as_json: bool) -> int:
    """Hash everything; 1 if new damage was found."""
    with progress_bars(), _reporter("verify") as reporter:
        report = current_store().verify(reporter.progress)
    if as_json:
        answer(plain(report))
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
    """Forget old runs, then remove what nothing names; or say what would go, and why the rest stays."""
    report = current_store().gc(dry_run=dry_run, keep_days=keep_days, forget=expired(keep_runs_days))
    if as_json:
        answer(plain(report))
        return
    output.print(
        f"{'would forget' if dry_run else 'forgot'} {len(report.forgotten_runs)} runs older than {keep_runs_days:g} "
        f"days\n{'would remove' if dry_run else 'removed'} {len(report.removed_blobs)} blobs "
        f"({report.removed_bytes:,} bytes), {len(report.removed_records)} records, "
        f"{len(report.removed_leftovers)} leftovers",
        highlight=False,
    )
    if report.removed:
        goes = _columns(("would go" if dry_run else "went", "output"), ("blobs", "bytes"))
        for row in report.removed:
            goes.add_row(row.stage or "no record or run tells", row.output, f"{row.blobs:,}", f"{row.bytes:,}")
        output.print(goes)
    stays = _columns(("stays because",), ("blobs", "bytes"))
    for reason, kept in report.kept.items():
        stays.add_row(_because(reason, kept, keep_days), f"{kept.blobs:,}", f"{kept.bytes:,}")
    output.print(stays)
    for holder in report.holders:
        output.print(f"a lease is held by {holder}", markup=False, highlight=False, soft_wrap=True)


def du(as_json: bool) -> None:
    """What takes the room: what is named against what is on disk, per stage, run and pin."""
    found = current_store().du()
    if as_json:
        answer(plain(found))
        return
    for kind, other in (("stage", "stage"), ("run", "run or pin"), ("pin", "run or pin")):
        table = _columns((kind,), ("artifacts", "named, bytes", "on disk", f"of no other {other}"))
        shares = [share for share in found.shares if share.kind == kind]
        for share in shares:
            row = (share.artifacts, share.logical, share.disk, share.alone)
            table.add_row(share.name, *(f"{number:,}" for number in row))
        if shares:
            output.print(table)
    times = f", {found.logical / found.disk:.1f} times less" if 0 < found.disk < found.logical else ""
    output.print(
        f"named {found.logical:,} bytes; on disk {found.disk:,} in {found.blobs:,} blobs{times}\n"
        f"of these nobody names {found.unnamed:,} (cxr store gc --dry-run says what would go)\n"
        f"beside the blobs: " + (", ".join(f"{name} {size:,}" for name, size in found.beside.items() if size) or "0"),
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _because(reason: str, kept: Kept, keep_days: float) -> str:
    return {
        "runs": f"named by {_many(kept.by, 'run')}",
        "pins": f"named by {_many(kept.by, 'pin')}",
        "records": f"named by {_many(kept.by, 'record')} younger than {keep_days:g} days",
        "leases": f"held by {_many(kept.by, 'lease')} of living processes",
        "young": "put, hit or pinned within the last day",
        "quarantine": "runs or pins in quarantine seem to name it",
        "foreign": "it is no blob: cxr store verify moves it away",
    }[reason]


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _columns(texts: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(*texts)
    for number in numbers:
        table.add_column(number, justify="right")
    return table


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


def named(name: str, store: Store | None = None) -> Record | Ref:
    """A record by the start of its key, else an artifact by the start of its digest.

    Raises:
        UsageError: nothing or several things have that name.
    """
    store = store or current_store()
    wanted = name.removeprefix("sha256:")
    records = list(store.records())
    if not any(_answers_to(record, wanted) for record in records):  # replaced since, but a run still names it
        records = _all_records(store)
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
            f"{name!r} names {len(found)} records and artifacts in {store.root}; "
            "give at least 4 and enough digits of a key or digest (cxr store ls shows them)"
        )
    return found[0]


def _all_records(store: Store) -> list[Record]:
    """Those that runs embed: also what was replaced or withdrawn since."""
    return [record for run in store.runs() for record in records_of(run.run_id, store)]


def _answers_to(record: Record, wanted: str) -> bool:
    digests = (ref.digest.removeprefix("sha256:") for ref in record.outputs.values())
    return any(name.startswith(wanted) for name in (record.key, *digests))


def _fields(value: Any) -> dict[str, JsonValue]:
    return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


def plain(value: Any) -> JsonValue:
    """A value of the store's, as JSON holds it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, Ref):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    return str(value) if isinstance(value, Path) else value


def _reporter(label: str) -> "Reporter":
    from tasks.progress import Reporter  # brings Prefect

    return Reporter(label)
