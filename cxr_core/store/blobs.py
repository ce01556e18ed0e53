"""Blobs: files named by the sha256 of their bytes, read-only, never changed once they are there."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxr_core.errors import UsageError
from cxr_core.store.disk import (
    CHUNK,
    fsync_folder,
    make_folder,
    remove,
    require_room,
    temporary,
    translated,
    write_all,
)
from cxr_core.store.layout import Layout
from cxr_core.store.locks import held
from cxr_core.store.trees import kind_of


@dataclass(frozen=True)
class Fault:
    """What is wrong with one blob. ``missing`` needs no quarantine, ``damaged`` does."""

    digest: str
    kind: Literal["missing", "damaged"]
    reason: str


@dataclass(frozen=True)
class Blobs:
    """The blobs of one store."""

    layout: Layout

    def put_file(self, source: Path, unsynced: set[Path]) -> tuple[str, int]:
        """Digest and size of a file that is now in the store. Its folder joins ``unsynced``: see ``sync``.

        Raises:
            UsageError: no regular file there, or a symlink.
            StoreFull: no room; nothing of it is left behind.
            StoreError: the store cannot be written.
        """
        with _opened(source) as (descriptor, size):
            return self._put(_chunks(descriptor), size, unsynced)

    def put_bytes(self, data: bytes, unsynced: set[Path]) -> tuple[str, int]:
        """As ``put_file``, for bytes."""
        return self._put([memoryview(data)], len(data), unsynced)

    def sync(self, folders: set[Path]) -> None:
        """Makes the names of what was put durable. Before it returns, nothing put may be promised to anyone."""
        with translated(self.layout.root, "putting an artifact"):
            for folder in sorted(folders):
                fsync_folder(folder)

    def fault(self, digest: str, size: int | None = None, *, deep: bool = False) -> Fault | None:
        """What is wrong with a blob: by its size alone, or with ``deep`` by all its bytes."""
        path = self.layout.blob(digest)
        try:
            found = path.lstat()
        except FileNotFoundError:
            return Fault(digest, "missing", "no such file")
        except OSError as error:
            return Fault(digest, "damaged", f"cannot be looked at: {error.strerror}")
        if not stat.S_ISREG(found.st_mode):
            return Fault(digest, "damaged", f"is {kind_of(found.st_mode)}, expected a regular file")
        if size is not None and found.st_size != size:
            return Fault(digest, "damaged", f"holds {found.st_size} bytes, expected {size}")
        return self._deep_fault(digest, path) if deep else None

    def touch(self, digest: str) -> None:
        """Makes a blob young again for gc, since somebody was just promised it."""
        with suppress(OSError):  # read-only or another user's: then this process cannot collect it either
            os.utime(self.layout.blob(digest))

    def _deep_fault(self, digest: str, path: Path) -> Fault | None:
        try:
            found = hash_of(path)
        except FileNotFoundError:
            return Fault(digest, "missing", "no such file")
        except OSError as error:
            return Fault(digest, "damaged", f"cannot be read: {error.strerror}")
        return None if found == digest else Fault(digest, "damaged", f"its bytes are {found}")

    def _put(self, chunks: Iterable[memoryview], expected: int, unsynced: set[Path]) -> tuple[str, int]:
        root = self.layout.root
        if expected > CHUNK:
            require_room(root, "putting an artifact", expected)
        with translated(root, "putting an artifact", expected), temporary(self.layout.tmp) as (descriptor, path):
            digest, size = _copy(chunks, descriptor)
            with held(self.layout.store_lock, root, shared=True):
                self._place(descriptor, path, digest, size)
            unsynced.add(self.layout.blob(digest).parent)
        return digest, size

    def _place(self, descriptor: int, path: Path, digest: str, size: int) -> None:
        target = self.layout.blob(digest)
        if self.fault(digest, size, deep=True) is None:
            try:
                os.utime(target)  # young for gc; another user's file cannot be, and ours takes its place
            except PermissionError:
                pass
            else:
                return
        os.fchmod(descriptor, 0o444)
        os.fsync(descriptor)
        make_folder(target.parent)
        if target.is_dir() and not target.is_symlink():
            self._put_aside(target, path.name)
        path.replace(target)  # also over a damaged one: its bytes are not what its name says
        with suppress(IsADirectoryError):  # no note; verify deals with it
            remove(self.layout.quarantine / "notes" / digest[7:])

    def _put_aside(self, folder: Path, token: str) -> None:
        aside = self.layout.quarantine / "foreign" / f"{folder.name}.{token}"
        make_folder(aside.parent)
        with suppress(FileNotFoundError):  # another put has just done so
            folder.rename(aside)


@contextmanager
def _opened(source: Path) -> Iterator[tuple[int, int]]:
    try:
        # O_NONBLOCK: a pipe must be refused, not waited for.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        kind = "is a symlink" if source.is_symlink() else f"cannot be opened ({error.strerror})"
        raise UsageError(f"{source} {kind}; expected a regular file to put into the store") from error
    try:
        try:
            found = os.fstat(descriptor)
        except OSError as error:
            raise UsageError(f"{source} cannot be looked at ({error.strerror})") from error
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{source} is {kind_of(found.st_mode)}; expected a regular file to put into the store")
        yield descriptor, found.st_size
    finally:
        with suppress(OSError):  # it was only read
            os.close(descriptor)


def _chunks(descriptor: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(CHUNK))
    while count := os.readv(descriptor, [buffer]):
        yield buffer[:count]


def _copy(chunks: Iterable[memoryview], descriptor: int) -> tuple[str, int]:
    found, size = hashlib.sha256(), 0
    for chunk in chunks:
        found.update(chunk)
        write_all(descriptor, chunk)
        size += len(chunk)
    return f"sha256:{found.hexdigest()}", size


def hash_of(path: Path) -> str:
    """``sha256:<64 hex>`` of a regular file, in constant memory.

    Raises:
        OSError: it cannot be read, or is a symlink.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = hashlib.sha256()
        for chunk in _chunks(descriptor):
            found.update(chunk)
        return f"sha256:{found.hexdigest()}"
    finally:
        os.close(descriptor)
