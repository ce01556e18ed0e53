"""What a run changed against an earlier one: engines that are others now and why, and verdicts that were lost."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from cxr_core.errors import CxrError
from cxr_core.refs import Record
from cxr_core.store.why import belongs, differences
from flows import runs
from tasks.compare import BranchOutcome
from tasks.place import current_store
from tasks.report import BranchChange

_AS_ASKED = "built anew as asked; nothing that it is made of has changed"


def changes(run: runs.Run, outcomes: Iterable[BranchOutcome], now: Iterable[Record]) -> list[BranchChange]:
    """Every judged branch whose engine is not that of the last green run of the same profile; empty where none was."""
    before = runs.last_green(run)
    if before is None:
        return []
    old = [Record.model_validate(content) for content in before.get("records", {}).values()]
    rows = {(row["precision"], row["backend"]): row for row in before["rows"]}
    threshold = next((r.facts["threshold"] for r in old if r.stage == "export"), None)
    present = list(now)
    found = []
    for outcome in outcomes:
        built, scored = outcome.built, outcome.scored
        row = rows.get((outcome.precision, outcome.backend))
        # The account of a retried run may hold several engines of a branch; its row names the one that counts.
        digest = row["engine_digest"] if row else None
        built_before = next((r for r in old if r.stage == "engine" and r.output("engine").digest == digest), None)
        scored_before = next((r for r in old if r.stage == "accuracy" and digest in _inputs(r)), None)
        if not (built and scored and row and built_before and scored_before and isinstance(threshold, float)):
            continue
        if built.output("engine").digest == row["engine_digest"] or not _readable(scored_before):
            continue
        found.append(
            BranchChange(
                precision=outcome.precision,
                backend=outcome.backend,
                row_before=row,
                threshold_before=threshold,
                scored_before=scored_before,
                built_before=built_before,
                scored=scored,
                built=built,
                why=_why(old, present, outcome),
            )
        )
    return found


def lost_verdicts(summary: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Branches that passed in the run before and do not now: told once, as the next run is compared with this one."""
    passed = {(r["precision"], r["backend"]) for r in (before or {}).get("rows", []) if r["verdict"] == "pass"}
    return [row for row in summary["rows"] if (row["precision"], row["backend"]) in passed and row["verdict"] != "pass"]


def _inputs(record: Record) -> Collection[Any]:
    inputs = record.parts["inputs"]
    return inputs.values() if isinstance(inputs, dict) else ()


def _readable(record: Record) -> bool:
    try:
        current_store().read_bytes(record.output("scores.csv"))
    except CxrError:
        return False
    return True


def _why(old: Sequence[Record], now: Sequence[Record], outcome: BranchOutcome) -> tuple[str, ...]:
    """What changed in the keys of the stages that lead to the engine, apart from what follows from other changes."""
    said: list[str] = []
    for stage in ("ingest", "split", "tensors", "calibration", "train", "export", "variant", "engine"):
        first, second = _nearest(old, stage, outcome), _nearest(now, stage, outcome)
        if first is None or second is None or first.key == second.key:
            continue
        said += [
            f"{stage}: {change}"
            for change in differences(first.parts, second.parts)
            if not change.field.startswith("inputs.")
        ]
    return tuple(said) or (_AS_ASKED,)


def _nearest(records: Sequence[Record], stage: str, outcome: BranchOutcome) -> Record | None:
    precision = outcome.precision if stage in {"variant", "engine"} else None
    backend = outcome.backend if stage == "engine" else None
    return next((record for record in records if belongs(record, stage, precision, backend)), None)
