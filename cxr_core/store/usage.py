"""What takes the room: artifacts as often as they are named, against the blobs that are there once."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxr_core.refs import Ref
from cxr_core.store.disk import entries, translated
from cxr_core.store.layout import FOLDERS, Layout
from cxr_core.store.naming import Needs

_BLOCK = 512  # bytes; the unit of st_blocks, whatever the file system's own is

Kind = Literal["stage", "run", "pin"]


@dataclass(frozen=True)
class Share:
    """What a stage's records, a run or a pin names. All in bytes.

    ``logical``: its artifacts, each as often as it is named. ``disk``: its blobs on disk, each once. ``alone``: those
    of them that no other stage, or no other run and no other pin, names: what its end would free.
    """

    kind: Kind
    name: str
    artifacts: int
    logical: int
    disk: int
    alone: int


@dataclass(frozen=True)
class Usage:
    """A store's room, in bytes. ``logical`` is the sum over all shares of runs and pins and of the records.

    ``size`` and ``disk``: all blobs by their length, and by what they take on disk. ``unnamed``: of ``disk``, what no
    record, run or pin names. ``beside``: what the other folders take on disk.
    """

    logical: int
    blobs: int
    size: int
    disk: int
    unnamed: int
    shares: tuple[Share, ...]
    beside: dict[str, int]


Named = tuple[Kind, str, tuple[Ref, ...]]


def usage(layout: Layout, needs: Needs, named: Iterable[Named]) -> Usage:
    """Who takes what. Several entries of one kind and name are one share.

    Raises:
        StoreError: the store cannot be read.
    """
    refs: dict[tuple[Kind, str], list[Ref]] = {}
    for kind, name, its in named:
        refs.setdefault((kind, name), []).extend(its)
    digests = {one: needs.of_all(tuple(its)) for one, its in refs.items()}
    times = {of_stages: Counter[str]() for of_stages in (True, False)}
    for (kind, _), its_digests in digests.items():
        times[kind == "stage"].update(its_digests)
    with translated(layout.root, "measuring what takes the room"):
        blobs = dict(_blobs(layout))
        beside = {path.name: _disk_under(path) for path in _beside(layout)}

    def disk(some: Iterable[str]) -> int:
        return sum(blobs[digest][1] for digest in some if digest in blobs)

    shares = [
        Share(
            kind, name, len(its), sum(ref.size for ref in its), disk(digests[kind, name]),
            disk(digest for digest in digests[kind, name] if times[kind == "stage"][digest] == 1),
        )
        for (kind, name), its in refs.items()
    ]  # fmt: skip
    return Usage(
        logical=sum(share.logical for share in shares),
        blobs=len(blobs),
        size=sum(size for size, _ in blobs.values()),
        disk=disk(blobs),
        unnamed=disk(blobs.keys() - times[True].keys() - times[False].keys()),
        shares=tuple(sorted(shares, key=lambda share: (share.kind, -share.disk, share.name))),
        beside=beside,
    )


def _blobs(layout: Layout) -> Iterator[tuple[str, tuple[int, int]]]:
    for shard in entries(layout.blobs):
        for path, found in _files(layout.blobs / shard):
            yield f"sha256:{shard}{path.name}", (found.st_size, found.st_blocks * _BLOCK)


def _beside(layout: Layout) -> Iterator[Path]:
    for name in entries(layout.root):
        if name != FOLDERS[0].partition("/")[0]:
            yield layout.root / name


def _disk_under(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        return sum(found.st_blocks * _BLOCK for _, found in _files(path))
    return path.lstat().st_blocks * _BLOCK


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every file under a folder that is still there when it is looked at."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                yield path, path.lstat()
            except FileNotFoundError:
                continue
