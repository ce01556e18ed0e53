"""Prefect's own caching engine over our store: a key, a storage and a lock. There is no second cache.

Prefect asks the storage whether a key has a result; ours answers only if the record is whole and
every artifact that it names is there, so *Cached* in the UI means just that. Writes are atomic.
Locks are ``flock``, which the kernel frees when a holder is killed.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import Task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.filesystems import WritableFileSystem

from cxr_core.child import stopping
from cxr_core.errors import BranchError, MissingArtifact
from cxr_core.store import FlockTable
from tasks.key import Parts, key_of
from tasks.mirroring import came_from_mirror
from tasks.place import current_store, lock_table

_TURN = 0.5  # seconds
_last = threading.local()  # the lock that this thread took last


class RecordStorage(WritableFileSystem):
    """Reads and writes Prefect's result records as the store's action records.

    Prefect also persists exceptions of failed tasks, under names that are no content keys; those
    are kept with the attempts, where nothing takes them for a result.

    ``since`` (seconds since 1970): older records do not count.
    """

    _block_type_name = "cxr record storage"

    since: float = 0.0

    def _resolve_path(self, path: str) -> str:
        return str(current_store().root / "actions" / path)

    def read_path(self, path: str, _sync: bool = True) -> bytes:  # type: ignore[override]  # Prefect calls both kinds
        """The record of that key.

        Raises:
            MissingArtifact: no valid record, or one from before ``since``, which Prefect takes as a miss.
        """
        name = Path(path).name
        if self.since and _is_key(name) and (written := current_store().written(name)) < self.since:
            raise MissingArtifact(f"the record of {name[:12]} is of {written:.0f}, and is to be computed anew")
        return self._record(name) if _is_key(name) else _exception_file(name).read_bytes()

    def _record(self, key: str) -> bytes:
        store = current_store()
        try:
            return store.read_action(key)
        except MissingArtifact:
            # How old a mirror's record is, nobody can tell: what is to be computed anew never comes from there.
            if self.since or not came_from_mirror(store, key):
                raise
        return store.read_action(key)

    def write_path(self, path: str, content: bytes, _sync: bool = True) -> None:  # type: ignore[override]
        """Store the record of that key atomically."""
        name = Path(path).name
        if _is_key(name):
            current_store().write_action(name, content)
            return
        file = _exception_file(name)
        temporary = file.with_suffix(".new")
        temporary.write_bytes(content)
        temporary.replace(file)


def _is_key(name: str) -> bool:
    return len(name) == 64


def _exception_file(name: str) -> Path:
    folder = current_store().root / "attempts"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.json"


class StoreLocks:
    """Prefect's lock protocol over the store's ``flock`` table: one computation a key, whoever asks."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "StoreLocks":
        return self  # Prefect copies policies; locks are the store's, not the copy's

    @property
    def _table(self) -> FlockTable:
        return lock_table()

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        taken = _patiently(lambda seconds: self._table.acquire(key, holder, seconds), acquire_timeout)
        if taken:
            _last.lock = key, holder
        return taken

    async def aacquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        return await asyncio.to_thread(self.acquire_lock, key, holder, acquire_timeout)

    def release_lock(self, key: str, holder: str) -> None:
        self._table.release(key, holder)

    def is_locked(self, key: str) -> bool:
        return self._table.is_locked(key)

    def is_lock_holder(self, key: str, holder: str) -> bool:
        return self._table.is_holder(key, holder)

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        return _patiently(lambda seconds: self._table.wait(key, seconds), timeout)

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        return await asyncio.to_thread(self.wait_for_lock, key, timeout)


def give_back(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> None:
    """Free the key of a task that has failed, if it is locked still; a hook, called in the thread of that task.

    Prefect's rollback does nothing where the transaction counts as committed. A hit does from the moment it is found,
    so one that is withdrawn before it is read would stay locked as long as this process lives.
    """
    key, holder = getattr(_last, "lock", ("", ""))
    if lock_table().is_holder(key, holder):
        lock_table().release(key, holder)


def _patiently(attempt: Callable[[float], bool], timeout: float | None) -> bool:
    """Wait in short turns, so that an interrupted process does not wait out another run's training.

    Raises:
        BranchError: this process was told to stop.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while not attempt(_TURN if deadline is None else max(0.0, min(_TURN, deadline - time.monotonic()))):
        if stopping():
            raise BranchError("interrupted while another run computes the same")
        if deadline is not None and time.monotonic() >= deadline:
            return False
    return True


@dataclass
class ContentKey(CachePolicy):
    """The key of a stage run: sha256 over stage, code, inputs, parameters and what of the machine matters."""

    parts: Parts | None = None

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        assert self.parts is not None
        return key_of(self.parts(inputs))
