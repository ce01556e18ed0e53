"""Making many new files durable: an fsync of each, or one syncfs for all of them where that is as good.

syncfs(2) writes out a whole file system. It is as good as an fsync of each file where it waits for the disk and
tells of failed writes: from Linux 5.8 on, on a local file system. Elsewhere (overlayfs hides failures of the
file system under it, FUSE may do nothing at all) each file is synced by itself.
"""

import ctypes
import functools
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cxr_core.store.disk import fsync_folder

FEW = 16  # up to so many files an fsync of each is as quick, and waits for nobody else's data

_LOCAL = {0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x01021994: "tmpfs"}


@dataclass(frozen=True)
class Syncer:
    """How the files of one put become durable. ``whole``: a descriptor of their file system, if all of it is synced."""

    whole: int | None

    def written(self, descriptor: int) -> None:
        """Call for each new file when its last byte is written."""
        if self.whole is None:
            os.fsync(descriptor)

    def files(self) -> None:
        """When this returns, every file that was ``written`` is durable, and so is every new folder."""
        if self.whole is not None:
            syncfs(self.whole)

    def folders(self, folders: Iterable[Path]) -> None:
        """When this returns, the names in these folders are durable."""
        if self.whole is not None:
            syncfs(self.whole)
            return
        for folder in folders:
            fsync_folder(folder)


@contextmanager
def syncing(folder: Path, files: int) -> Iterator[Syncer]:
    """For so many new files on the file system of a folder. Enter before the first write: syncfs tells of failed
    writes since the descriptor was opened."""
    if files <= FEW or not syncfs_suffices(folder):
        yield Syncer(None)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Syncer(descriptor)
    finally:
        os.close(descriptor)


def syncfs_suffices(folder: Path) -> bool:
    """Whether syncfs is as good as an fsync of each file there."""
    system = os.uname()
    version = re.match(r"(\d+)\.(\d+)", system.release)
    if system.sysname != "Linux" or version is None or (int(version[1]), int(version[2])) < (5, 8):
        return False
    found = ctypes.create_string_buffer(512)  # struct statfs, whose first member is the type
    if _libc().statfs(os.fsencode(folder), found):
        return False
    return ctypes.c_ulong.from_buffer(found).value in _LOCAL


def syncfs(descriptor: int) -> None:
    """Waits until all of a file system is on disk.

    Raises:
        OSError: some write to it failed since the descriptor was opened, ours or another's.
    """
    if _libc().syncfs(descriptor):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def start_writing(descriptor: int, offset: int, size: int) -> None:
    """Asks the kernel to begin writing out a part of a file, where it can be asked. Promises nothing."""
    if hasattr(_libc(), "sync_file_range"):
        _libc().sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(size), 2)  # ..._WRITE


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
