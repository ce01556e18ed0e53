"""How blobs come in: written and hashed, made durable, named, and their names made durable.

Many at once share the waits for the disk. Nothing gets its name before its bytes are durable, and nothing is
promised before its name is.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from cxr_core.errors import UsageError
from cxr_core.store.blobs import Blobs
from cxr_core.store.disk import CHUNK, entries, fsync_folder, make_folder, new_file, remove, translated, write_all
from cxr_core.store.leases import note
from cxr_core.store.locks import held
from cxr_core.store.seals import digest_of
from cxr_core.store.syncing import Syncer, syncing
from cxr_core.store.trees import kind_of

Source = str | Path | bytes

_DOING = "putting an artifact"
# A portion of this many files or bytes gets its names at once: a put that is killed has lost no more than that.
_FILES, _BYTES = 8192, 1 << 30


def put_blobs(blobs: Blobs, sources: Sequence[Source]) -> list[tuple[str, int]]:
    """Digest and size of each file or bytes; all of them are durable in the store when this returns.

    Raises:
        UsageError: no regular file there, or a symlink.
        StoreFull: no room; nothing of the file that failed is left behind.
        StoreError: the store cannot be written.
    """
    layout = blobs.layout
    with translated(layout.root, _DOING):
        make_folder(layout.tmp)
        with syncing(layout.tmp, len(sources)) as syncer:
            return Intake(blobs, syncer).put(sources)


@dataclass
class Intake:
    """One put. What it holds between two namings: temporary files by digest, and what was found whole already."""

    blobs: Blobs
    syncer: Syncer
    _written: dict[str, str] = field(default_factory=dict)
    _whole: dict[str, Source] = field(default_factory=dict)
    _temporary: set[str] = field(default_factory=set)
    _bytes: int = 0
    _wanted: int = 0

    def put(self, sources: Sequence[Source]) -> list[tuple[str, int]]:
        """As ``put_blobs``."""
        found = []
        try:
            for source in sources:
                found.append(self._taken(source))
                if len(self._written) + len(self._whole) >= _FILES or self._bytes >= _BYTES:
                    self._name()
            self._name()
        except OSError:
            self._clear()  # its room is given back before anyone tells how much there is
            with translated(self.blobs.layout.root, _DOING, self._wanted):
                raise
        finally:
            self._clear()
        return found

    def _clear(self) -> None:
        while self._temporary:
            with suppress(OSError):
                os.unlink(self._temporary.pop())  # noqa: PTH108 - thousands of them

    def _taken(self, source: Source, *, look: bool = True) -> tuple[str, int]:
        if isinstance(source, bytes):
            return self._small(source, source, look)
        descriptor, self._wanted = _opened(source)
        try:
            head = os.read(descriptor, min(self._wanted, CHUNK) + 1)
            if more := os.read(descriptor, 1):
                return self._large(chain((head, more), _chunks(descriptor)), source, look)
            return self._small(head, source, look)
        finally:
            os.close(descriptor)

    def _small(self, data: bytes, source: Source, look: bool) -> tuple[str, int]:
        digest, self._wanted = digest_of(data), len(data)
        if not (look and self._is_there(digest, len(data), source)):
            descriptor, path = self._file()
            try:
                write_all(descriptor, data)
                self._keep(digest, len(data), descriptor, path)
            finally:
                os.close(descriptor)
        return digest, len(data)

    def _large(self, chunks: Iterable[bytes | memoryview], source: Source, look: bool) -> tuple[str, int]:
        descriptor, path = self._file()
        try:
            digest, size = _copy(chunks, descriptor)
            if look and self._is_there(digest, size, source):
                os.unlink(path)  # noqa: PTH108
                self._temporary.discard(path)
            else:
                self._keep(digest, size, descriptor, path)
        finally:
            os.close(descriptor)
        return digest, size

    def _is_there(self, digest: str, size: int, source: Source) -> bool:
        if digest in self._written or digest in self._whole:
            return True
        if self.blobs.fault(digest, size, deep=True) is not None:
            return False
        self._whole[digest] = source
        return True

    def _file(self) -> tuple[int, str]:
        descriptor, path = new_file(self.blobs.layout.tmp)
        self._temporary.add(path)
        return descriptor, path

    def _keep(self, digest: str, size: int, descriptor: int, path: str) -> None:
        os.fchmod(descriptor, 0o444)
        self.syncer.written(descriptor)
        self._written[digest] = path
        self._bytes += size

    def _name(self) -> None:
        """Gives everything at hand its name, in place of a damaged blob too, and makes the names durable."""
        layout = self.blobs.layout
        self._wanted = self._bytes
        if self._written:
            self._make_shards()
            self.syncer.files()
        with held(layout.store_lock, layout.root, shared=True):
            for digest in (*self._written, *self._whole):
                note(layout, "blob", digest)
            gone = {digest: source for digest, source in self._whole.items() if not self.blobs.touch(digest)}
            noted = set(entries(layout.quarantine / "notes"))
            for digest, path in self._written.items():
                os.replace(path, self.blobs.file(digest))  # noqa: PTH105
                self._temporary.discard(path)
                if digest[7:] in noted:
                    remove(layout.quarantine / "notes" / digest[7:])
        if shards := {digest[7:9] for digest in (*self._written, *self._whole.keys() - gone.keys())}:
            self.syncer.folders(layout.blobs / shard for shard in sorted(shards))
        self._written, self._whole, self._bytes = {}, {}, 0
        self._take_again(gone)

    def _make_shards(self) -> None:
        blobs = self.blobs.layout.blobs
        make_folder(blobs)
        made = 0
        for shard in sorted({digest[7:9] for digest in self._written}):
            with suppress(FileExistsError):
                os.mkdir(blobs / shard)  # noqa: PTH102
                made += 1
        if made and self.syncer.whole is None:
            fsync_folder(blobs)

    def _take_again(self, gone: dict[str, Source]) -> None:
        # Collected or quarantined since it was looked at, or another user's, whom gc of this user does not hear.
        for digest, source in gone.items():
            if self._taken(source, look=False)[0] != digest:
                raise UsageError(f"{source!s} changed while it was put: put it again when nobody writes it")
        if gone:
            self._name()


def _opened(source: str | Path) -> tuple[int, int]:
    """Descriptor and size of a regular file."""
    try:
        # O_NONBLOCK: a pipe must be refused, not waited for.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        kind = "is a symlink" if Path(source).is_symlink() else f"cannot be opened ({error.strerror})"
        raise UsageError(f"{source} {kind}; expected a regular file to put into the store") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise UsageError(f"{source} is {kind_of(found.st_mode)}; expected a regular file to put into the store")
    return descriptor, found.st_size


def _chunks(descriptor: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(CHUNK))
    while count := os.readv(descriptor, [buffer]):
        yield buffer[:count]


def _copy(chunks: Iterable[bytes | memoryview], descriptor: int) -> tuple[str, int]:
    found, size = hashlib.sha256(), 0
    for chunk in chunks:
        found.update(chunk)
        write_all(descriptor, chunk)
        size += len(chunk)
    return f"sha256:{found.hexdigest()}", size
