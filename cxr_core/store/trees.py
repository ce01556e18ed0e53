"""Trees: a folder as one canonical listing of its files, ``[{"digest", "name", "size"}, ...]`` sorted by name.

The listing is itself a blob, and its digest is the tree's. It holds no times, modes or owners, so the
same files always give the same digest. Empty folders are no content and leave no trace.
"""

import os
import re
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

_ORDINARY = re.compile(r"\w[\w. -]*(/\w[\w. -]*)*", re.ASCII)
_UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")  # Unicode's control characters, and the backslash


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
    return _ENTRIES.dump_json(ordered) + b"\n"  # the members of an entry are declared in their order


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


def files_of(folder: Path) -> list[tuple[str, str]]:
    """Relative posix name and path of every file under a folder, sorted by name.

    Raises:
        UsageError: a symlink, a device, a socket, a pipe, a name that cannot be kept everywhere, or it cannot be read.
    """
    try:
        found = sorted(_walk(str(folder), ""))
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be read ({error.strerror}): nothing was put") from error
    try:
        _check_names([name for name, _ in found])
    except ValueError as error:
        raise UsageError(f"{folder} cannot be kept as a tree: {error}. Rename it") from None
    return found


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as listing:
        for item in listing:
            if item.is_dir(follow_symlinks=False):
                yield from _walk(item.path, f"{prefix}{item.name}/")
            elif item.is_file(follow_symlinks=False):
                yield prefix + item.name, item.path
            else:
                kind = kind_of(item.stat(follow_symlinks=False).st_mode)
                raise UsageError(
                    f"{item.path} is {kind}; an artifact holds regular files and folders only: copy the "
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
        _check_spelling(name, spelled)
        above = name.rpartition("/")[0]
        while above and above not in folders:
            folders.add(above)
            _check_spelling(above, spelled)
            above = above.rpartition("/")[0]
    if both := sorted(files & folders):
        raise ValueError(f"{both[0]!r} is both a file and a folder")


def _check_spelling(name: str, spelled: dict[str, str]) -> None:
    other = spelled.setdefault(_folded(name), name)
    if other != name:
        raise ValueError(f"{other!r} and {name!r} clash where case or Unicode form is not kept apart")


def _folded(name: str) -> str:
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _check_name(name: str) -> None:
    if len(name) <= LONGEST_PART and _ORDINARY.fullmatch(name):  # nearly all, and there may be a hundred thousand
        return
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name!r} is not valid UTF-8") from None
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r} is not a relative path of plain parts")
    if _UNWANTED.search(name):
        raise ValueError(f"{name!r} holds a control character or a backslash")
    if len(parts) > DEEPEST:
        raise ValueError(f"{name[:40]!r}... is deeper than {DEEPEST} folders")
    if len(encoded) > LONGEST_NAME or any(len(part.encode()) > LONGEST_PART for part in parts):
        raise ValueError(f"{name[:40]!r}... is longer than {LONGEST_PART} bytes a part or {LONGEST_NAME} in all")
