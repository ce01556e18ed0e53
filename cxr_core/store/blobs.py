"""Blobs: files named by the sha256 of their bytes, read-only, never changed once they are there."""

import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from cxr_core.store.disk import CHUNK, make_folder, remove
from cxr_core.store.layout import Layout
from cxr_core.store.parallel import on_all_cores, portions
from cxr_core.store.trees import kind_of

_MUCH = 4 << 20  # bytes that one thread hashes in one go: enough that handing it over costs nothing


@dataclass(frozen=True)
class Fault:
    """What is wrong with one blob. ``missing`` needs no quarantine, ``damaged`` does."""

    digest: str
    kind: Literal["missing", "damaged"]
    reason: str


@dataclass(frozen=True)
class Look:
    """One blob looked at: its size in bytes, and what is wrong with it."""

    digest: str
    size: int
    fault: Fault | None


@dataclass(frozen=True)
class Blobs:
    """The blobs of one store."""

    layout: Layout

    def file(self, digest: str) -> str:
        """The file of a blob whose digest is known to be one, there or not; quicker than ``layout.blob``."""
        return f"{self._folder}/{digest[7:9]}/{digest[9:]}"

    def fault(self, digest: str, size: int | None = None, *, deep: bool = False) -> Fault | None:
        """What is wrong with a blob: by its size alone, or with ``deep`` by all its bytes."""
        return self.look(digest, size, deep=deep).fault

    def look(self, digest: str, size: int | None = None, *, deep: bool = False) -> Look:
        """As ``fault``, with the size that was found."""
        path = self.file(digest)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return Look(digest, 0, Fault(digest, "missing", "no such file"))
        except OSError as error:
            return Look(digest, 0, Fault(digest, "damaged", f"cannot be looked at: {error.strerror}"))
        reason = None
        if not stat.S_ISREG(found.st_mode):
            reason = f"is {kind_of(found.st_mode)}, expected a regular file"
        elif size is not None and found.st_size != size:
            reason = f"holds {found.st_size} bytes, expected {size}"
        if reason is None:
            return Look(digest, found.st_size, _deep_fault(digest, path, found.st_size) if deep else None)
        return Look(digest, found.st_size, Fault(digest, "damaged", reason))

    def read_through(self, wanted: Iterable[tuple[str, int | None]]) -> Iterator[Look]:
        """Looks at all bytes of blobs of a digest and, where it is known, a size; on all cores, in the order given."""
        given = portions(wanted, lambda blob: self.look(blob[0]).size if blob[1] is None else blob[1], _MUCH)
        for looks in on_all_cores(lambda portion: [self.look(*blob, deep=True) for blob in portion], given):
            yield from looks

    def touch(self, digest: str) -> bool:
        """Makes a blob young again for gc, since somebody was just promised it.

        False where it is not there, or is another user's or read-only: then this process cannot collect it either.
        """
        try:
            os.utime(self.file(digest))
        except OSError:
            return False
        return True

    def place(self, path: str, digest: str) -> None:
        """Gives a temporary file that blob's name, in place of whatever has it: a damaged blob, a symlink, a folder.

        To be called with the store's lock held.

        Raises:
            OSError: it cannot be renamed.
        """
        try:
            os.replace(path, self.file(digest))  # noqa: PTH105 - thousands of them
        except IsADirectoryError:
            aside = self.layout.quarantine / "foreign" / f"{digest[9:]}.{Path(path).name}"
            make_folder(aside.parent)
            with suppress(FileNotFoundError):  # another put has just done so
                Path(self.file(digest)).rename(aside)
            os.replace(path, self.file(digest))  # noqa: PTH105

    def drop_note(self, digest: str) -> None:
        """Forgets that a blob was damaged or missing, now that it is there.

        Raises:
            OSError: the note cannot be removed.
        """
        with suppress(IsADirectoryError):  # no note; verify deals with it
            remove(self.layout.quarantine / "notes" / digest[7:])

    @cached_property
    def _folder(self) -> str:
        return str(self.layout.blobs)


def _deep_fault(digest: str, path: str, size: int) -> Fault | None:
    try:
        found = hash_of(path, size)
    except FileNotFoundError:
        return Fault(digest, "missing", "no such file")
    except OSError as error:
        return Fault(digest, "damaged", f"cannot be read: {error.strerror}")
    return None if found == digest else Fault(digest, "damaged", f"its bytes are {found}")


class _Buffer(threading.local):
    """One a thread, for all that it ever hashes."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(CHUNK))


_buffer = _Buffer()


def hash_of(path: str | Path, size: int) -> str:
    """``sha256:<64 hex>`` of a regular file of so many bytes, or of what is read where it has others; constant memory.

    Raises:
        OSError: it cannot be read, or is a symlink.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        view = _buffer.view
        count = os.readv(descriptor, [view])
        found = hashlib.sha256(view[:count])
        if count != size:  # else nothing is left, and thousands of small files are spared a call
            while count := os.readv(descriptor, [view]):
                found.update(view[:count])
        return f"sha256:{found.hexdigest()}"
    finally:
        os.close(descriptor)
