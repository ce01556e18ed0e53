"""The store's one face. What it promises stands in README.md beside this file."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any

from pydantic import JsonValue

from cxr_core.errors import DamagedArtifact, MissingArtifact, StoreError, UsageError
from cxr_core.progress import Progress, silent
from cxr_core.refs import Record, Ref
from cxr_core.store import adopting
from cxr_core.store import gc as collecting
from cxr_core.store import verify as verifying
from cxr_core.store.actions import Actions, StoredRecord
from cxr_core.store.artifacts import Artifacts, Facts, missing
from cxr_core.store.blobs import Blobs
from cxr_core.store.damage import Quarantine
from cxr_core.store.disk import make_folder, read_file, require_room, translated
from cxr_core.store.documents import refs_in
from cxr_core.store.keeping import keepers
from cxr_core.store.layout import Layout, checked_key, checked_name, open_layout
from cxr_core.store.leases import guard, lease, note
from cxr_core.store.locks import FlockTable, held
from cxr_core.store.naming import Needs
from cxr_core.store.pins import Pins
from cxr_core.store.runs import Run, Runs
from cxr_core.store.seals import digest_of
from cxr_core.store.trees import Entry
from cxr_core.store.usage import Named, Usage, usage
from cxr_core.store.why import Difference, Explanation, Parts, belongs, explanation, parameter


@dataclass(frozen=True)
class Row:
    """One record in a listing. ``written`` is an ISO time in UTC; ``whole`` says that every output is there."""

    key: str
    stage: str
    precision: JsonValue
    backend: JsonValue
    outputs: tuple[Ref, ...]
    bytes: int
    seconds: float
    written: str
    whole: bool


class Store:
    """Artifacts, records, runs and pins under one folder. Values go in and out as frozen refs and records.

    Safe for many threads and processes at once. Any method that writes raises StoreFull where there is
    no room and StoreError where the store cannot be written, besides what its own text names.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._blobs = Blobs(layout)
        self._artifacts = Artifacts(self._blobs)
        self._actions = Actions(layout, self._artifacts)
        self._runs = Runs(layout, self._artifacts)
        self._pins = Pins(layout, self._artifacts)
        self._quarantine = Quarantine(layout, self._blobs, self._artifacts, self._actions)

    @classmethod
    def open(cls, root: Path, *, create: bool = True) -> "Store":
        """The store at a folder, made there if need be.

        Raises:
            StoreError: none there and ``create`` is off, a newer format, or FORMAT damaged.
        """
        return cls(open_layout(root, create=create))

    @property
    def root(self) -> Path:
        """The store's folder, absolute and without symlinks."""
        return self._layout.root

    # Artifacts

    def put(self, path: Path, name: str, facts: Facts | None = None) -> Ref:
        """Stores a file as a blob or a folder as a tree; it is durable when this returns. Putting it again is free.

        A stored blob whose bytes went bad is replaced by the good ones.

        Raises:
            UsageError: the name is not plain, or symlinks, devices, clashing or odd names under the path.
        """
        return self._artifacts.put(path, name, facts)

    def put_bytes(self, data: bytes, name: str, facts: Facts | None = None) -> Ref:
        """Stores bytes as a blob. Raises as ``put``."""
        return self._artifacts.put_bytes(data, name, facts)

    def has(self, ref: Ref) -> bool:
        """Whether every blob that a ref needs is there with the right size. Reads no bytes but a tree's listing."""
        return not self._artifacts.faults(ref)

    def verify_ref(self, ref: Ref) -> None:
        """Reads and hashes all that a ref names. Damage goes to quarantine, and the records naming it are withdrawn.

        Under a lease, what was found whole stays.

        Raises:
            DamagedArtifact: bytes do not have their digest.
            MissingArtifact: a blob is not there.
        """
        with guard(self._layout):
            note(self._layout, ref.form, [ref.digest])
        faults = self._artifacts.faults(ref, deep=True)
        # Looked at twice: a disk that fails once must cost no record.
        damaged = [fault for fault in faults if fault.kind == "damaged" and self._is_damaged(fault.digest)]
        if not damaged:
            if faults:
                raise MissingArtifact(missing(ref, f"blob {faults[0].digest}: {faults[0].reason}"))
            return
        reasons = "; ".join(f"{fault.digest} {fault.reason}" for fault in damaged)
        message = f"artifact {ref.name} ({ref.form} {ref.digest}) is damaged: {reasons}. Run again to make it anew"
        try:
            # The records first: their need of a damaged listing's entries is readable only while it lies there.
            self._quarantine.withdraw({fault.digest for fault in damaged})
            for fault in damaged:
                self._quarantine.take_blob(fault)
        except StoreError as error:
            raise DamagedArtifact(f"{message}. It could not be moved to quarantine: {error}") from error
        raise DamagedArtifact(f"{message}; its bytes are in {self._layout.quarantine}")

    def _is_damaged(self, digest: str) -> bool:
        fault = self._blobs.fault(digest, deep=True)
        return fault is not None and fault.kind == "damaged"

    def path(self, ref: Ref) -> Path:
        """The file of a blob, not verified, for tools that open it read-only.

        Raises:
            StoreError: the ref names a tree.
            MissingArtifact: it is not there.
        """
        return self._artifacts.path(ref)

    def entries(self, ref: Ref) -> tuple[Entry, ...]:
        """The files of a tree, or the one file of a blob.

        Raises:
            MissingArtifact: the tree's listing is not there, or not whole.
        """
        try:
            return self._artifacts.entries(ref)
        except (OSError, ValueError) as error:
            raise MissingArtifact(missing(ref, f"its listing cannot be read: {error}")) from error

    def put_tree(self, entries: Iterable[Entry], name: str, facts: Facts | None = None) -> Ref:
        """Stores a tree of blobs that are in the store already; only its listing is written.

        Raises:
            UsageError: a name that no tree may have, or two that clash.
            MissingArtifact: one of the blobs is not there.
        """
        return self._artifacts.put_entries(entries, name, facts)

    def absent(self, sizes: Mapping[str, int]) -> set[str]:
        """Which of these blobs are not there with their size in bytes; gc leaves the others to a lease, and young."""
        with held(self._layout.store_lock, self.root, shared=True):
            found = {digest for digest, size in sizes.items() if self._blobs.fault(digest, size) is not None}
            note(self._layout, "blob", there := sizes.keys() - found)
            for digest in there:
                self._blobs.touch(digest)
        return found

    def adopt(self, digest: str, size: int, chunks: Iterable[bytes], unsynced: set[Path]) -> None:
        """Takes in bytes from elsewhere as the blob that they claim to be: hashed as they come, whole or not at all.

        Durable once ``settle`` has been given ``unsynced``, to which the blob's folder is added.

        Raises:
            DamagedArtifact: they are not that blob; nothing of them stays.
        """
        adopting.adopt(self._blobs, digest, size, chunks, unsynced)

    def settle(self, unsynced: set[Path]) -> None:
        """Makes durable what ``adopt`` took in. Before it returns, nothing may name it."""
        adopting.settle(self._blobs, unsynced)

    def checkout(self, ref: Ref, folder: Path) -> Path:
        """Verifies, then lays symlinks named by the ref into ``folder``; the path of the blob's link or tree's folder.

        Every byte is read: see docs/adr/0015.

        Raises:
            MissingArtifact, DamagedArtifact: as ``verify_ref``.
            StoreError: something else has that name already.
        """
        self.verify_ref(ref)
        return self._artifacts.link(ref, folder)

    def read_bytes(self, ref: Ref) -> bytes:
        """The bytes of a blob, and only if they have its digest.

        Raises:
            StoreError: the ref names a tree.
            MissingArtifact, DamagedArtifact: as ``verify_ref``.
        """
        path = self.path(ref)
        with translated(self.root, f"reading {ref.name}"):
            try:
                data = read_file(path)
            except FileNotFoundError:  # moved to quarantine or collected since the line above
                raise MissingArtifact(missing(ref, "no such file")) from None
            except ValueError:
                data = None
        if data is None or len(data) != ref.size or digest_of(data) != ref.digest:
            self.verify_ref(ref)
            return self.read_bytes(ref)  # repaired in between
        return data

    def require_room(self, doing: str, needed: int, files: int = 0, why: str = "") -> None:
        """Whether so many bytes in so many files have room, before any is written. ``why`` says how it is known.

        Raises:
            StoreFull: they have not.
        """
        require_room(self.root, doing, needed, files, why)

    # Work in progress

    def work(self, key: str) -> Path:
        """The folder for the checkpoints of an unfinished stage, made if need be."""
        folder = self._layout.work / checked_key(key)
        with translated(self.root, "making a work folder"):
            make_folder(folder)
        return folder

    def drop_work(self, key: str) -> None:
        """Removes that folder with all in it; nothing happens where there is none."""
        folder = self._layout.work / checked_key(key)
        with translated(self.root, "removing a work folder"):
            if folder.is_dir():
                rmtree(folder)

    # Records

    def write_action(self, key: str, content: bytes) -> None:
        """Stores what Prefect persists for a key: a JSON document with one Record. All or nothing.

        Raises:
            StoreError: not a record of this key, or one that names what is not there.
        """
        self._actions.write(key, content)

    def read_action(self, key: str) -> bytes:
        """What was written for a key, byte for byte, if it is whole and all its outputs are there.

        Raises:
            MissingArtifact: a miss, with the reason; all but plain absence is logged as a warning to ``cxr.store``.
        """
        return self._actions.read(key)

    def written(self, key: str) -> float:
        """When the record of a key was written, in seconds since 1970; 0 where there is none."""
        return self._actions.written(key)

    def record(self, key: str) -> Record:
        """The record of a key. Raises as ``read_action``."""
        return self._actions.record(key)

    def records(self) -> Iterator[Record]:
        """Every readable record by key; others are skipped with a warning. Outputs are not looked at."""
        return self._actions.records()

    def recent(self) -> Iterator[Record]:
        """Every readable record, newest file first, each read when it is asked for."""
        return self._actions.recent()

    def records_newest_first(self) -> list[StoredRecord]:
        """Every readable record with the time of its file, newest first."""
        return self._actions.newest_first()

    # Runs and pins

    def write_run(self, run_id: str, content: Mapping[str, Any]) -> None:
        """Writes a run's account; embed the records it speaks of. ``started`` (ISO time) orders the runs.

        Raises:
            UsageError: no plain id, no valid ``started``, or not plain JSON.
        """
        self._runs.write(run_id, content)

    def read_run(self, run_id: str) -> dict[str, Any]:
        """A run's account, with ``run_id`` in it; ``latest`` is the run that started last.

        Raises:
            UsageError: no such run.
            DamagedArtifact: its account is unreadable.
        """
        return self._runs.read(run_id)

    def runs(self) -> list[Run]:
        """Every readable run, the last started first."""
        return self._runs.newest_first()

    def drop_run(self, run_id: str) -> None:
        """Forgets a run; what only it named goes with the next gc.

        Raises:
            StoreError: the store cannot be written.
        """
        self._runs.drop(run_id)

    def run_folder(self, run_id: str) -> Path:
        """The run's folder, made if need be, for what people read: neither verified nor collected."""
        return self._runs.folder(run_id)

    def pin(self, name: str, refs: Iterable[Ref]) -> None:
        """Names artifacts as a root that gc keeps (``releases/2026-11``), in place of what the name stood for.

        Raises:
            UsageError: the name is not plain, or nothing to pin.
            MissingArtifact: one of them is not there.
        """
        self._pins.pin(name, refs)

    def unpin(self, name: str) -> None:
        """Takes a pin away.

        Raises:
            UsageError: no such pin.
        """
        self._pins.unpin(name)

    def pins(self) -> dict[str, tuple[Ref, ...]]:
        """Every readable pin by name."""
        return self._pins.all()

    # Locks and leases

    def lease(self, holder: str) -> AbstractContextManager[None]:
        """Holds a lease for a block: whatever this process puts, hits, verifies or pins meanwhile, gc leaves alone.

        It ends with the block, or with the process. ``holder`` is told to whoever asks what keeps things.

        Raises:
            StoreError: the store cannot be written.
        """
        return lease(self._layout, holder)

    def lock(
        self,
        name: str,
        *,
        timeout: float | None = None,
        holder: str | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> AbstractContextManager[None]:
        """Holds a named lock for a block; the kernel frees it at the holder's death. Not reentrant.

        ``timeout`` in seconds (None: waits for ever); ``on_wait`` is told once who holds it.

        Raises:
            StoreError: still held after the time; the message says by whom.
        """
        path = self.lock_table().path(checked_name(name, "lock name"))
        return held(path, self.root, timeout=timeout, holder=holder or name, on_wait=on_wait)

    def lock_table(self) -> FlockTable:
        """A new table of key locks on this store's files, for a lock manager. Keep one per process."""
        return FlockTable(self._layout.locks)

    # Care

    def verify(self, progress: Progress = silent) -> verifying.VerifyReport:
        """Hashes every blob and reads every account. New damage is moved to quarantine and its records withdrawn."""
        return verifying.Verifier(self._layout, self._artifacts, self._quarantine, progress).run()

    def gc(
        self, *, dry_run: bool, keep_days: float = 30, grace_seconds: float = 86_400, forget: Iterable[str] = ()
    ) -> collecting.GcReport:
        """Removes what no run, no pin and no record younger than ``keep_days`` names, and leftovers of dead processes.

        The runs to ``forget``, by id, count for gone; without ``dry_run`` they are dropped first.

        Nothing that a living process's lease holds goes, whatever the times. Nor anything younger than
        ``grace_seconds``; a put, a hit, a pin and a run make blobs young.

        Raises:
            DamagedArtifact: a run or pin is unreadable; verify first.
        """
        collector = collecting.Collector(
            self._layout, self._artifacts, self._quarantine, dry_run, keep_days, grace_seconds,
            forget=frozenset(forget), drop_run=self.drop_run,
        )  # fmt: skip
        return collector.run()

    def kept_by(self, ref: Ref) -> list[str]:
        """What keeps an artifact, or a part of it, from gc, in words: runs, pins, records and living leases."""
        return keepers(self._layout, self._artifacts, ref)

    def ls(self) -> list[Row]:
        """One row a readable record, newest first."""
        return [self._row(stored) for stored in self._actions.newest_first()]

    def du(self) -> Usage:
        """What takes the room: per stage, run and pin what is named, against what is on disk."""
        named: list[Named] = [("stage", record.stage, tuple(record.outputs.values())) for record in self.records()]
        named += [("run", run.run_id, tuple(refs_in(run.content))) for run in self.runs()]
        named += [("pin", name, refs) for name, refs in self.pins().items()]
        return usage(self._layout, Needs(self._artifacts), named)

    # Lineage

    def why(
        self, stage: str, *, precision: str | None = None, backend: str | None = None, record: Record | None = None
    ) -> list[Difference]:
        """What changed from the nearest earlier record to a stage's newest (or ``record``); empty when none is earlier.

        Raises:
            UsageError: no record of that stage, precision and backend; the message names the stages there are.
        """
        found = [stored.record for stored in self._actions.newest_first()]
        mine = [candidate for candidate in found if belongs(candidate, stage, precision, backend)]
        if record is None:
            if not mine:
                known = ", ".join(sorted({candidate.stage for candidate in found})) or "none"
                wanted = " ".join(filter(None, (stage, precision, backend)))
                raise UsageError(f"no record of {wanted} in the store at {self.root}; stages there: {known}")
            record = mine[0]
        keys = [candidate.key for candidate in mine]
        earlier = mine[keys.index(record.key) + 1 :] if record.key in keys else mine
        return list(explanation(record.parts, earlier).differences)

    def explain(self, subject: Record | Parts) -> Explanation:
        """The nearest other record of the same stage to a record, or to the parts of a key that has none yet.

        Precision and backend, where the parts name them, must agree.

        Raises:
            UsageError: the parts name no stage.
        """
        parts, key = (subject.parts, subject.key) if isinstance(subject, Record) else (subject, None)
        stage = subject.stage if isinstance(subject, Record) else parts.get("stage")
        if not isinstance(stage, str):
            raise UsageError(f"expected key parts with a stage, found {sorted(parts)}")
        wanted = [parameter(parts, name) for name in ("precision", "backend")]
        precision, backend = (value if isinstance(value, str) else None for value in wanted)
        found = (stored.record for stored in self._actions.newest_first() if stored.record.key != key)
        return explanation(parts, (other for other in found if belongs(other, stage, precision, backend)))

    def _row(self, stored: StoredRecord) -> Row:
        record = stored.record
        outputs = tuple(record.outputs.values())
        written = datetime.fromtimestamp(stored.written_ns / 1e9, UTC).isoformat(timespec="seconds")
        return Row(
            record.key, record.stage, parameter(record.parts, "precision"), parameter(record.parts, "backend"),
            outputs, sum(ref.size for ref in outputs), record.seconds, written, all(map(self.has, outputs)),
        )  # fmt: skip
