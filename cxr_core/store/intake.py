"""How blobs come in: written and hashed, made durable, named, and their names made durable.

Many at once share the waits for the disk. Nothing gets its name before its bytes are durable, and nothing is
promised before its name is.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

from cxr_core.errors import UsageError
from cxr_core.store.blobs import Blobs
from cxr_core.store.disk import (
    CHUNK,
    entries,
    fsync_folder,
    make_folder,
    new_file,
    require_room,
    translated,
    write_all,
)
from cxr_core.store.leases import note
from cxr_core.store.locks import held
from cxr_core.store.parallel import on_all_cores, portions
from cxr_core.store.seals import digest_of
from cxr_core.store.syncing import Syncer, start_writing, syncing
from cxr_core.store.trees import kind_of

Source = str | Path | bytes

_DOING = "putting an artifact"
# A portion of this many files or bytes gets its names at once: a put that is killed has lost no more than that.
_FILES, _BYTES = 8192, 1 << 30
_PORTION_FILES, _PORTION_BYTES = 32, 4 << 20  # what one thread reads in one go
_WRITE_OUT = 16 << 20


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


@dataclass(frozen=True)
class Taken:
    """One source after it was read: its digest and size, and its temporary file unless it is there already."""

    source: Source
    digest: str
    size: int
    path: str | None


@dataclass
class Intake:
    """One put. What it holds between two namings: temporary files by digest, and what was found whole already."""

    blobs: Blobs
    syncer: Syncer
    _written: dict[str, str] = field(default_factory=dict)
    _whole: dict[str, Source] = field(default_factory=dict)
    _temporary: set[str] = field(default_factory=set)
    _bytes: int = 0

    def put(self, sources: Sequence[Source]) -> list[tuple[str, int]]:
        """As ``put_blobs``."""
        given = portions(sources, _size_of, _PORTION_BYTES, _PORTION_FILES)
        found = []
        try:
            with closing(on_all_cores(lambda portion: [self._taken(source) for source in portion], given)) as read:
                for taken in chain.from_iterable(read):
                    found.append((taken.digest, taken.size))
                    self._keep(taken)
                    if len(self._written) + len(self._whole) >= _FILES or self._bytes >= _BYTES:
                        self._name()
            self._name()
        finally:
            while self._temporary:
                with suppress(OSError):
                    os.unlink(self._temporary.pop())  # noqa: PTH108 - thousands of them
        return found

    def _taken(self, source: Source, *, look: bool = True) -> Taken:
        """Reads one source. Many threads do; only ``_temporary`` changes here."""
        if isinstance(source, bytes):
            return self._small(source, source, look)
        descriptor, size = _opened(source)
        try:
            if size > CHUNK:
                require_room(self.blobs.layout.root, _DOING, size)
            head = os.read(descriptor, min(size, CHUNK) + 1)
            if len(head) == size <= CHUNK:
                return self._small(head, source, look)
            return self._large(chain((head,), _chunks(descriptor)), source, size, look)
        finally:
            with suppress(OSError):  # it was only read
                os.close(descriptor)

    def _small(self, data: bytes, source: Source, look: bool) -> Taken:
        digest, size = digest_of(data), len(data)
        if look and self._is_there(digest, size):
            return Taken(source, digest, size, None)
        with self._file(size) as (descriptor, path):
            write_all(descriptor, data)
            self._finish(descriptor)
        return Taken(source, digest, size, path)

    def _large(self, chunks: Iterable[bytes | memoryview], source: Source, expected: int, look: bool) -> Taken:
        with self._file(expected) as (descriptor, path):
            digest, size = self._copied(chunks, descriptor)
            there = look and self._is_there(digest, size)
            if not there:
                self._finish(descriptor)
        if there:
            self._drop(path)
        return Taken(source, digest, size, None if there else path)

    def _is_there(self, digest: str, size: int) -> bool:
        at_hand = digest in self._written or digest in self._whole
        return at_hand or self.blobs.fault(digest, size, deep=True) is None

    @contextmanager
    def _file(self, size: int) -> Iterator[tuple[int, str]]:
        root = self.blobs.layout.root
        with translated(root, _DOING, size):
            descriptor, path = new_file(self._tmp)
            self._temporary.add(path)
            try:
                yield descriptor, path
            except BaseException:  # its room is given back before anyone tells how much there is
                self._drop(path)
                raise
            finally:
                os.close(descriptor)

    def _finish(self, descriptor: int) -> None:
        os.fchmod(descriptor, 0o444)
        self.syncer.written(descriptor)

    def _drop(self, path: str) -> None:
        os.unlink(path)  # noqa: PTH108
        self._temporary.discard(path)

    def _keep(self, taken: Taken) -> None:
        if taken.digest in self._written:
            if taken.path is not None:  # two threads met the same content
                self._drop(taken.path)
        elif taken.path is None:
            self._whole.setdefault(taken.digest, taken.source)
        else:
            self._written[taken.digest] = taken.path
            self._bytes += taken.size

    def _copied(self, chunks: Iterable[bytes | memoryview], descriptor: int) -> tuple[str, int]:
        # Hashed beside being written, and on its way to the disk early: the sync at the end is then short.
        found, size, begun = hashlib.sha256(), 0, 0
        with ThreadPoolExecutor(1) as beside:
            hashed: Future[None] | None = None
            for chunk in chunks:
                if hashed is not None:
                    hashed.result()  # so that its buffer may be filled again
                hashed = beside.submit(found.update, chunk)
                write_all(descriptor, chunk)
                size += len(chunk)
                if size - begun >= _WRITE_OUT:
                    start_writing(descriptor, begun, size - begun)
                    begun = size
        return f"sha256:{found.hexdigest()}", size

    def _name(self) -> None:
        """Gives everything at hand its name, in place of a damaged blob too, and makes the names durable."""
        layout = self.blobs.layout
        with translated(layout.root, _DOING, self._bytes):
            if self._written:
                self._make_shards()
                self.syncer.files()
            with held(layout.store_lock, layout.root, shared=True):
                note(layout, "blob", [*self._written, *self._whole])
                gone = {digest: source for digest, source in self._whole.items() if not self.blobs.touch(digest)}
                noted = set(entries(layout.quarantine / "notes"))
                for digest, path in self._written.items():
                    self.blobs.place(path, digest)
                    self._temporary.discard(path)
                    if digest[7:] in noted:
                        self.blobs.drop_note(digest)
            shards = {digest[7:9] for digest in (*self._written, *self._whole.keys() - gone.keys())}
            if shards:
                self.syncer.folders(layout.blobs / shard for shard in sorted(shards))
        self._written, self._whole, self._bytes = {}, {}, 0
        self._take_again(gone)

    @cached_property
    def _tmp(self) -> str:
        return str(self.blobs.layout.tmp)

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
            taken = self._taken(source, look=False)
            if taken.digest != digest:
                raise UsageError(f"{source!s} changed while it was put: put it again when nobody writes it")
            self._keep(taken)
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
    try:
        found = os.fstat(descriptor)
        wrong = None if stat.S_ISREG(found.st_mode) else f"is {kind_of(found.st_mode)}; expected a regular file"
    except OSError as error:
        wrong = f"cannot be looked at ({error.strerror}); expected a regular file"
    if wrong:
        with suppress(OSError):
            os.close(descriptor)
        raise UsageError(f"{source} {wrong} to put into the store")
    return descriptor, found.st_size


def _size_of(source: Source) -> int:
    if isinstance(source, bytes):
        return len(source)
    try:
        return os.lstat(source).st_size
    except OSError:  # whoever opens it tells
        return 0


def _chunks(descriptor: int) -> Iterator[memoryview]:
    """Each is good until the next but one is asked for."""
    buffer, other = memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK))
    while count := os.readv(descriptor, [buffer]):
        yield buffer[:count]
        buffer, other = other, buffer
