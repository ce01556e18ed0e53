"""Who names which artifacts: runs, pins and records, read once for verify and gc."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cxr_core.refs import Ref
from cxr_core.store.actions import record_from_file
from cxr_core.store.artifacts import Artifacts
from cxr_core.store.disk import entries, read_file
from cxr_core.store.documents import digests_in, refs_in
from cxr_core.store.layout import Layout
from cxr_core.store.pins import pin_files, read_pin
from cxr_core.store.runs import read_run


@dataclass(frozen=True)
class Namer:
    """A run, pin or record and the refs in it; or, where it cannot be read, why."""

    room: str
    name: str
    path: Path
    written: float
    refs: tuple[Ref, ...] = ()
    broken: str | None = None


def namers(layout: Layout) -> Iterator[Namer]:
    """Every run account, pin and record. ``written`` is the file's time in seconds since 1970."""
    for run_id in entries(layout.runs):
        folder = layout.runs / run_id
        if folder.is_dir() and not folder.is_symlink():
            yield from _namer("runs", run_id, folder / "run.json", layout)
        elif not run_id.startswith("."):
            yield Namer("runs", run_id, folder, 0.0, broken="expected the folder of a run")
    for path in pin_files(layout):
        yield from _namer("pins", path.relative_to(layout.pins).as_posix(), path, layout)
    for key in entries(layout.actions):
        yield from _namer("actions", key, layout.actions / key, layout)


def look_again(namer: Namer, layout: Layout) -> Namer | None:
    """The account as it reads now, None when it is gone: a disk may fail once, and a writer may just have been here."""
    return next(_namer(namer.room, namer.name, namer.path, layout), None)


def _namer(room: str, name: str, path: Path, layout: Layout) -> Iterator[Namer]:
    written = 0.0
    try:
        written = path.lstat().st_mtime
        yield Namer(room, name, path, written, _refs(room, path, layout))
    except FileNotFoundError:
        return  # not there yet, or just collected
    except (OSError, ValueError) as error:
        yield Namer(room, name, path, written, broken=str(error))


def _refs(room: str, path: Path, layout: Layout) -> tuple[Ref, ...]:
    if room == "runs":
        return tuple(refs_in(read_run(path).content))
    if room == "pins":
        return read_pin(path, layout)[1]
    return tuple(record_from_file(path).outputs.values())


def origins(namer: Namer) -> Iterator[tuple[str, Ref]]:
    """Stage and ref of every output that a record, or the records in a run's account, name.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    if namer.room == "actions":
        record = record_from_file(namer.path)
        yield from ((record.stage, ref) for ref in record.outputs.values())
    if namer.room == "runs":
        records = read_run(namer.path).content.get("records")
        for content in records.values() if isinstance(records, dict) else ():
            yield from ((str(content.get("stage")), ref) for ref in refs_in(content))


class Needs:
    """The blobs that refs need, each tree's listing read once."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._known: dict[tuple[str, str], frozenset[str]] = {}

    def of(self, ref: Ref) -> frozenset[str]:
        """The digests that a ref needs; of a tree without a readable listing, the listing's alone."""
        known = self._known.get((ref.form, ref.digest))
        if known is None:
            known = frozenset(self._artifacts.digests(ref))
            if len(known) > 1:  # a listing that could not be read may be there the next time
                self._known[(ref.form, ref.digest)] = known
        return known

    def of_tree(self, digest: str) -> frozenset[str]:
        """The digests that a tree needs; of what is no readable tree, itself alone."""
        return self.of(Ref(form="tree", digest=digest, size=0, name="tree"))

    def of_all(self, refs: tuple[Ref, ...]) -> set[str]:
        """The digests that any of the refs needs."""
        return set().union(*(self.of(ref) for ref in refs))


def salvaged(layout: Layout, needs: Needs) -> set[str]:
    """What the quarantined runs and pins still seem to name: gc keeps it while they lie there."""
    found: set[str] = set()
    for room in ("runs", "pins"):
        folder = layout.quarantine / room
        for name in entries(folder):
            with suppress(ValueError):  # no file, so nothing to be saved from
                for digest in digests_in(read_file(folder / name)):
                    found |= needs.of_tree(digest)
    return found
