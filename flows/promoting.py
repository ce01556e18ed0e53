"""``cxr promote``: one branch of a run becomes a release, one tree that a pin keeps."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_core import __version__
from cxr_core.errors import MissingArtifact, RefusedError, UsageError
from cxr_core.evaluation.recommend import recommended_by_backend
from cxr_core.evaluation.rows import Row
from cxr_core.lineage import Account, accounts, document, lineage
from cxr_core.refs import Precision, Record, Ref
from cxr_core.release.contents import Promotion, files
from cxr_core.report.report import CARD, PAGE, PAGE_WITHOUT_PICTURES
from cxr_core.store.trees import Entry
from flows.answering import answer
from flows.pinning import hold
from flows.settings import PROJECT
from flows.showing import output
from tasks.place import current_store

PREFIX = "releases/"


def promote(
    run_id: str, precision: Precision | None, backend: str | None, name: str, force: bool, as_json: bool
) -> None:
    """Make the tree, pin it, say so. Without a precision it is the one that the report recommends.

    Raises:
        UsageError: no such run or branch, or the name is taken by something else.
        RefusedError: its verdict is not ``pass``, and it was not forced.
    """
    account = current_store().read_run(run_id)
    row, *others = [_row(account, precision, backend)] if precision else _recommended(account, backend)
    forced = _judged(row, force)
    store = current_store()
    with store.lease(f"promote {name}"):
        what = _promotion(account, row, forced)
        ref = store.put_tree(_entries(what), name)
        new = hold(f"{PREFIX}{name}", [ref])
    told = {
        "release": f"{PREFIX}{name}", "digest": ref.digest, "bytes": ref.size, "branch": what.branch,
        "verdict": row["verdict"], "forced": forced, "run": account["run_id"], "new": new,
        "of_other_backends": [_branch(one) for one in others],
    }  # fmt: skip
    answer(told) if as_json else _print(told, row)


def _recommended(account: Mapping[str, Any], backend: str | None) -> list[dict[str, Any]]:
    """The rows of the fastest that passed, of this backend alone or of each, the one to take first.

    Engines of two backends took no turns with each other, so between them the profile's order decides (ADR 17).
    """
    rows = [Row.model_validate(row) for row in account.get("rows", [])]
    choices = [one for one in recommended_by_backend(rows) if backend in (None, one.backend)]
    if choices:
        return [_row(account, choice.precision, choice.backend) for choice in choices]
    raise RefusedError(
        f"run {account['run_id']}: nothing passed{f' on {backend}' if backend else ''}, so there is none to promote; "
        f"{_verdicts(account)}. With --precision and --force one is promoted all the same"
    )


def _verdicts(account: Mapping[str, Any]) -> str:
    judged = ", ".join(f"{_branch(row)}: {row['verdict']}" for row in account.get("rows", []))
    return f"it has {judged or 'no decision table'}"


def _row(account: Mapping[str, Any], precision: Precision, backend: str | None) -> dict[str, Any]:
    run_id, rows = account["run_id"], [row for row in account.get("rows", []) if row["precision"] == precision]
    if backend is None and sum(row["verdict"] == "pass" for row in rows) == 1:
        rows = [row for row in rows if row["verdict"] == "pass"]
    found = [row for row in rows if backend in (None, row["backend"])]
    if len(found) == 1:
        return dict(found[0])
    wanted = f"{precision}@{backend}" if backend else str(precision)
    problem = f"{len(found)} branches are {wanted}, name one with --backend" if found else f"no branch is {wanted}"
    raise UsageError(f"run {run_id}: {problem}; {_verdicts(account)}")


def _branch(row: Mapping[str, Any]) -> str:
    return f"{row['precision']}@{row['backend']}"


def _judged(row: Mapping[str, Any], force: bool) -> bool:
    """Whether it took force.

    Raises:
        RefusedError: it would, and there was none; or no force can help.
    """
    branch = _branch(row)
    if row.get("engine_digest") is None:
        raise RefusedError(
            f"{branch} has no engine: {row.get('verdict') or 'failed'}. {row.get('reason') or ''}".strip()
        )
    if str(row.get("device", "")).startswith("FAKE"):
        raise RefusedError(f"{branch} was made by a test double; it is never promoted")
    if row.get("verdict") == "pass":
        return False
    if not force:
        raise RefusedError(
            f"{branch} is not promoted: its verdict is {row.get('verdict')}. {row.get('reason')} "
            "With --force it is promoted all the same, and the release says so"
        )
    return True


def _promotion(account: Mapping[str, Any], row: Mapping[str, Any], forced: bool) -> Promotion:
    known = [Account(Record.model_validate(content), "", "", "") for content in account["records"].values()]
    engine = _one(known, "engine", lambda record: record.output("engine").digest == row["engine_digest"])
    everyone = accounts(current_store())
    root = next(one for one in everyone if one.record == engine)
    graph = lineage(root, everyone)
    # The report that the row is in: a retried run may have several.
    report = _one(known, "report", lambda record: row in _json(record.output("report.json"))["rows"])
    records = {one.record.stage: one.record for one in graph.accounts()}
    return Promotion(
        account=account,
        row=row,
        records={**records, "engine": engine, "report": report},
        metadata=_json(engine.output("engine.json")),
        lineage=document(graph),
        version=__version__,
        licence=_licence(),
        forced=forced,
    )


def _entries(what: Promotion) -> list[Entry]:
    store = current_store()
    taken = {name: what.records["engine"].output(name) for name in ("engine", "engine.json", "layers.json")}
    report = what.records["report"]
    taken |= {"report.json": report.output("report.json"), "report.html": _page_to_give_away(report)}
    taken |= {name: ref for name, ref in report.outputs.items() if name == CARD}
    taken |= {
        "model.onnx": what.records["export"].output("model.onnx"),
        "variant.onnx": what.records["variant"].output("variant.onnx"),
    }
    for ref in taken.values():
        store.verify_ref(ref)
    refs = {**taken, **{name: store.put_bytes(data, name) for name, data in files(what).items()}}
    return [Entry(digest=ref.digest, name=name, size=ref.size) for name, ref in refs.items()]


def _page_to_give_away(report: Record) -> Ref:
    """The page without radiographs; a report from before there were pictures has but one page."""
    return report.outputs.get(PAGE_WITHOUT_PICTURES) or report.output(PAGE)


def _one(known: list[Account], stage: str, fits: Any) -> Record:
    found = [one.record for one in known if one.record.stage == stage and fits(one.record)]
    if not found:
        raise MissingArtifact(f"the run's account has no record of the {stage} that its decision table speaks of")
    return found[-1]


def _json(ref: Ref) -> Any:
    return json.loads(current_store().read_bytes(ref))


def _licence() -> str:
    file: Path = PROJECT / "LICENSE"
    return file.read_text(encoding="utf-8") if file.exists() else "MIT License; the text is in cxr's distribution.\n"


def _print(told: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    verb = "promoted" if told["new"] else "is there already, the very same:"
    output.print(f"{verb} {told['branch']} as {told['release']}", highlight=False, soft_wrap=True)
    if told["forced"]:
        output.print(f"[bold yellow]by force[/]: {row['verdict']}. {row['reason']}", highlight=False, soft_wrap=True)
    for other in told["of_other_backends"]:
        output.print(
            f"{other} passed too and was not measured in turns with it; which is faster: "
            f"cxr bench --ab {told['branch']} {other}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    output.print(f"{told['digest']}, {told['bytes']:,} bytes, kept by its pin", highlight=False, soft_wrap=True)
    output.print(f"pack it: cxr store export {told['release']}", highlight=False, soft_wrap=True)
