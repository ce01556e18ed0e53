"""What every stage task does: name its arguments, key them, run the core in a child, store what it left.

A stage is declared by a function from task parameters (records and configs) to core arguments::

    @stage("split", core="cxr_core.data.split:split", packages=("scikit-learn",))
    def split(ingested: Record, config: SplitConfig) -> Arguments:
        return {"manifest": ingested.output("manifest.csv"), "config": config}

The returned mapping is both what the core function is called with and what the content key is made
of, so that nothing can change a result without changing its key.
"""

import copy
import inspect
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, update_wrapper
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prefect import Task, get_run_logger
from prefect.transactions import IsolationLevel
from pydantic import BaseModel, JsonValue

from cxr_core.child import run_child
from cxr_core.code import code_digests
from cxr_core.errors import CxrError
from cxr_core.refs import Record, Ref
from cxr_core.store import Store
from cxr_core.store.disk import translated
from tasks.caching import ContentKey, RecordStorage, StoreLocks, give_back
from tasks.key import key_of, keyed
from tasks.place import current_store
from tasks.progress import Reporter
from tasks.room import require_room

_LOG_SHOWN = 4000  # characters of a child's log that the UI shows; the whole log is in the store

Arguments = Mapping[str, Any]
StageTask = Task[..., Record]


@dataclass(frozen=True)
class Unkeyed:
    """An argument that the core function needs and the result does not depend on, such as where a folder is."""

    value: Any


@dataclass(frozen=True)
class KeyOnly:
    """Part of the key that is no argument, such as the fingerprint of a folder."""

    value: Any


@dataclass(frozen=True)
class AsJson:
    """An argument that the core function reads from a JSON file; references in it become paths."""

    value: Any


@dataclass(frozen=True)
class Stage:
    """The declaration of a stage. ``rooms`` names modules chosen at run time, ``machine`` what of this one matters."""

    name: str
    core: str
    arguments: Callable[..., Arguments]
    packages: tuple[str, ...]
    rooms: Callable[[Arguments], tuple[str, ...]]
    machine: Callable[[Arguments], dict[str, JsonValue]]
    devices: Callable[[Arguments], Sequence[str]] | Sequence[str]
    resumable: bool
    shown_every: float | None

    def bind(self, parameters: Mapping[str, Any]) -> Arguments:
        """Core arguments for these task parameters."""
        return self.arguments(**parameters)

    def parts(self, parameters: Mapping[str, Any]) -> dict[str, JsonValue]:
        """The readable parts of the content key."""
        arguments = self.bind(parameters)
        named = {name: bare(value) for name, value in arguments.items() if not isinstance(value, Unkeyed)}
        return {
            "stage": self.name,
            "code": dict(code_digests([self.core.partition(":")[0], *self.rooms(arguments)])),
            "inputs": {name: value.digest for name, value in named.items() if isinstance(value, Ref)},
            "parameters": {name: keyed(value) for name, value in named.items() if not isinstance(value, Ref)},
            "environment": {**_versions(self.packages), **self.machine(arguments)},
        }


def stage(
    name: str,
    *,
    core: str,
    packages: tuple[str, ...] = (),
    rooms: Callable[[Arguments], tuple[str, ...]] = lambda arguments: (),
    machine: Callable[[Arguments], dict[str, JsonValue]] = lambda arguments: {},
    devices: Callable[[Arguments], Sequence[str]] | Sequence[str] = ("cpu",),
    resumable: bool = False,
    shown_every: float | None = None,
) -> Callable[[Callable[..., Arguments]], StageTask]:
    """Declare a stage task.

    Args:
        core: ``module:function`` of the stage function.
        packages: distributions whose version is part of the key.
        rooms: modules chosen by the arguments (a backend's room) whose code is part of the key.
        machine: what of this machine changes the result.
        devices: one of them is locked while the function runs, or says which by the arguments; none where it computes
            next to nothing.
        resumable: the function gets a ``work`` folder that outlives a kill.
        shown_every: seconds between two updates of its progress in the Prefect UI; None shows none there.
    """

    def declare(arguments: Callable[..., Arguments]) -> StageTask:
        declared = Stage(name, core, arguments, packages, rooms, machine, devices, resumable, shown_every)

        def body(*args: Any, **kwargs: Any) -> Record:
            return _run(declared, inspect.signature(arguments).bind(*args, **kwargs).arguments)

        update_wrapper(body, arguments)
        del body.__wrapped__  # type: ignore[attr-defined]  # Prefect would follow it to the declaration's annotations
        body.__signature__ = inspect.signature(arguments)  # type: ignore[attr-defined]
        made: StageTask = Task(
            body,
            name=name,
            task_run_name=lambda: _run_name(declared),
            persist_result=True,
            result_serializer="json",
            cache_result_in_memory=False,
            on_failure=[give_back],
            cache_policy=ContentKey(parts=declared.parts).configure(
                lock_manager=StoreLocks(), isolation_level=IsolationLevel.SERIALIZABLE
            ),
        )
        # The decorator takes only storage blocks saved on a server; ours needs none.
        made.result_storage = RecordStorage()
        return made

    return declare


def branch_of(parameters: Mapping[str, Any]) -> str:
    """``int8@openvino`` for a task of a branch, empty for others."""
    return "@".join(str(parameters[name]) for name in ("precision", "backend") if parameters.get(name))


def _run_name(declared: Stage) -> str:
    from prefect.runtime import task_run

    branch = branch_of(task_run.parameters)
    return f"{declared.name}[{branch}]" if branch else declared.name


def _run(declared: Stage, parameters: Mapping[str, Any]) -> Record:
    store = current_store()
    parts = declared.parts(parameters)
    key = key_of(parts)
    branch = branch_of(parameters)
    label = f"{declared.name} {branch}".strip()
    require_room(store, label, parts, _refs_in(declared.bind(parameters)))
    logger = get_run_logger()
    with (
        translated(store.root, f"running {label}"),
        tempfile.TemporaryDirectory(dir=store.root / "tmp", prefix=f"{declared.name}-") as scratch,
    ):
        folder = Path(scratch)
        out, log = folder / "out", folder / "log"
        out.mkdir()
        bound = declared.bind(parameters)
        devices = declared.devices(bound) if callable(declared.devices) else declared.devices
        arguments = _passed(store, bound, folder / "inputs")
        if declared.resumable:
            arguments["work"] = str(store.work(key))
        with Reporter(label, every=declared.shown_every, logger=logger) as reporter:
            try:
                finished = run_child(
                    declared.core,
                    {**arguments, "out": str(out)},
                    purpose=label,
                    log=log,
                    devices=devices,
                    time_limit=_time_limit(parameters),
                    progress=reporter.progress,
                    waiting=lambda who: reporter.waiting(devices, who),
                )
            except CxrError as error:
                _keep_attempt(store, declared.name, key, branch, error, log)
                raise
            said = log.read_text(encoding="utf-8", errors="replace").strip()
            if said:
                logger.info("%s said:\n%s", label, said[-_LOG_SHOWN:])
        outputs = {entry.name: store.put(entry, entry.name) for entry in sorted(out.iterdir())}
        if log.stat().st_size:
            outputs["log"] = store.put(log, "log")
    if declared.resumable:
        store.drop_work(key)
    logger.info("%s took %.1f s", label, finished.seconds)
    return Record(
        stage=declared.name,
        key=key,
        parts=parts,
        outputs=outputs,
        facts=finished.facts,
        seconds=round(finished.seconds, 3),
        environment=_environment(declared.packages) | ({"computed_on": finished.device} if finished.device else {}),
    )


def _passed(store: Store, arguments: Arguments, inputs: Path) -> dict[str, JsonValue]:
    inputs.mkdir()
    return {
        name: _json(store, value.value if isinstance(value, Unkeyed) else value, inputs / name)
        for name, value in arguments.items()
        if not isinstance(value, KeyOnly)
    }


def _json(store: Store, value: Any, folder: Path) -> JsonValue:
    """As the child reads it: references become paths of verified, named files."""
    if isinstance(value, AsJson):
        content = json.dumps(_json(store, value.value, folder))
        file = folder.with_suffix(".json")
        file.write_text(content, encoding="utf-8")
        return str(file)
    if isinstance(value, Ref):
        folder.mkdir(parents=True)
        return str(store.checkout(value, folder))
    if isinstance(value, BaseModel):
        return {name: _json(store, getattr(value, name), folder / name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(name): _json(store, inner, folder / str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(store, inner, folder / str(index)) for index, inner in enumerate(value)]
    return str(value) if isinstance(value, Path) else value


def _refs_in(value: Any) -> Iterator[Ref]:
    """Every reference in an argument, at any depth."""
    inner: Iterable[Any] = ()
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Unkeyed | AsJson):
        inner = [value.value]
    elif isinstance(value, BaseModel):
        inner = [getattr(value, name) for name in type(value).model_fields]
    elif isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    for one in inner:
        yield from _refs_in(one)


def bare(value: Any) -> Any:
    """An argument without the wrapper that says how it is passed."""
    return value.value if isinstance(value, KeyOnly | AsJson) else value


def _time_limit(parameters: Mapping[str, Any]) -> float | None:
    limits = [getattr(value, "time_limit_seconds", None) for value in parameters.values()]
    return next((limit for limit in limits if limit is not None), None)


def _keep_attempt(store: Store, name: str, key: str, branch: str, error: CxrError, log: Path) -> None:
    """A failure is kept where a person finds it, and never where a later run would take it for a result."""
    with suppress(OSError):  # where there is no room for the log, the error itself still reaches the person
        _write_attempt(store, name, key, branch, error, log)


def _write_attempt(store: Store, name: str, key: str, branch: str, error: CxrError, log: Path) -> None:
    kept = store.root / "attempts" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{name}-{key[:8]}"
    kept.mkdir(parents=True, exist_ok=True)
    heading = f"{name} {branch}\nkey {key}\n{type(error).__name__}: {error}\n\n"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    (kept / "log.txt").write_text(heading + text, encoding="utf-8")


def _versions(packages: tuple[str, ...]) -> dict[str, JsonValue]:
    return {name: _version(name) for name in packages}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _environment(packages: tuple[str, ...]) -> dict[str, JsonValue]:
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        **_versions(packages),
    }


def refreshed(task: StageTask, since: float) -> StageTask:
    """The same task, for which a record from before ``since`` (seconds since 1970) does not count.

    So a retry of the same run finds what the run itself has already computed anew. The old record stays in the
    runs that name it.
    """
    again = copy.copy(task)
    again.result_storage = RecordStorage(since=since)
    return again
