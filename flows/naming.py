"""What a REF on the command line may be, and what it names."""

from dataclasses import dataclass
from typing import Any

from cxr_core.errors import MissingArtifact, UsageError
from cxr_core.lineage import Account, accounts, document, lineage
from cxr_core.lineage.accounts import LINEAGE_FILE
from cxr_core.lineage.graph import STAGES
from cxr_core.refs import Record, Ref
from cxr_core.store import Store
from flows.runs import records_of
from flows.storing import named
from tasks.place import current_store


@dataclass(frozen=True)
class Named:
    """What was named: ``refs`` always, ``record`` where it is a record or the output of one, ``pin`` where a pin."""

    refs: tuple[Ref, ...]
    record: Record | None = None
    pin: str | None = None


def resolve(name: str, run_id: str = "latest", store: Store | None = None) -> Named:
    """What a REF names in a store, else in the current one; stages and branches are those of a run.

    Raises:
        UsageError: nothing, or several things, have that name; the message says what is there.
    """
    store = store or current_store()
    pins = store.pins()
    if name in pins:
        return Named(pins[name], pin=name)
    stage, branch = _place(name)
    if stage:
        record = of_run(stage, branch, run_id, store)
        return Named(tuple(record.outputs.values()), record)
    if name.startswith("releases/"):
        raise UsageError(f"no release {name}; pins here: {', '.join(pins) or 'none'}")
    found = named(name, store)
    return Named((found,)) if isinstance(found, Ref) else Named(tuple(found.outputs.values()), found)


def of_run(stage: str, branch: str, run_id: str, store: Store | None = None) -> Record:
    """The record of a stage of a run, and of a branch where one is given: of several, the last.

    Raises:
        UsageError: the run has none.
    """
    here = [Account(record, "run", "", "") for record in records_of(run_id, store) if record.stage == stage]
    fitting = [account.record for account in here if branch in ("", account.branch, account.branch.partition("@")[0])]
    if not fitting:
        known = ", ".join(account.branch for account in here if account.branch) or "none"
        raise UsageError(f"run {run_id} has no {f'{stage} {branch}'.strip()}; branches of that stage there: {known}")
    if not branch and len({account.branch for account in here}) > 1:
        raise UsageError(f"run {run_id} has several: name one, as in '{stage} {here[0].branch}'")
    return fitting[-1]


def account_of(name: str, run_id: str = "latest") -> tuple[Account, list[Account]]:
    """The account of the stage that made what a REF names, and every account that the store has.

    Raises:
        UsageError: no such thing, or nobody tells how it was made.
    """
    found, known = resolve(name, run_id), accounts(current_store())
    maker = _maker(found, known)
    if maker is None:
        raise UsageError(f"{name}: no record, run or release in {current_store().root} tells how it was made")
    return maker, known


def _maker(found: Named, known: list[Account]) -> Account | None:
    """The account of a record; else of the first stage in the DAG that left one of the artifacts."""
    if found.record is not None:
        return next((one for one in known if one.record == found.record), None)
    digests = {_engine_in(ref) for ref in found.refs}
    makers = [one for one in known if digests & {ref.digest for ref in one.record.outputs.values()}]
    order = {stage: place for place, stage in enumerate(STAGES)}
    return min(makers, key=lambda one: order.get(one.record.stage, len(order)), default=None)


def _engine_in(ref: Ref) -> str:
    """The digest itself; for a release, its engine's."""
    if ref.form == "blob":
        return ref.digest
    try:
        names = {entry.name: entry.digest for entry in current_store().entries(ref)}
    except MissingArtifact:
        return ref.digest
    return names.get("engine", ref.digest) if LINEAGE_FILE in names else ref.digest


def _place(name: str) -> tuple[str, str]:
    stage, _, branch = name.partition(" ")
    if stage in STAGES:
        return stage, branch
    return ("engine", name) if "@" in name else ("", "")


def origin(found: Named) -> tuple[dict[str, Any], dict[str, Any]]:
    """Stage and parameters of the stage that made what was named, and its lineage; empty where nobody tells."""
    known = accounts(current_store())
    maker = _maker(found, known)
    if maker is None:
        return {}, {}
    external = {"stage": maker.record.stage, "parameters": maker.record.parts.get("parameters")}
    return external, document(lineage(maker, known))
