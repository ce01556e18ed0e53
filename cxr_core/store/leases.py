"""Leases: what a living process has put, hit or promised stays, however long it works. See docs/adr/0010.

``leases/<kernel>-<pid>-<random>`` is flocked while its holder lives, and lists what it holds. The kernel ends it at the
holder's death. Where flock says nothing, because the holder is under another kernel, it ends ``EXPIRY`` after its last
renewal.

Whoever promises notes it while holding the store's lock shared; gc looks while holding it alone. So no clock decides.
"""

import fcntl
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cxr_core.store.disk import entries, remove, translated, write_all
from cxr_core.store.layout import Layout
from cxr_core.store.locks import give, held, take

EXPIRY = 86_400.0  # seconds
_RENEWED = 600.0  # seconds

_LINE = re.compile(rb"(blob|tree) (sha256:[0-9a-f]{64})\n")

_mine: dict[Path, list["_Lease"]] = {}
# A forked child is no holder: it takes a lease of its own.
os.register_at_fork(after_in_child=_mine.clear)


@dataclass
class _Lease:
    """A lease that this process holds."""

    path: Path
    descriptor: int
    _noted: set[bytes] = field(default_factory=set)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def note(self, form: str, digests: Collection[str]) -> None:
        """Not synced: what survives the holder counts for nothing, and its writes reach all readers at once."""
        lines = [f"{form} {digest}\n".encode() for digest in digests]
        with self._guard:
            # A tree each time anew: gc may have read the line when the listing was not there yet.
            new = lines if form == "tree" else [line for line in lines if line not in self._noted]
            write_all(self.descriptor, b"".join(new))
            self._noted.update(new)


@contextmanager
def lease(layout: Layout, holder: str) -> Iterator[None]:
    """Holds a lease for the block: gc takes nothing that this process puts, hits, verifies or promises in it.

    Raises:
        StoreError: the store cannot be written.
    """
    path = layout.leases / f"{_kernel()}-{os.getpid()}-{secrets.token_hex(8)}"
    with translated(layout.root, "taking a lease"):
        mine = _taken(path, holder)
    pid, ended = os.getpid(), threading.Event()
    renewer = threading.Thread(target=_renew, args=(mine.descriptor, ended), name=f"lease {holder}", daemon=True)
    renewer.start()
    _mine.setdefault(layout.root, []).append(mine)
    try:
        yield
    finally:
        if os.getpid() == pid:  # a forked child that leaves the block leaves its parent's lease alone
            _mine[layout.root].remove(mine)
            ended.set()
            renewer.join()
            _end(layout, mine)


def _taken(path: Path, holder: str) -> _Lease:
    descriptor = take(path)
    assert descriptor is not None
    try:
        since = os.fstat(descriptor).st_mtime  # the file system's clock, by which tmp/ is swept
        header = {"holder": holder, "pid": os.getpid(), "host": socket.gethostname(), "since": since}
        write_all(descriptor, json.dumps(header).encode() + b"\n")
    except BaseException:
        remove(path)
        give(descriptor)
        raise
    return _Lease(path, descriptor)


def note(layout: Layout, form: Literal["blob", "tree"], digests: Collection[str]) -> None:
    """Keeps blobs or trees while this process's leases last; without a lease nothing happens.

    To be called with the store's lock held shared, and what is noted is looked at before that lock is given back:
    see ``guard``.

    Raises:
        StoreFull, StoreError: it could not be noted.
    """
    with translated(layout.root, "noting in a lease what must stay"):
        for mine in tuple(_mine.get(layout.root, ())):
            mine.note(form, digests)


def guard(layout: Layout) -> AbstractContextManager[None]:
    """The store's lock, shared, where this process holds a lease; else nothing, so that who only reads needs none."""
    return held(layout.store_lock, layout.root, shared=True) if _mine.get(layout.root) else nullcontext()


def _renew(descriptor: int, ended: threading.Event) -> None:
    while not ended.wait(_RENEWED):
        with suppress(OSError):  # on this machine the lock speaks for the holder; elsewhere a day's failures end it
            os.utime(descriptor)


def _end(layout: Layout, mine: _Lease) -> None:
    with suppress(OSError):  # what stays, gc sweeps
        # A gc that has already read the accounts finds here what was promised since: then it sweeps this itself.
        if (no_gc := take(layout.gc_lock, shared=True, timeout=0)) is not None:
            remove(mine.path)
            give(no_gc)
    with suppress(OSError):
        give(mine.descriptor)


def _kernel() -> str:
    """Names the running kernel: under the same one, a free lock proves that its holder is dead."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


@dataclass
class LeasesSeen:
    """The leases of a store as one pass of gc sees them. What it saw once holds for the whole pass.

    ``holders``: by lease, who holds it, in words. ``since``: when the oldest living lease began, in seconds since
    1970; infinite where there is none.
    """

    layout: Layout
    dry_run: bool
    holders: dict[str, str] = field(default_factory=dict)
    since: float = float("inf")
    _ended: set[str] = field(default_factory=set)
    _read: dict[str, int] = field(default_factory=dict)

    def sweep(self) -> None:
        """Removes the leases that have ended. To be called before accounts are read: who ends later has written his."""
        for name in entries(self.layout.leases):
            path = self.layout.leases / name
            try:
                header = self._living(path)
            except FileNotFoundError:
                continue
            if header is None:
                self._ended.add(name)
                continue
            self.holders[name] = _described(header)
            self.since = min(self.since, float(header["since"]))

    def news(self) -> Iterator[tuple[str, str, str]]:
        """Lease, form and digest of what was noted since the last call, also in new leases."""
        for name in entries(self.layout.leases):
            if name in self._ended:
                continue
            try:
                with (self.layout.leases / name).open("rb") as opened:
                    opened.seek(self._read.get(name, 0))
                    data = opened.read()
            except FileNotFoundError:
                continue
            whole = data[: data.rfind(b"\n") + 1]
            self._read[name] = self._read.get(name, 0) + len(whole)
            for form, digest in _LINE.findall(whole):
                yield name, form.decode(), digest.decode()

    def _living(self, path: Path) -> dict[str, Any] | None:
        """What a lease says of its holder, None if it has ended."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            free = _free(descriptor)
            header = _header(descriptor)
            here = path.name.startswith(f"{_kernel()}-")
            if free and (here or time.time() - os.fstat(descriptor).st_mtime > EXPIRY):
                if not self.dry_run:
                    remove(path)  # still locked here, so no newborn lease is taken for a dead one
                return None
            return header
        finally:
            os.close(descriptor)


def _free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _header(descriptor: int) -> dict[str, Any]:
    """The first line; where it is not written yet or damaged, a holder of whom nothing is known."""
    found = os.fstat(descriptor)
    try:
        header = json.loads(os.pread(descriptor, 4096, 0).partition(b"\n")[0])
        return {**header, "since": float(header["since"])}
    except (ValueError, KeyError, TypeError):
        return {"since": found.st_mtime}


def _described(header: dict[str, Any]) -> str:
    since = datetime.fromtimestamp(header["since"], UTC).isoformat(timespec="seconds")
    who = header.get("holder", "an unnamed holder")
    return f"{who} (process {header.get('pid', 'unknown')} on {header.get('host', 'an unknown host')}, since {since})"
