"""Trees: a folder as one canonical listing of its files, ``[{"digest", "name", "size"}, ...]`` sorted by name.

The listing is itself a blob, and its digest is the tree's. It holds no times, modes or owners, so the
same files always give the same digest. Empty folders are no content and leave no trace.
"""

import json
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import FailFast, Field, TypeAdapter, ValidationError

from cxr_core.errors import UsageError
from cxr_core.refs import Digest, Frozen

LONGEST_PART = 255
LONGEST_NAME = 1024
DEEPEST = 64


class Entry(Frozen):
    """One file of a tree: its posix path within the tree, digest, and size in bytes."""

    digest: Digest
    name: str
    size: Annotated[int, Field(ge=0, strict=True)]


_ENTRIES = TypeAdapter(Annotated[list[Entry], FailFast()])  # an error an entry would take gigabytes to tell


def bytes_from_entries(entries: Iterable[Entry]) -> bytes:
    """The canonical listing.

    Raises:
        ValueError: a name that no tree may have, or two that clash.
    """
    ordered = sorted(entries, key=lambda entry: entry.name)
    _check_names([entry.name for entry in ordered])
    rows = [entry.model_dump() for entry in ordered]
    return (json.dumps(rows, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


@lru_cache(maxsize=16)
def entries_from_bytes(data: bytes) -> tuple[Entry, ...]:
    """The entries of a listing. Remembered: one hit looks at the same listing several times.

    Raises:
        ValueError: not a listing, not the canonical one, or with a name that no tree may have.
    """
    try:
        entries = _ENTRIES.validate_json(data)
    except ValidationError as error:
        raise ValueError(f"not a tree listing: {error.errors()[0]['msg']}") from None
    if bytes_from_entries(entries) != data:
        raise ValueError("not the canonical tree listing: order, spacing or a repeated name differ")
    return tuple(entries)


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative posix name and path of every file under a folder.

    Raises:
        UsageError: a symlink, a device, a socket, a pipe, a name that cannot be kept everywhere, or it cannot be read.
    """
    try:
        found = sorted(_walk(folder, ""))
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be read ({error.strerror}): nothing was put") from error
    try:
        _check_names([name for name, _ in found])
    except ValueError as error:
        raise UsageError(f"{folder} cannot be kept as a tree: {error}. Rename it") from None
    yield from found


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as listing:
        for item in listing:
            mode = item.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield from _walk(Path(item.path), f"{prefix}{item.name}/")
            elif stat.S_ISREG(mode):
                yield prefix + item.name, Path(item.path)
            else:
                raise UsageError(
                    f"{item.path} is {kind_of(mode)}; an artifact holds regular files and folders only: copy the "
                    "content in its place, or leave it out"
                )


def kind_of(mode: int) -> str:
    """What a file is, in words."""
    kinds = {stat.S_IFLNK: "a symlink", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _check_names(names: list[str]) -> None:
    spelled: dict[str, str] = {}
    files: set[str] = set()
    folders: set[str] = set()
    for name in names:
        _check_name(name)
        if name in files:
            raise ValueError(f"{name!r} is named twice")
        files.add(name)
        parts = name.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        folders.update(above)
        for spelling in [*above, name]:
            other = spelled.setdefault(_folded(spelling), spelling)
            if other != spelling:
                raise ValueError(f"{other!r} and {spelling!r} clash where case or Unicode form is not kept apart")
    if both := sorted(files & folders):
        raise ValueError(f"{both[0]!r} is both a file and a folder")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _check_name(name: str) -> None:
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name!r} is not valid UTF-8") from None
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r} is not a relative path of plain parts")
    if any(unicodedata.category(letter) == "Cc" or letter == "\\" for letter in name):
        raise ValueError(f"{name!r} holds a control character or a backslash")
    if len(parts) > DEEPEST:
        raise ValueError(f"{name[:40]!r}... is deeper than {DEEPEST} folders")
    if len(encoded) > LONGEST_NAME or any(len(part.encode()) > LONGEST_PART for part in parts):
        raise ValueError(f"{name[:40]!r}... is longer than {LONGEST_PART} bytes a part or {LONGEST_NAME} in all")
