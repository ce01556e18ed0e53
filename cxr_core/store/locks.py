"""Locks that die with their holder: ``flock``, which the kernel frees when the holding process ends in any way.

Every acquisition opens the file anew, because flock belongs to the open file and not to the process:
so threads of one process exclude each other as processes do.
"""

import fcntl
import hashlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic_core import from_json

from cxr_core.errors import StoreError
from cxr_core.store.disk import make_folder, read_file, translated

_SHORTEST, _LONGEST, _LEAST = 0.002, 0.05, 0.02
_held: set[int] = set()


def _forget_inherited() -> None:
    # A forked child shares the open file, and would keep the lock alive after its parent's death.
    for descriptor in list(_held):
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_inherited)


def take(path: Path, *, shared: bool = False, timeout: float | None = None, holder: str | None = None) -> int | None:
    """Waits up to ``timeout`` seconds (None: for ever); the held descriptor, or None when it stayed held.

    ``holder`` is written into the file, with process, host and time, for the messages of those who wait.
    """
    # Never a single look: one is_locked of another process holds the file for microseconds.
    deadline = None if timeout is None else time.monotonic() + max(timeout, _LEAST)
    pause = _SHORTEST
    make_folder(path.parent)
    while (descriptor := _attempt(path, shared)) is None:
        if deadline is not None and time.monotonic() >= deadline:
            return None
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST)
    if holder is not None:
        _sign(descriptor, holder)
    return descriptor


def give(descriptor: int) -> None:
    """Frees what ``take`` returned."""
    _held.discard(descriptor)
    with suppress(OSError):  # it is closed, and the lock free, whatever a server says of it
        os.close(descriptor)


def _attempt(path: Path, shared: bool) -> int | None:
    # O_NOFOLLOW: the holder is written into it, and must not be into a file elsewhere.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        named = path.stat()
        same = os.path.samestat(named, os.fstat(descriptor))
    except (BlockingIOError, FileNotFoundError):
        same = False
    except BaseException:
        os.close(descriptor)
        raise
    if not same:  # held, or swept away by gc between open and flock
        os.close(descriptor)
        return None
    _held.add(descriptor)
    return descriptor


def _sign(descriptor: int, holder: str) -> None:
    found = {"holder": holder, "pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
    with suppress(OSError):  # a full disk must not cost the lock, it only costs the name in a message
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(found).encode(), 0)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def who_holds(path: Path) -> str:
    """A few words on who holds the lock, as far as its file tells."""
    try:
        found = from_json(read_file(path))
        return f"{found['holder']} (process {found['pid']} on {found['host']}, since {found['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "an unnamed holder"


@contextmanager
def held(
    path: Path,
    root: Path,
    *,
    shared: bool = False,
    timeout: float | None = None,
    holder: str | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Holds a lock for the block. ``on_wait`` is told once who holds it, if there is a wait.

    Raises:
        StoreError: still held after ``timeout`` seconds; the message says by whom.
    """
    with translated(root, f"locking {path.name}"):
        descriptor = take(path, shared=shared, timeout=0, holder=holder)
        if descriptor is None:
            if on_wait is not None:
                on_wait(who_holds(path))
            descriptor = take(path, shared=shared, timeout=timeout, holder=holder)
    if descriptor is None:
        raise StoreError(
            f"lock {path.name} in {path.parent} is still held by {who_holds(path)} after {timeout} s: wait for that "
            "work to end, or end it; the lock is freed at its death"
        )
    try:
        yield
    finally:
        give(descriptor)


class FlockTable:
    """Named locks with holders, for a lock manager that acquires and releases in different calls. Thread-safe.

    A holder that asks again for what it holds gets it at once, as one lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._holders: dict[str, tuple[str, int]] = {}
        self._pid = os.getpid()

    def acquire(self, key: str, holder: str, timeout: float | None = None) -> bool:
        """True once held; False when another still held it after ``timeout`` seconds (None: waits for ever)."""
        if self.is_holder(key, holder):
            return True
        with translated(self._folder.parent, "locking a key"):
            descriptor = take(self.path(key), timeout=timeout, holder=holder)
        if descriptor is None:
            return False
        with self._guard:
            self._holders[key] = (holder, descriptor)
        return True

    def release(self, key: str, holder: str) -> None:
        """Frees the lock.

        Raises:
            StoreError: that holder does not hold it here.
        """
        with self._guard:
            self._forget_parent()
            if self._holders.get(key, ("", -1))[0] != holder:
                raise StoreError(f"lock {key} is not held by {holder!r} in this process: acquire it before its release")
            _, descriptor = self._holders.pop(key)
        give(descriptor)

    def is_holder(self, key: str, holder: str) -> bool:
        """Whether that holder has it in this process."""
        with self._guard:
            self._forget_parent()
            return self._holders.get(key, ("", -1))[0] == holder and bool(holder)

    def is_locked(self, key: str) -> bool:
        """Whether anyone holds it, in any process."""
        with translated(self._folder.parent, "looking at a lock"):
            if not self.path(key).exists():
                return False
            # A shared look keeps other looks free and an acquirer out for microseconds only; it tries again.
            descriptor = take(self.path(key), shared=True, timeout=0)
        if descriptor is None:
            return True
        give(descriptor)
        return False

    def wait(self, key: str, timeout: float | None = None) -> bool:
        """True once nobody holds it; False when it was still held after ``timeout`` seconds."""
        with translated(self._folder.parent, "waiting for a lock"):
            if not self.path(key).exists():
                return True
            descriptor = take(self.path(key), shared=True, timeout=timeout)
        if descriptor is None:
            return False
        give(descriptor)
        return True

    def holder(self, key: str) -> str:
        """A few words on who holds it, for messages."""
        return who_holds(self.path(key))

    def path(self, key: str) -> Path:
        """The lock's file. A key that is no plain file name is named by its digest."""
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", key) and key != "store":
            return self._folder / key
        return self._folder / hashlib.sha256(key.encode()).hexdigest()

    def _forget_parent(self) -> None:
        # After a fork the table speaks of the parent's locks, whose descriptors are closed here.
        if self._pid != os.getpid():
            self._holders.clear()
            self._pid = os.getpid()
