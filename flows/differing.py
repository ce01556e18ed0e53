"""``cxr store diff``: what differs between two runs, records, trees or files."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from cxr_core.errors import StoreError, UsageError
from cxr_core.refs import Record, Ref
from cxr_core.store.why import Difference, differences
from flows.answering import answer
from flows.naming import Named, resolve
from flows.showing import output
from tasks.place import current_store

_FEW = 20  # differing fields of one JSON file that are worth telling one by one
_WIDE = 60  # letters of a value that are shown
_READ = 1 << 20  # bytes up to which a JSON file is looked into


def diff(one: str, other: str, run_id: str, as_json: bool) -> int:
    """Tell every difference; 1 if there is any, as ``diff`` does.

    Raises:
        UsageError: no such thing, or things of two kinds.
    """
    first, second = _named(one, run_id), _named(other, run_id)
    kinds = [_kind(found) for found in (first, second)]
    if kinds[0] != kinds[1]:
        raise UsageError(f"{one} is {kinds[0]} and {other} is {kinds[1]}: only things of one kind can be compared")
    files = _files(first, second) if kinds[0] == "an artifact" else {}
    fields = list(differences(_plain(first), _plain(second))) + _inside(files)
    same = not fields and not any(files.values())
    if as_json:
        answer({"same": same, "fields": [_field(field) for field in fields], "files": files})
    else:
        _print(one, other, fields, files, same)
    return 0 if same else 1


def _named(name: str, run_id: str) -> Named | dict[str, Any]:
    if name == "latest" or any(run.run_id == name for run in current_store().runs()):
        return current_store().read_run(name)
    return resolve(name, run_id)


def _kind(found: Named | dict[str, Any]) -> str:
    if isinstance(found, dict):
        return "a run"
    return "a record" if found.record else "an artifact"


def _plain(found: Named | dict[str, Any]) -> dict[str, Any]:
    if isinstance(found, dict):
        return _of_run(found)
    return _of_record(found.record) if found.record else {}


def _of_record(record: Record) -> dict[str, Any]:
    outputs = {name: ref.digest for name, ref in record.outputs.items()}
    return {**record.parts, "outputs": outputs, "facts": record.facts, "where": record.environment}


def _of_run(account: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was asked, what it computed and what came of it; when and where it ran is no difference."""
    named = {name: account.get(name) for name in ("profile", "parameters", "settings", "state", "recommended")}
    keys = {_place(stage, "name"): stage["key"] for stage in account.get("stages", [])}
    failed = {_place(failure, "stage"): failure["message"] for failure in account.get("failures", [])}
    rows = {_place(row, ""): row for row in account.get("rows", [])}
    data = {name: account.get("data", {}).get(name) for name in ("source", "digest")}
    return {**named, "data": data, "keys": keys, "failures": failed, "rows": rows}


def _place(found: Mapping[str, Any], stage: str) -> str:
    branch = "@".join(str(found[name]) for name in ("precision", "backend") if found.get(name))
    return f"{found[stage] if stage else ''} {branch}".strip()


def _files(first: Any, second: Any) -> dict[str, list[Any]]:
    one, other = _listed(first.refs), _listed(second.refs)
    changed = [
        {"name": name, "from": one[name], "to": other[name]}
        for name in sorted(one.keys() & other.keys())
        if one[name]["digest"] != other[name]["digest"]
    ]
    return {
        "removed": sorted(one.keys() - other.keys()),
        "added": sorted(other.keys() - one.keys()),
        "changed": changed,
    }


def _listed(refs: Sequence[Ref]) -> dict[str, dict[str, Any]]:
    """Every file by name; that of a tree among others begins with the tree's. A lone file has no name to differ in."""
    found, alone = {}, len(refs) == 1
    for ref in refs:
        for entry in current_store().entries(ref):
            if ref.form == "tree":
                name = entry.name if alone else f"{ref.name}/{entry.name}"
            else:
                name = "file" if alone else ref.name
            found[name] = {"digest": entry.digest, "size": entry.size}
    return found


def _inside(files: Mapping[str, list[Any]]) -> list[Difference]:
    """The fields of small JSON files that changed, where they are few."""
    found: list[Difference] = []
    for change in files.get("changed", []):
        before, after = _content(change["name"], change["from"]), _content(change["name"], change["to"])
        if before is not None and after is not None:
            inner = differences({change["name"]: before}, {change["name"]: after})
            found += inner if len(inner) <= _FEW else ()
    return found


def _content(name: str, file: Mapping[str, Any]) -> dict[str, Any] | None:
    if not name.endswith(".json") or file["size"] > _READ:
        return None
    try:
        content = json.loads(current_store().read_bytes(Ref(form="blob", name="file", **file)))
    except (StoreError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _field(field: Difference) -> dict[str, Any]:
    return {"field": field.field, "from": field.earlier, "to": field.later, "absent": field.absent or None}


def _print(one: str, other: str, fields: list[Difference], files: Mapping[str, list[Any]], same: bool) -> None:
    for mark, tone, names in (("-", "red", files.get("removed", [])), ("+", "green", files.get("added", []))):
        for name in names:
            output.print(f"[{tone}]{mark}[/] {name}", highlight=False)
    for change in files.get("changed", []):
        before, after = change["from"], change["to"]
        output.print(f"[yellow]~[/] {change['name']}  {before['digest'][7:19]} {before['size']:,} bytes -> "
                     f"{after['digest'][7:19]} {after['size']:,} bytes", highlight=False, soft_wrap=True)  # fmt: skip
    if fields:
        table = Table("field", one[:36], other[:36], show_lines=False)
        for field in fields:
            table.add_row(field.field, *(_short(field, side) for side in ("earlier", "later")))
        output.print(table, markup=False)
    if same:
        output.print("no difference")


def _short(field: Difference, side: str) -> str:
    if field.absent == side:
        return "-"
    value = field.earlier if side == "earlier" else field.later
    text = value if isinstance(value, str) else json.dumps(value)
    if re.fullmatch("(sha256:)?[0-9a-f]{64}", text):
        return text.removeprefix("sha256:")[:12]
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"
