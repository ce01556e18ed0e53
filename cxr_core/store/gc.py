"""Garbage collection: what no run, pin or recent record names goes, and never anything young."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cxr_core.errors import DamagedArtifact
from cxr_core.store.artifacts import Artifacts
from cxr_core.store.damage import Quarantine
from cxr_core.store.disk import entries, fsync_folder, remove, translated
from cxr_core.store.layout import Layout
from cxr_core.store.locks import give, held, take
from cxr_core.store.naming import Namer, Needs, namers, salvaged

DAY = 86_400.0


@dataclass(frozen=True)
class GcReport:
    """What went or would go: digests, keys, paths under the root. ``kept``: blobs by first reason to stay."""

    dry_run: bool
    removed_blobs: tuple[str, ...]
    removed_bytes: int
    removed_records: tuple[str, ...]
    removed_leftovers: tuple[str, ...]
    kept: dict[str, int]
    kept_bytes: int


@dataclass
class Collector:
    """One pass over one store.

    Order: records before the blobs that they name, so that whatever instant this dies at, no record
    is left that names what is gone. ``keep_days`` is the age at which a record alone keeps nothing
    any more; ``grace_seconds`` the age below which nothing goes: put, hit and pin make blobs young.
    """

    layout: Layout
    artifacts: Artifacts
    quarantine: Quarantine
    dry_run: bool
    keep_days: float
    grace_seconds: float
    now: float = field(default_factory=time.time)
    _live: dict[str, str] = field(default_factory=dict)
    _leftovers: list[str] = field(default_factory=list)
    _kept: dict[str, int] = field(default_factory=dict)
    _kept_bytes: int = 0

    def run(self) -> GcReport:
        """Collects, or with ``dry_run`` tells what it would collect.

        Raises:
            DamagedArtifact: a run, pin or record is unreadable, so what it names is unknown: verify comes first.
            StoreError: the store cannot be written.
        """
        with translated(self.layout.root, "collecting garbage"):
            old_records = self._roots()
            records = [namer.name for namer in old_records if self._drop_record(namer)]
            if records and not self.dry_run:
                fsync_folder(self.layout.actions)
            blobs, size = self._sweep_blobs()
            self._sweep_tmp()
            self._sweep_work()
            self._sweep_locks()
            self._sweep_notes()
        return GcReport(
            self.dry_run, tuple(blobs), size, tuple(records), tuple(self._leftovers), self._kept, self._kept_bytes
        )

    def _roots(self) -> list[Namer]:
        needs = Needs(self.artifacts)
        found = list(namers(self.layout))
        for reason in ("runs", "pins"):
            for namer in found:
                if namer.room == reason:
                    self._keep(needs.of_all(self._readable(namer).refs), reason)
        self._keep(salvaged(self.layout, needs), "quarantine")
        old = []
        for namer in found:
            if namer.room == "actions":
                if self.now - self._readable(namer).written > self._record_age:
                    old.append(namer)
                else:
                    self._keep(needs.of_all(namer.refs), "records")
        return [namer for namer in old if not needs.of_all(namer.refs) <= self._live.keys()]

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

    def _drop_record(self, namer: Namer) -> bool:
        if self.dry_run:
            return True
        with held(self.layout.store_lock, self.layout.root):
            if not self._old(namer.path, self._record_age):
                return False  # written anew since it was read
            return remove(namer.path)

    def _sweep_blobs(self) -> tuple[list[str], int]:
        removed, size = [], 0
        for shard in entries(self.layout.blobs):
            names = entries(self.layout.blobs / shard) if len(shard) == 2 else []
            with held(self.layout.store_lock, self.layout.root):
                for name in names:
                    gone = self._sweep_blob(f"sha256:{shard}{name}", self.layout.blobs / shard / name)
                    if gone is not None:
                        removed.append(f"sha256:{shard}{name}")
                        size += gone
        return removed, size

    def _sweep_blob(self, digest: str, path: Path) -> int | None:
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
        young = self.now - found.st_mtime <= self.grace_seconds
        reason = self._live.get(digest) or ("young" if young else None)
        if reason or len(digest) != 71:
            self._kept[reason or "foreign"] = self._kept.get(reason or "foreign", 0) + 1
            self._kept_bytes += found.st_size
            return None
        if not self.dry_run:
            remove(path)
        return found.st_size

    def _sweep_tmp(self) -> None:
        for name in entries(self.layout.tmp):
            if self._old(self.layout.tmp / name, self.grace_seconds):
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
            if path != self.layout.store_lock and self._old(path, self.grace_seconds):
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
        newest = max((_changed(found) for found in _within(path)), default=self.now)
        return self.now - newest > seconds


def _within(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        yield from path.rglob("*")


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
