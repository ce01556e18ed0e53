"""Garbage collection: what no run, pin, recent record or living lease names goes, and never anything young."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cxr_core.errors import DamagedArtifact
from cxr_core.store.artifacts import Artifacts
from cxr_core.store.damage import Quarantine
from cxr_core.store.disk import entries, fsync_folder, remove, translated
from cxr_core.store.layout import Layout
from cxr_core.store.leases import LeasesSeen
from cxr_core.store.locks import give, held, take
from cxr_core.store.naming import Namer, Needs, namers, origins, salvaged

DAY = 86_400.0
_T = TypeVar("_T")
REASONS = ("runs", "pins", "quarantine", "records", "leases", "young", "foreign")


@dataclass(frozen=True)
class Kept:
    """Blobs that one reason keeps, their bytes, and how many runs, pins, records or leases are that reason."""

    blobs: int
    bytes: int
    by: int


@dataclass(frozen=True)
class Removed:
    """Blobs that one output of a stage took, and their bytes; ``stage`` is empty where no record or run tells."""

    stage: str
    output: str
    blobs: int
    bytes: int


@dataclass(frozen=True)
class GcReport:
    """What went or would go, and why the rest stays.

    Digests, keys, run ids, paths under the root. ``removed``: the blobs by what they were, most bytes first.
    ``kept``: the blobs by the first of ``REASONS`` for which they stay.
    ``holders``: in words, who holds the living leases.
    """

    dry_run: bool
    forgotten_runs: tuple[str, ...]
    removed_blobs: tuple[str, ...]
    removed_bytes: int
    removed_records: tuple[str, ...]
    removed_leftovers: tuple[str, ...]
    removed: tuple[Removed, ...]
    kept: dict[str, Kept]
    kept_bytes: int
    holders: tuple[str, ...]


@dataclass
class Collector:
    """One pass over one store.

    Order: runs to ``forget`` and records before the blobs that they name, so that whatever instant this dies at,
    none is left that names what is gone. ``keep_days`` is the age at which a record alone keeps nothing
    any more; ``grace_seconds`` the age below which nothing goes: put, hit and pin make blobs young.
    What living leases hold is looked at anew whenever the store's lock is held to take something away.
    """

    layout: Layout
    artifacts: Artifacts
    quarantine: Quarantine
    dry_run: bool
    keep_days: float
    grace_seconds: float
    now: float = field(default_factory=time.time)
    forget: frozenset[str] = frozenset()
    drop_run: Callable[[str], None] = lambda run_id: None
    _leases: LeasesSeen = field(init=False)
    _needs: Needs = field(init=False)
    _live: dict[str, str] = field(default_factory=dict)
    _origin: dict[str, tuple[str, str]] = field(default_factory=dict)
    _leftovers: list[str] = field(default_factory=list)
    _by: Counter[str] = field(default_factory=Counter)
    _kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    _removed: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._leases = LeasesSeen(self.layout, self.dry_run)
        self._needs = Needs(self.artifacts)

    def run(self) -> GcReport:
        """Collects, or with ``dry_run`` tells what it would collect.

        Raises:
            DamagedArtifact: a run, pin or record is unreadable, so what it names is unknown: verify comes first.
            StoreError: the store cannot be written.
        """
        alone = held(self.layout.gc_lock, self.layout.root, holder="gc")
        with translated(self.layout.root, "collecting garbage"), nullcontext() if self.dry_run else alone:
            self._leases.sweep()
            old_records = self._roots()
            if not self.dry_run:
                for run_id in sorted(self.forget):
                    self.drop_run(run_id)
            records = [namer.name for namer in old_records if self._drop_record(namer)]
            if records and not self.dry_run:
                fsync_folder(self.layout.actions)
            blobs = self._sweep_blobs()
            self._sweep_tmp()
            self._sweep_work()
            self._sweep_locks()
            self._sweep_notes()
        return self._report(blobs, records)

    def _report(self, blobs: list[str], records: list[str]) -> GcReport:
        by = {**self._by, "leases": len(self._leases.holders)}
        removed = [Removed(*origin, *counts) for origin, counts in self._removed.items()]
        return GcReport(
            dry_run=self.dry_run,
            forgotten_runs=tuple(sorted(self.forget)),
            removed_blobs=tuple(blobs),
            removed_bytes=sum(row.bytes for row in removed),
            removed_records=tuple(records),
            removed_leftovers=tuple(self._leftovers),
            removed=tuple(sorted(removed, key=lambda row: (-row.bytes, row.stage, row.output))),
            kept={reason: Kept(*self._kept[reason], by.get(reason, 0)) for reason in REASONS if reason in self._kept},
            kept_bytes=sum(size for _, size in self._kept.values()),
            holders=tuple(self._leases.holders.values()),
        )

    def _roots(self) -> list[Namer]:
        """Finds what must stay; returns the records that need not."""
        found = list(namers(self.layout))
        for reason in ("runs", "pins"):
            for namer in found:
                if namer.room == reason and not self._forgotten(namer):
                    self._keep(self._needs.of_all(self._readable(namer).refs), reason)
                    self._by[reason] += 1
        self._keep(salvaged(self.layout, self._needs), "quarantine")
        old = []
        for namer in found:
            if namer.room == "actions":
                if self.now - self._readable(namer).written > self._record_age:
                    old.append(namer)
                else:
                    self._keep(self._needs.of_all(namer.refs), "records")
                    self._by["records"] += 1
        self._keep_leased()
        going = [namer for namer in old if not self._needed(namer)]
        for namer in [*going, *filter(self._forgotten, found)]:
            self._tell_origins(namer)
        return going

    def _forgotten(self, namer: Namer) -> bool:
        return namer.room == "runs" and namer.name in self.forget

    def _tell_origins(self, namer: Namer) -> None:
        with suppress(OSError, ValueError):  # it only gives what goes a name
            for stage, ref in origins(namer):
                for digest in self._needs.of(ref):
                    self._origin.setdefault(digest, (stage, ref.name))

    def _needed(self, namer: Namer) -> bool:
        """Whether all that a record names stays anyway; then so does the record, and a run that hit it has it still."""
        return self._needs.of_all(namer.refs) <= self._live.keys()

    @property
    def _record_age(self) -> float:
        return max(self.keep_days * DAY, self.grace_seconds)

    def _readable(self, namer: Namer) -> Namer:
        if namer.broken is not None:
            raise DamagedArtifact(
                f"{namer.path} cannot be read ({namer.broken}), so what it keeps is unknown and nothing was "
                "collected: run `cxr store verify` first"
            )
        return namer

    def _keep(self, digests: set[str], reason: str) -> None:
        for digest in digests:
            self._live.setdefault(digest, reason)

    def _keep_leased(self) -> None:
        for _, form, digest in self._leases.news():
            self._keep({digest} if form == "blob" else set(self._needs.of_tree(digest)), "leases")

    def _drop_record(self, namer: Namer) -> bool:
        if self.dry_run:
            return True
        with held(self.layout.store_lock, self.layout.root):
            self._keep_leased()
            if self._needed(namer) or not self._old(namer.path, self._record_age):
                return False  # hit or written anew since it was read
            return remove(namer.path)

    def _sweep_blobs(self) -> list[str]:
        removed: list[str] = []
        for shard in entries(self.layout.blobs):
            if len(shard) == 2:
                with held(self.layout.store_lock, self.layout.root):
                    self._keep_leased()
                    removed += sorted(self._sweep_shard(shard))
        return removed

    def _sweep_shard(self, shard: str) -> Iterator[str]:
        """The digest of each blob that goes. A hundred thousand pass here: no Path, one stat each."""
        youngest_to_go = self.now - self.grace_seconds
        with suppress(FileNotFoundError), os.scandir(self.layout.blobs / shard) as listing:
            for item in listing:
                digest = f"sha256:{shard}{item.name}"
                try:
                    found = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                reason = self._live.get(digest) or ("young" if found.st_mtime >= youngest_to_go else None)
                if reason or len(digest) != 71:
                    _count(self._kept, reason or "foreign", found.st_size)
                    continue
                if not self.dry_run:
                    remove(Path(item.path))
                _count(self._removed, self._origin.get(digest, ("", "")), found.st_size)
                yield digest

    def _sweep_tmp(self) -> None:
        age = max(self.grace_seconds, self.now - self._leases.since)  # younger than the oldest lease may be in use
        for name in entries(self.layout.tmp):
            if self._old(self.layout.tmp / name, age):
                self._drop(self.layout.tmp / name)

    def _sweep_work(self) -> None:
        for key in entries(self.layout.work):
            path = self.layout.work / key
            finished = (self.layout.actions / key).exists()
            if self._old(path, self.grace_seconds if finished else self._record_age):
                self._drop_if_free(path, self.layout.locks / key)

    def _sweep_locks(self) -> None:
        for name in entries(self.layout.locks):
            path = self.layout.locks / name
            if path not in (self.layout.store_lock, self.layout.gc_lock) and self._old(path, self.grace_seconds):
                self._drop_if_free(path, path)

    def _sweep_notes(self) -> None:
        for digest in self.quarantine.notes():
            if digest not in self._live:
                self._drop(self.layout.quarantine / "notes" / digest[7:])

    def _drop_if_free(self, path: Path, lock: Path) -> None:
        if not lock.exists():  # nobody can hold it, and a dry run must not make it
            self._drop(path)
        elif (descriptor := take(lock, timeout=0)) is not None:
            try:
                self._drop(path)
            finally:
                give(descriptor)

    def _drop(self, path: Path) -> None:
        self._leftovers.append(path.relative_to(self.layout.root).as_posix())
        if self.dry_run:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            remove(path)

    def _old(self, path: Path, seconds: float) -> bool:
        newest = max(_changes(path), default=self.now)  # gone meanwhile: not ours to take
        return self.now - newest > seconds


def _count(counts: dict[_T, tuple[int, int]], what: _T, size: int) -> None:
    blobs, total = counts.get(what, (0, 0))
    counts[what] = blobs + 1, total + size


def _changes(path: Path) -> Iterator[float]:
    """When a file, or a folder and all in it, was changed; whatever goes while this looks is passed over."""
    # os.walk and not rglob, which raises where a folder goes under it.
    for folder, folders, files in () if path.is_symlink() else os.walk(path):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                yield Path(folder, name).lstat().st_mtime
    with suppress(FileNotFoundError):
        yield path.lstat().st_mtime
