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
from cxr_core.store.damage import Quarantine
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
            noted = self.quarantine.notes()
            healthy, size = self._blobs(noted)
            for namer in namers(self.layout):
                self._account(namer)
            self._report_faults(noted)
        lost = tuple(
            Damage(digest, reason, tuple(self._namers_of.get(digest, ())))
            for digest, reason in noted.items()
            if self.artifacts.blobs.fault(digest) is not None and digest not in {d.what for d in self._damage}
        )
        counts = self._counts
        return VerifyReport(
            healthy, size, counts["actions"], counts["runs"], counts["pins"],
            tuple(self._damage), lost, tuple(self._withdrawn),
        )  # fmt: skip

    def _blobs(self, noted: dict[str, str]) -> tuple[int, int]:
        shards = [(shard, entries(self.layout.blobs / shard)) for shard in self._shards()]
        total, healthy, size = sum(len(names) for _, names in shards), 0, 0
        for done, look in enumerate(self.artifacts.blobs.read_through(self._digests(shards)), 1):
            self.progress(done, total, "blobs")
            if look.fault is not None:
                self._damaged_blob(look.fault)
                continue
            healthy, size = healthy + 1, size + look.size
            if look.digest in noted:
                self.quarantine.forget(look.digest)
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
        relative = path.relative_to(self.layout.root).as_posix()
        self._damage.append(Damage(relative, self._moved(path, "has no place among the blobs")))

    def _account(self, namer: Namer) -> None:
        if namer.broken is not None:
            relative = namer.path.relative_to(self.layout.root).as_posix()
            self._damage.append(Damage(relative, self._moved(namer.path, namer.broken)))
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
        if not (faults := self.artifacts.faults(ref)):
            self._whole.add(identity)
        return faults

    def _report_faults(self, noted: dict[str, str]) -> None:
        for digest, fault in self._first_reason.items():
            if digest in noted and fault.kind == "missing":
                continue
            named = tuple(self._namers_of.get(digest, ()))
            self._damage.append(Damage(digest, f"{fault.kind}: {fault.reason}", named))
            if fault.kind == "missing":
                try:
                    self.quarantine.note(fault)
                except StoreError as error:
                    self._damage.append(Damage(digest, f"its loss could not be noted: {error}", named))

    def _moved(self, path: Path, reason: str) -> str:
        try:
            self.quarantine.take_document(path, reason)
        except StoreError as error:
            return f"{reason}; not moved: {error}"
        return reason
