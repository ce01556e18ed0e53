"""Why stages were computed or taken from the store (``cxr store why``), and what keeps a thing (``gc --explain``)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from cxr_core.errors import UsageError
from cxr_core.refs import Precision, Record
from cxr_core.store import Difference, Run
from cxr_core.store.why import belongs, explanation, fields
from flows.answering import answer
from flows.naming import resolve
from flows.showing import output, say
from flows.storing import plain
from tasks.place import current_store


@dataclass(frozen=True)
class Told:
    """One stage of a run: ``what`` became of it, why in words, and against ``nearest`` field by field."""

    stage: str
    branch: str
    what: str
    why: str
    key: str | None
    nearest: str | None = None
    differences: tuple[Difference, ...] = ()


def why(stage: str | None, precision: Precision | None, backend: str | None, run_id: str | None, as_json: bool) -> None:
    """What changed against the nearest earlier record of that stage; or each stage of a run.

    Raises:
        UsageError: no such run, or it has no such stage; or no record of that stage.
    """
    if stage and run_id is None:
        _of_stage(stage, precision, backend, as_json)
        return
    account = current_store().read_run(run_id or "latest")
    asked = {str(part) for part in (precision, backend) if part}
    told = [one for one in stages_of(account) if stage in (None, one.stage) and asked <= set(one.branch.split("@"))]
    if not told:
        known = ", ".join(dict.fromkeys(f"{row['name']} {_branch(row)}".strip() for row in account["stages"])) or "none"
        raise UsageError(f"run {account['run_id']} has no such stage; it has: {known}")
    if as_json:
        answer({"run": account["run_id"], "stages": [plain(one) for one in told]})
        return
    table = Table("stage", "branch", "", "why")
    for one in told:
        lines = [one.why, *map(str, one.differences)]
        table.add_row(one.stage, one.branch, one.what, Text("\n".join(lines), overflow="fold"))
    output.print(table)


def keepers(name: str, run_id: str, as_json: bool) -> None:
    """What keeps a thing, or a part of it, from gc.

    Raises:
        UsageError: nothing or several things have that name.
    """
    refs = resolve(name, run_id).refs
    found = list(dict.fromkeys(keeper for ref in refs for keeper in current_store().kept_by(ref)))
    if as_json:
        answer({"refs": [plain(ref) for ref in refs], "kept_by": found})
        return
    for keeper in found or ["nothing keeps it: it goes once it is a day old"]:
        output.print(keeper, markup=False, highlight=False, soft_wrap=True)


def stages_of(account: Mapping[str, Any]) -> Iterator[Told]:
    """Each stage of a run's account: hit or computed, and why, from what runs and records were there before it."""
    earlier = [run for run in current_store().runs() if run.started < _started(account)]
    known = _known(earlier, _started(account))
    for row in account["stages"]:
        yield _told(row, account, earlier, known)


def _told(row: Mapping[str, Any], account: Mapping[str, Any], earlier: Sequence[Run], known: Sequence[Record]) -> Told:
    name, branch, key = row["name"], _branch(row), row["key"]
    if key is None:
        why = str(row["error"]).splitlines()[0] if row["error"] else "a stage before it failed"
        return Told(name, branch, "failed" if row["error"] else "never ran", why, None)
    record = Record.model_validate(account["records"][key])
    if row["cached"]:
        return Told(name, branch, "hit", _hit(record, earlier), key, nearest=key)
    if any(other.key == key for other in known):
        return Told(name, branch, "computed", _again(branch, account), key, nearest=key)
    found = explanation(
        record.parts, [other for other in known if belongs(other, name, row["precision"], row["backend"])]
    )
    if found.nearest is None:
        return Told(name, branch, "computed", "the first of its kind", key)
    why = (
        f"differs from {found.nearest.key[:12]} in {len(found.differences)} of {fields(record.parts)} fields of its key"
    )
    return Told(name, branch, "computed", why, key, found.nearest.key, found.differences)


def _hit(record: Record, earlier: Sequence[Run]) -> str:
    same = f"all {fields(record.parts)} fields of its key are as they were"
    for run in earlier:
        if any(row.get("key") == record.key and not row.get("cached") for row in run.content.get("stages", [])):
            return f"{same} when run {run.run_id} computed it"
    return f"{same} when it was computed"


def _again(branch: str, account: Mapping[str, Any]) -> str:
    asked = account["parameters"]
    if asked.get("rebuild") == "engines" and "@" in branch:
        return "computed before with the same key; asked for anew: rebuild engines"
    if branch in (asked.get("refresh") or ()):
        return f"computed before with the same key; asked for anew: refresh {branch}"
    return (
        "computed before with the same key, but its record was gone: collected, or withdrawn because an output was lost"
    )


def _known(earlier: Sequence[Run], started: datetime) -> list[Record]:
    """Every record that there was before then, by runs and in the store, each key once, the newest first."""
    found: dict[str, Record] = {}
    for run in earlier:
        for content in run.content.get("records", {}).values():
            record = Record.model_validate(content)
            found.setdefault(record.key, record)
    for stored in current_store().records_newest_first():
        if stored.written_ns < started.timestamp() * 1e9:
            found.setdefault(stored.record.key, stored.record)
    return list(found.values())


def _of_stage(stage: str, precision: Precision | None, backend: str | None, as_json: bool) -> None:
    differences = current_store().why(stage, precision=precision, backend=backend)
    if as_json:
        answer([plain(difference) for difference in differences])
        return
    if not differences:
        say(f"{stage}: its newest record is the first of its kind, nothing earlier to compare with")
    for difference in differences:
        output.print(str(difference), markup=False, highlight=False, soft_wrap=True)


def _branch(row: Mapping[str, Any]) -> str:
    return "@".join(str(row[part]) for part in ("precision", "backend") if row.get(part))


def _started(account: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(account["started"])
