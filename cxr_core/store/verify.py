"""Verify: every blob hashed, every account read, and everything that they name looked for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cxr_core.errors import StoreError
from cxr_core.progress import Progress, silent
from cxr_core.refs import Ref
from cxr_core.store.artifacts import Artifacts
from cxr_core.store.blobs import Fault
from cxr_core.store.damage import LOST_NOTE, Quarantine
from cxr_core.store.disk import entries, translated
from cxr_core.store.layout import Layout
from cxr_core.store.naming import Namer, look_again, namers


@dataclass(frozen=True)
class Damage:
    """One thing found: a digest or a path under the root, why, and which runs, pins and records name it."""

    what: str
    reason: str
    named_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class VerifyReport:
    """What verify read and found. ``lost`` was noted before and is not counted as new."""

    blobs: int
    bytes: int
    records: int
    runs: int
    pins: int
    new_damage: tuple[Damage, ...]
    lost: tuple[Damage, ...]
    withdrawn: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 when there is new damage."""
        return 1 if self.new_damage else 0


@dataclass
class Verifier:
    """One pass over one store."""

    layout: Layout
    artifacts: Artifacts
    quarantine: Quarantine
    progress: Progress = silent
    _damage: list[Damage] = field(default_factory=list)
    _withdrawn: list[str] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: {"runs": 0, "pins": 0, "actions": 0})
    _whole: set[tuple[str, str, int]] = field(default_factory=set)
    _namers_of: dict[str, list[str]] = field(default_factory=dict)
    _first_reason: dict[str, Fault] = field(default_factory=dict)

    def run(self) -> VerifyReport:
        """Reads all, moves damage to quarantine, withdraws records, and tells.

        Raises:
            StoreError: the store cannot be read at all.
        """
        with translated(self.layout.root, "verifying"):
            self._notes()
            self._locks()
            noted = self.quarantine.notes()
            healthy, size = self._blobs()
            for namer in namers(self.layout):
                self._account(namer)
            self._report_faults(noted)
            lost = self._lost(noted)
        counts = self._counts
        return VerifyReport(
            healthy, size, counts["actions"], counts["runs"], counts["pins"],
            tuple(self._damage), lost, tuple(self._withdrawn),
        )  # fmt: skip

    def _lost(self, noted: dict[str, str]) -> tuple[Damage, ...]:
        """What was noted and is still not there, or not what an account says of it; other notes are dropped."""
        found, new = [], {damage.what for damage in self._damage}
        for digest, reason in noted.items():
            if self.artifacts.blobs.fault(digest) is None and digest not in self._first_reason:
                self.quarantine.forget(digest)
            elif digest not in new:
                found.append(Damage(digest, reason, tuple(self._namers_of.get(digest, ()))))
        return tuple(found)

    def _notes(self) -> None:
        for path, reason in self.quarantine.damaged_notes():
            self._damage.append(Damage(self._relative(path), self._moved(path, reason)))
            if re.fullmatch("[0-9a-f]{64}", path.name):
                self._note(Fault(f"sha256:{path.name}", "missing", LOST_NOTE))

    def _locks(self) -> None:
        for name in entries(self.layout.locks):
            path = self.layout.locks / name
            if path.is_symlink() or not path.is_file():
                self._damage.append(Damage(self._relative(path), self._moved(path, "is no lock file")))

    def _blobs(self) -> tuple[int, int]:
        shards = [(shard, entries(self.layout.blobs / shard)) for shard in self._shards()]
        total, healthy, size = sum(len(names) for _, names in shards), 0, 0
        for done, look in enumerate(self.artifacts.blobs.read_through(self._digests(shards)), 1):
            self.progress(done, total, "blobs")
            if look.fault is not None:
                self._damaged_blob(look.fault)
                continue
            healthy, size = healthy + 1, size + look.size
        return healthy, size

    def _shards(self) -> Iterator[str]:
        for shard in entries(self.layout.blobs):
            path = self.layout.blobs / shard
            if re.fullmatch("[0-9a-f]{2}", shard) and path.is_dir() and not path.is_symlink():
                yield shard
            else:
                self._foreign(path)

    def _digests(self, shards: list[tuple[str, list[str]]]) -> Iterator[tuple[str, None]]:
        for shard, names in shards:
            for name in names:
                if re.fullmatch("[0-9a-f]{62}", name):
                    yield f"sha256:{shard}{name}", None
                else:
                    self._foreign(self.layout.blobs / shard / name)

    def _damaged_blob(self, fault: Fault) -> None:
        if fault.kind == "missing":
            return  # collected since the folder was listed; whoever still names it is found below
        self._first_reason[fault.digest] = fault
        try:
            if not self.quarantine.take_blob(fault):
                del self._first_reason[fault.digest]
        except StoreError as error:
            self._first_reason[fault.digest] = Fault(fault.digest, "damaged", f"{fault.reason}; not moved: {error}")

    def _foreign(self, path: Path) -> None:
        self._damage.append(Damage(self._relative(path), self._moved(path, "has no place among the blobs")))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.layout.root).as_posix()

    def _account(self, namer: Namer | None) -> None:
        if namer is not None and namer.broken is not None:
            namer = look_again(namer, self.layout)
        if namer is None:
            return
        if namer.broken is not None:
            self._damage.append(Damage(self._relative(namer.path), self._moved(namer.path, namer.broken)))
            return
        self._counts[namer.room] += 1
        while faults := [fault for ref in namer.refs for fault in self._faults(ref)]:
            latest = look_again(namer, self.layout)
            if latest is None:
                return  # gc has just taken the account with its blobs
            if latest.refs == namer.refs:
                break
            namer = latest  # written anew since, and gc has taken what only the earlier one named
        else:
            return
        for fault in faults:
            self._first_reason.setdefault(fault.digest, fault)
            named = self._namers_of.setdefault(fault.digest, [])
            if f"{namer.room}/{namer.name}" not in named:
                named.append(f"{namer.room}/{namer.name}")
        if namer.room == "actions":
            self._moved(namer.path, "an output is missing or damaged")
            self._withdrawn.append(namer.name)

    def _faults(self, ref: Ref) -> list[Fault]:
        identity = (ref.form, ref.digest, ref.size)
        if identity in self._whole:
            return []
        # Looked at twice: a disk that fails once must cost no record.
        found = self.artifacts.faults(ref) and self.artifacts.faults(ref)
        if not found:
            self._whole.add(identity)
        return [self._or_a_lie(fault) for fault in found]

    def _or_a_lie(self, fault: Fault) -> Fault:
        """Where the blob itself is whole it is the ref that says another size or kind: what it names is not there."""
        whole = fault.kind == "damaged" and self.artifacts.blobs.fault(fault.digest, deep=True) is None
        return Fault(fault.digest, "missing", fault.reason) if whole else fault

    def _report_faults(self, noted: dict[str, str]) -> None:
        for digest, fault in self._first_reason.items():
            if digest in noted and fault.kind == "missing":
                continue
            named = tuple(self._namers_of.get(digest, ()))
            self._damage.append(Damage(digest, f"{fault.kind}: {fault.reason}", named))
            if fault.kind == "missing":
                self._note(fault, named)

    def _note(self, fault: Fault, named: tuple[str, ...] = ()) -> None:
        try:
            self.quarantine.note(fault)
        except StoreError as error:
            self._damage.append(Damage(fault.digest, f"its loss could not be noted: {error}", named))

    def _moved(self, path: Path, reason: str) -> str:
        try:
            self.quarantine.take_document(path, reason)
        except StoreError as error:
            return f"{reason}; not moved: {error}"
        return reason
