"""A run's own account: ``runs/<id>/run.json`` with everything it did, and its report beside it."""

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from cxr_core.errors import CxrError, UsageError
from cxr_core.refs import Record
from cxr_core.report.cells import first_line
from cxr_core.store import Store
from cxr_core.store.why import parameter
from flows.inputs import Inputs
from tasks.place import current_store

if TYPE_CHECKING:  # it brings Prefect, which looking into the store does without
    from flows.ledger import Ledger

_BRANCH = ("precision", "backend")


@dataclass(frozen=True)
class Outcome:
    """What a run came to: its report's record, what stopped it, and the verdicts that are demanded and missing."""

    report: Record | None = None
    problem: CxrError | None = None
    failures: list[dict[str, Any]] = field(default_factory=list)
    missing_verdicts: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all well, 1 a crash, a refusal or a missing verdict, else what the problem itself says."""
        if self.problem is not None:
            return self.problem.exit_code
        return 1 if self.failures or self.missing_verdicts else 0

    @property
    def message(self) -> str:
        """For the flow run's state: what failed, each with the first line of why."""
        if self.problem is not None and not self.failures:
            return f"{type(self.problem).__name__}: {self.problem}"
        if self.failures:
            return "failed: " + "; ".join(
                dict.fromkeys(f"{_place(failure)}: {first_line(failure['message'])}" for failure in self.failures)
            )
        if self.missing_verdicts:
            return f"required but not passed: {', '.join(self.missing_verdicts)}"
        return "every branch was judged"


@dataclass
class Run:
    """An account in the making; records from before ``since`` (seconds since 1970) are those of other runs."""

    run_id: str
    name: str
    inputs: Inputs
    parameters: Mapping[str, Any]
    started: str
    fingerprint: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    looks_at_test: int = 0
    earlier: dict[str, Any] = field(default_factory=dict)
    retried: bool = False
    since: float = 0.0

    def account(self, state: str) -> dict[str, Any]:
        """What is known from the start."""
        profile = self.inputs.profile
        return {
            "schema_version": 1,
            "run_id": self.run_id,
            "name": self.name,
            "state": state,
            "started": self.started,
            "profile": profile.name,
            "parameters": {**_plain(self.parameters), "data": self.inputs.data, **self.inputs.brought},
            "settings": profile.model_dump(mode="json"),
            "store": str(self.inputs.store),
            "data": {
                "source": None,
                "counts": {},
                "digest": None,
                **self.data,
                "folder": str(self.inputs.folder),
                "how": self.inputs.how,
                "fingerprint": self.fingerprint,
            },
            "branches": [{"precision": p, "backend": b} for b in profile.backends for p in profile.precisions],
            "finished": None,
            "message": state,
            "exit_code": None,
            "stages": [],
            "failures": [],
            "missing_verdicts": [],
            "rows": [],
            "recommended": None,
            "warnings": [],
            "looks_at_test": self.looks_at_test,
            "report": None,
        }

    def interrupted(self, why: str) -> None:
        """Close the account of a run that a person or the system stopped; its finished stages are in the store."""
        account = {**self.account("interrupted"), "message": why, "finished": _now(), "records": self.earlier}
        current_store().write_run(self.run_id, account)

    def finish(self, ledger: "Ledger", outcome: Outcome, **more: JsonValue) -> dict[str, Any]:
        """Write the account, with ``more`` in it, and put the report where a person can open it."""
        folder = current_store().run_folder(self.run_id)
        content = _materialise(outcome.report, folder) if outcome.report else {}
        account = {
            **self.account("failed" if outcome.exit_code else "completed"),
            "finished": _now(),
            "message": outcome.message,
            "exit_code": outcome.exit_code,
            "stages": ledger.stages(),
            "failures": outcome.failures,
            "missing_verdicts": outcome.missing_verdicts,
            "rows": content.get("rows", []),
            "recommended": content.get("recommended"),
            "warnings": content.get("warnings", []),
            "looks_at_test": self.looks_at_test,
            "report": str(folder / "report.html") if content else None,
            "records": {**self.earlier, **ledger.records()},
            **more,
        }
        current_store().write_run(self.run_id, account)
        return account


def begin(
    run_id: str,
    name: str,
    inputs: Inputs,
    parameters: Mapping[str, Any],
    started: str | None = None,
    age: float | None = None,
) -> Run:
    """Open the account; it is on disk before the first stage, so that an interrupted run is seen as such.

    ``started`` and ``age`` (seconds) are those of a run on another machine, whose clock may differ from this one's.
    """
    run = Run(run_id, name, inputs, parameters, started or _now())
    with suppress(UsageError):  # a retry goes on with the account of the run that it retries
        before = current_store().read_run(run_id)
        run.started, run.earlier = before["started"], before.get("records", {})
        run.retried = before["state"] in {"completed", "failed"}
    run.since = datetime.fromisoformat(run.started).timestamp() if age is None else time.time() - age
    current_store().write_run(run_id, {**run.account("running"), "records": run.earlier})
    return run


def read_summary(run_id: str = "latest") -> dict[str, Any]:
    """A run's account without the whole records.

    Raises:
        UsageError: no such run.
    """
    account = current_store().read_run(run_id)
    return {name: value for name, value in account.items() if name != "records"}


def records_of(run_id: str = "latest", store: Store | None = None) -> list[Record]:
    """Every record of a run, from its own account: also those that a later refresh has replaced."""
    account = (store or current_store()).read_run(run_id)
    return [Record.model_validate(content) for content in account.get("records", {}).values()]


def lost_of(records: Iterable[Record]) -> list[dict[str, Any]]:
    """What these records name and the store has no more, each with the stage and branch that left it."""
    return [
        {
            "output": name, "stage": record.stage, "digest": ref.digest,
            "branch": "@".join(str(part) for part in (parameter(record.parts, word) for word in _BRANCH) if part),
        }
        for record in records
        for name, ref in record.outputs.items()
        if not current_store().has(ref)
    ]  # fmt: skip


def newest_with(stage: str, run_id: str = "latest") -> tuple[str, list[Record]]:
    """The id and the records of a run that has that stage; for ``latest`` the newest run that has it.

    Raises:
        UsageError: no such run, or none that has the stage.
    """
    wanted = [run_id] if run_id != "latest" else [run.run_id for run in current_store().runs()]
    for candidate in wanted:
        records = records_of(candidate)
        if any(record.stage == stage for record in records):
            return candidate, records
    where = f"run {run_id}" if run_id != "latest" else f"no run in the store at {current_store().root}"
    raise UsageError(f"{where} has come as far as the stage {stage}; start one: cxr run")


def before(run: Run) -> dict[str, Any] | None:
    """The newest finished run of the very same settings on the same data before this one, whatever came of it."""
    return next((account for account in _earlier(run, {"completed", "failed"}) if _same_settings(run, account)), None)


def last_green(run: Run) -> dict[str, Any] | None:
    """The newest run of the same profile, branches and data before this one in which every branch was judged.

    One of the very same settings is preferred: trials with others are not what a nightly is compared with.
    """
    found = list(_earlier(run, {"completed"}))
    return next((account for account in found if _same_settings(run, account)), next(iter(found), None))


def _earlier(run: Run, states: set[str]) -> Iterator[dict[str, Any]]:
    mine = run.account("running")
    for other in current_store().runs():
        account = other.content
        if (
            other.run_id != run.run_id
            and other.started < datetime.fromisoformat(run.started)
            and account.get("state") in states
            and account.get("rows")
            and account.get("profile") == mine["profile"]
            and account.get("branches") == mine["branches"]
            and _same_data(account["data"], mine["data"])
        ):
            yield account


def _same_data(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """The same folder, whatever is in it by now; or the same content, wherever it lies by now."""
    digests = [data["fingerprint"].get("digest") for data in (one, other)]
    return bool(one["folder"] == other["folder"] or (digests[0] and digests[0] == digests[1]))


def _same_settings(run: Run, account: Mapping[str, Any]) -> bool:
    return bool(account.get("settings") == run.inputs.profile.model_dump(mode="json"))


def expired(days: float) -> list[str]:
    """Runs older than that, but never the newest of all, nor of any profile the newest and the newest green one."""
    runs = current_store().runs()
    kept = {run.run_id for run in runs[:1]}
    for wanted in ({"completed"}, {"completed", "failed", "interrupted", "running"}):
        seen: set[str] = set()
        for run in runs:
            profile = str(run.content.get("profile"))
            if run.content.get("state") in wanted and profile not in seen:
                seen.add(profile)
                kept.add(run.run_id)
    oldest = datetime.now(UTC) - timedelta(days=days)
    return [run.run_id for run in runs if run.started < oldest and run.run_id not in kept]


def looks_at_test(test_digest: str, weights_digest: str) -> int:
    """Distinct checkpoints ever evaluated on this test split in this store, this one included."""
    seen = {weights_digest}
    for record in current_store().records():
        scored = record.parts["parameters"]
        if record.stage == "accuracy" and isinstance(scored, dict) and scored["test"] == test_digest:
            seen.add(str(scored["weights"]))
    return len(seen)


def _materialise(record: Record, folder: Path) -> dict[str, Any]:
    store = current_store()
    folder.mkdir(parents=True, exist_ok=True)
    for name, ref in record.outputs.items():
        if ref.form == "blob" and name != "log":
            temporary = folder / f".{name}.new"
            shutil.copyfile(store.path(ref), temporary)
            temporary.replace(folder / name)
    content: dict[str, Any] = json.loads(store.read_bytes(record.output("report.json")))
    return content


def _place(failure: Mapping[str, Any]) -> str:
    branch = "@".join(str(failure[name]) for name in ("precision", "backend") if failure.get(name))
    return f"{failure['stage']} {branch}".strip()


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(parameters), default=str))  # type: ignore[no-any-return]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
