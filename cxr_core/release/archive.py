"""A tar with one spelling: the same members always give the same bytes, and other bytes are not such an archive.

Plain tar, read by every tar program: regular files only, mode 0644, owner 0, one fixed time, extended (pax) headers
only for names that the plain header cannot hold. Whoever reads it knows from the manifest which member must come
next and compares its header byte for byte, so that nothing foreign in a header is ever parsed, let alone obeyed.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from cxr_core.errors import RefusedError
from cxr_core.store.disk import CHUNK

LARGEST_MANIFEST = 64 << 20
"""Bytes that a member may have which is read into memory."""

_BLOCK = tarfile.BLOCKSIZE
_TIME = 315_532_800  # 1980-01-01: the earliest that every archive format and file system can hold
_KINDS = {
    tarfile.SYMTYPE: "a symlink", tarfile.LNKTYPE: "a hard link", tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe", tarfile.DIRTYPE: "a folder",
    tarfile.XHDTYPE: "an extended header", tarfile.XGLTYPE: "a global header", tarfile.GNUTYPE_SPARSE: "a sparse file",
}  # fmt: skip


def header(name: str, size: int) -> bytes:
    """The header of a member, with the extended one before it where the name is long or not ASCII."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, _TIME, 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def padding(size: int) -> bytes:
    """What fills a member's last block."""
    return bytes(-size % _BLOCK)


def ending(written: int) -> bytes:
    """Two empty blocks, and as many as fill the record, after so many bytes."""
    return bytes(2 * _BLOCK + -(written + 2 * _BLOCK) % tarfile.RECORDSIZE)


def parts(members: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """The bytes of an archive of members: name, size, content. The content must have that size."""
    written = 0
    for name, size, content in members:
        for part in (header(name, size), *_counted(name, size, content), padding(size)):
            written += len(part)
            yield part
    yield ending(written)


def _counted(name: str, size: int, content: Iterable[bytes]) -> Iterator[bytes]:
    left = size
    for part in content:
        left -= len(part)
        yield part
    if left:
        raise RefusedError(f"{name} has {size - left} bytes where {size} were announced; it changed while it was read")


class Reader:
    """Reads members that must come next. Every method raises RefusedError where another thing comes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = os.fstat(file.fileno()).st_size
        self._last = "the beginning"

    def next_name(self) -> str:
        """The name in the next plain header; nothing is consumed. Empty where there is no such header."""
        at = self._file.tell()
        block = self._file.read(_BLOCK)
        self._file.seek(at)
        info = _parsed(block)
        return info.name if info is not None else ""

    def small(self, name: str) -> bytes:
        """The content of a member whose size only its header tells."""
        at = self._file.tell()
        block = self._file.read(_BLOCK)
        info = _parsed(block)
        if info is None or info.name != name:
            raise self._refused(at, name, block)
        if not 0 <= info.size <= min(LARGEST_MANIFEST, self._length - at):
            raise RefusedError(f"{name} claims {info.size:,} bytes, which is more than it may have or the file holds")
        if header(name, info.size) != block:
            raise self._refused(at, name, block)
        content = self._file.read(info.size)
        self._skip(name, info.size, len(content))
        return content

    def large(self, name: str, size: int) -> tuple[str, int]:
        """The digest of the next member's content, and at which byte it begins."""
        expected, at = header(name, size), self._file.tell()
        block = self._file.read(len(expected))
        if block != expected:
            raise self._refused(at, name, block)
        begins, found, left = self._file.tell(), hashlib.sha256(), size
        while left and (part := self._file.read(min(CHUNK, left))):
            found.update(part)
            left -= len(part)
        self._skip(name, size, size - left)
        return f"sha256:{found.hexdigest()}", begins

    def end(self) -> None:
        """Nothing may follow but the ending."""
        expected = ending(self._file.tell())
        if self._file.read(len(expected) + 1) != expected:
            raise RefusedError(
                f"after {self._last} comes more or less than an archive's ending: surplus members or bytes, or a cut"
            )

    def _skip(self, name: str, size: int, got: int) -> None:
        if got != size:
            raise RefusedError(f"{name} is cut: the file ends {size - got:,} bytes before it does")
        if self._file.read(len(padding(size))) != padding(size):
            raise RefusedError(f"{name} is followed by bytes that no archive of this kind has")
        self._last = name

    def _refused(self, at: int, name: str, block: bytes) -> RefusedError:
        info = _parsed(block[:_BLOCK])
        if info is None:
            found = "an archive's ending" if block and not any(block) else "no header that can be read"
        elif info.type == tarfile.REGTYPE:
            found = f"{info.name[:200]!r} of {info.size} bytes"
            found += " with another mode, owner or time" if info.name == name else ""
        else:
            found = f"{_KINDS.get(info.type, 'a member of an unknown kind')} {info.name[:200]!r}"
        return RefusedError(f"after {self._last}, at byte {at:,}, the member {name} must come; found {found}")


def _parsed(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return None
