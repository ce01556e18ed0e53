"""What a run has done so far: one entry a stage, in the order of submission."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed, Pending
from pydantic import JsonValue

from cxr_core import errors
from cxr_core.errors import CxrError
from cxr_core.refs import Precision, Record
from tasks.stage import StageTask

_PLACE = ("stage", "precision", "backend")


@dataclass(frozen=True)
class Past:
    """The future of a stage that is over: it ran on another machine."""

    state: State[Record]

    def wait(self, timeout: float | None = None) -> None:
        """Nothing is waited for."""

    def result(self) -> Record:
        """Its record. Raises what the stage raised."""
        found: Record = _result(self.state)
        return found


def _result(state: State[Any], **options: bool) -> Any:
    """``State.result``, which by itself gives a coroutine where an event loop is running in this thread."""
    return state.result(_sync=True, **options)  # type: ignore[call-overload]  # Prefect's own switch


@dataclass(frozen=True)
class Entry:
    """One submitted stage."""

    name: str
    precision: Precision | None
    backend: str | None
    future: PrefectFuture[Record] | Past

    @property
    def place(self) -> str:
        """Stage and branch in words: ``engine int8@openvino``."""
        branch = "@".join(str(part) for part in (self.precision, self.backend) if part)
        return f"{self.name} {branch}".strip()

    @property
    def record(self) -> Record | None:
        """What it left, None unless it completed. Waits for it."""
        self.future.wait()
        if not self.future.state.is_completed():
            return None
        return self.future.result()

    @property
    def cached(self) -> bool:
        """Whether Prefect answered from a stored record."""
        return self.future.state.name == "Cached"

    @property
    def failure(self) -> BaseException | None:
        """Why it failed; None if it completed or never ran because something before it failed."""
        self.future.wait()
        if not (self.future.state.is_failed() or self.future.state.is_crashed()):
            return None
        found = _result(self.future.state, raise_on_failure=False)
        return found if isinstance(found, BaseException) else CxrError(str(self.future.state.message))


@dataclass
class Ledger:
    """Submits stages and remembers them."""

    entries: list[Entry] = field(default_factory=list)

    def submit(self, task: StageTask, **parameters: Any) -> Entry:
        """Submit a stage; ``Entry`` values among the parameters become its upstream futures."""
        plain = {name: value.future if isinstance(value, Entry) else value for name, value in parameters.items()}
        entry = Entry(task.name, parameters.get("precision"), parameters.get("backend"), task.submit(**plain))
        self.entries.append(entry)
        return entry

    def do(self, task: StageTask, **parameters: Any) -> Record:
        """Submit a stage and wait for its record.

        Raises:
            CxrError: whatever the stage raised.
        """
        return self.submit(task, **parameters).future.result()

    def adopt(self, account: Mapping[str, Any]) -> list[Entry]:
        """The stages of another machine's account, as if they had been submitted here."""
        kinds = {tuple(failed[name] for name in _PLACE): failed["error"] for failed in account["failures"]}
        adopted = []
        for row in account["stages"]:
            place = (row["name"], row["precision"], row["backend"])
            kind = getattr(errors, kinds.get(place, ""), CxrError)
            if row["key"]:
                state: State[Any] = Completed(
                    name=row["state"], data=Record.model_validate(account["records"][row["key"]])
                )
            elif row["error"]:
                state = Failed(name=row["state"], data=kind(row["error"]), message=row["error"])
            else:  # something before it failed
                state = Pending(name=row["state"])
            precision = Precision(row["precision"]) if row["precision"] else None
            adopted.append(Entry(row["name"], precision, row["backend"], Past(state)))
        self.entries += adopted
        return adopted

    def record_of(self, name: str, precision: Precision) -> Record | None:
        """What that stage left for that precision; None unless it was submitted and completed. Waits for it."""
        return next(
            (entry.record for entry in self.entries if (entry.name, entry.precision) == (name, precision)), None
        )

    def failures(self, *, first_line: bool = False) -> list[dict[str, JsonValue]]:
        """Every stage that failed of itself: stage, precision, backend, message, kind of error.

        With ``first_line`` without the end of the log, which differs from time to time.
        """
        return [
            {
                "stage": e.name,
                "precision": e.precision,
                "backend": e.backend,
                "message": str(e.failure).splitlines()[0] if first_line else str(e.failure),
                "error": type(e.failure).__name__,
            }
            for e in self.entries
            if e.failure is not None
        ]

    def stages(self) -> list[dict[str, JsonValue]]:
        """One row a stage for ``run.json``; waits for all."""
        return [_row(entry) for entry in self.entries]

    def records(self) -> Mapping[str, JsonValue]:
        """Every record of this run by key, whole, so that a later overwrite loses none of it."""
        return {record.key: record.model_dump(mode="json") for record in self.finished()}

    def finished(self) -> list[Record]:
        """Every record of this run so far; waits for all that was submitted."""
        return [record for entry in self.entries if (record := entry.record)]


def _row(entry: Entry) -> dict[str, JsonValue]:
    record = entry.record
    return {
        "name": entry.name,
        "precision": entry.precision,
        "backend": entry.backend,
        "state": entry.future.state.name,
        "cached": entry.cached,
        "key": record.key if record else None,
        "seconds": record.seconds if record and not entry.cached else 0.0,
        "error": str(entry.failure) if entry.failure else None,
    }
