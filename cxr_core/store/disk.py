"""How bytes reach the disk: a temporary file, fsync, rename, fsync of the folder. Nothing half-written is visible."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cxr_core.errors import StoreError, StoreFull
from cxr_core.store.trees import kind_of

CHUNK = 1 << 20

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_EXPECTED = "expected a regular file"
_SILLY = ".nfs"  # what NFS leaves of an open file that was removed, until it is closed


@contextmanager
def translated(root: Path, doing: str, needed: int | None = None) -> Iterator[None]:
    """Turns what the operating system says into the store's own errors.

    Raises:
        StoreFull: no blocks, no inodes, over quota; with needed and available bytes.
        StoreError: read-only, forbidden, or a failing disk.
    """
    try:
        yield
    except OSError as error:
        raise _store_error(error, root, doing, needed) from error


def require_room(root: Path, doing: str, needed: int, files: int = 0, why: str = "") -> None:
    """Looks before anything is written. Quotas show only when they are met; what the system does not tell is enough.

    Raises:
        StoreFull: the file system has fewer bytes or inodes left than needed.
    """
    try:
        found = os.statvfs(root)
    except OSError:
        return
    no_bytes = bool(found.f_blocks) and needed > found.f_bavail * found.f_frsize
    if no_bytes or (found.f_files and files > found.f_favail):
        parts = [f"{needed:,} bytes", f" in {files:,} files" if files else "", f" ({why})" if why else ""]
        raise _full(root, doing, "".join(parts), os.strerror(errno.ENOSPC), files)


def _full(root: Path, doing: str, wanted: str, reason: str, files: int = 0) -> StoreFull:
    return StoreFull(
        f"store {root} is full while {doing}: needed {wanted}, available {_room(root, files)} ({reason}). "
        "Free space with `cxr store gc`, or name another store with --store or CXR_STORE"
    )


def _store_error(error: OSError, root: Path, doing: str, needed: int | None) -> StoreError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    place = f" at {error.filename}" if error.filename else ""
    if error.errno in _FULL:
        return _full(root, doing, "some bytes more" if needed is None else f"{needed:,} bytes", reason)
    if error.errno == errno.EROFS:
        return StoreError(
            f"store {root} cannot be written while {doing} ({reason}{place}). Remount it read-write, or name another "
            "store with --store or CXR_STORE"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return StoreError(
            f"store {root} is closed to this user while {doing} ({reason}{place}). Give this user the rights to it, "
            "or name another store with --store or CXR_STORE"
        )
    return StoreError(f"store {root} failed while {doing}: {reason}{place}. Check the disk and the path")


def _room(root: Path, files: int) -> str:
    try:
        found = os.statvfs(root)
    except OSError:
        return "unknown"
    # The failed file itself has given its inode back by now.
    inodes = f" but only {found.f_favail} inodes" if found.f_files and found.f_favail < max(16, files) else ""
    return f"{found.f_bavail * found.f_frsize:,} bytes{inodes}"


def make_folder(folder: Path) -> None:
    """The folder and its parents, each new entry made durable."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Makes new, renamed and removed entries of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Every byte, also where the kernel takes them in parts."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def temporary(folder: Path) -> Iterator[tuple[int, Path]]:
    """A new file open for reading and writing: descriptor and path. Gone at the end unless renamed away."""
    make_folder(folder)
    descriptor, name = new_file(folder)
    path = Path(name)
    try:
        yield descriptor, path
    finally:
        try:
            os.close(descriptor)  # a quota or a server may complain only here
        finally:
            path.unlink(missing_ok=True)


def read_file(path: Path) -> bytes:
    """The bytes of a regular file. No symlink is followed, no pipe is waited for.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise ValueError(f"is {'a symlink' if error.errno == errno.ELOOP else 'a socket'}, {_EXPECTED}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"is {kind_of(found.st_mode)}, {_EXPECTED}")
        parts = []
        while part := os.read(descriptor, found.st_size + 1):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def new_file(folder: Path | str) -> tuple[int, str]:
    """A new file of no other's, open for reading and writing: descriptor and path."""
    path = f"{folder}/{os.getpid()}-{secrets.token_hex(8)}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path


def write_atomic(target: Path, data: bytes, tmp: Path) -> None:
    """Old content or new content, never a part of either; the target's folder must be on the file system of ``tmp``."""
    make_folder(target.parent)
    with temporary(tmp) as (descriptor, path):
        write_all(descriptor, data)
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
        path.replace(target)
        fsync_folder(target.parent)


def remove(path: Path) -> bool:
    """Unlinks a file; False when it was gone already."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def entries(folder: Path) -> list[str]:
    """The names in a folder, sorted; none when there is no folder. NFS's own are left out."""
    try:
        found = os.listdir(folder)  # noqa: PTH208 - names only, and a folder may hold 100,000
        return sorted(name for name in found if not name.startswith(_SILLY))
    except FileNotFoundError:
        return []
