"""Pull: what this store lacks comes from the mirror, hashed as it arrives; blobs, listings, records, runs, pins."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic_core import from_json

from cxr_core.errors import DamagedArtifact, MirrorError, MissingArtifact, UsageError
from cxr_core.mirror.documents import ROOMS, Document, Left, Needs, Report, place_of, refs_in_document, verdict
from cxr_core.mirror.pushing import Choose, apart
from cxr_core.mirror.remote import Mirror, blob_path, document_path
from cxr_core.mirror.transfer import JOBS, Meter, each
from cxr_core.progress import Progress, silent
from cxr_core.refs import Ref
from cxr_core.store import Store
from cxr_core.store.disk import require_room, translated
from cxr_core.store.layout import Layout
from cxr_core.store.runs import run_from_bytes
from cxr_core.store.seals import digest_of, unsealed
from cxr_core.store.trees import Entry, entries_from_bytes


def pull(
    store: Store,
    mirror: Mirror,
    *,
    choose: Choose | None = None,
    force: bool = False,
    jobs: int = JOBS,
    progress: Progress = silent,
) -> Report:
    """Takes in what this store lacks of all that the mirror has, or of what ``choose`` chooses of its documents.

    A record here that is whole stays, whatever the mirror has; with ``force`` the mirror's records, runs and pins
    take the place of those that differ.

    Raises:
        MirrorError: it cannot be reached, has a newer format, or there is none.
        UsageError: it is the store itself, or ``choose`` finds nothing.
        StoreFull, StoreError: the store cannot be written.
    """
    apart(store, mirror)
    usable(mirror)
    with _scratch(store) as folder:
        return _Pull(store, mirror, Layout(Path(folder)), Meter(progress), force, jobs).run(choose)


def usable(mirror: Mirror) -> Mirror:
    """The mirror, if there is one that this version reads.

    Raises:
        MirrorError: it cannot be reached, has a newer format, or there is none.
    """
    if mirror.format() is None:
        raise MirrorError(f"no mirror at {mirror.url}: push to it first, or name another")
    return mirror


def pull_record(store: Store, mirror: Mirror, key: str, meter: Meter, jobs: int = JOBS) -> Report | None:
    """Takes in the record of a key and what it names; None where the mirror has none.

    Raises:
        MirrorError: it cannot be reached.
        Stopped: the meter was told to stop.
    """
    document = Document("actions", key)
    with _scratch(store) as folder:
        pull = _Pull(store, mirror, Layout(Path(folder)), meter, False, jobs)
        try:
            pull.fetch(document)
        except FileNotFoundError:
            return None
        return pull.take([document])


def pull_run(store: Store, mirror: Mirror, run_id: str) -> Report:
    """Takes in a run's account, its records and what they name, without a listing of the mirror.

    Raises:
        MissingArtifact: the mirror has no such run.
        MirrorError: it cannot be reached, or what it has there is no run.
    """
    run = Document("runs", run_id)
    with _scratch(store) as folder:
        pull = _Pull(store, mirror, Layout(Path(folder)), Meter(silent), False, JOBS)
        try:
            pull.fetch(run)
        except FileNotFoundError:
            raise MissingArtifact(f"mirror {mirror.url} has no run {run_id}") from None
        try:
            content = run_from_bytes(place_of(pull.scratch, run).read_bytes(), run_id).content
        except ValueError as error:
            raise MirrorError(
                f"run {run_id} in mirror {mirror.url} cannot be read: {error}. {pull._mend(run)}"
            ) from error
        records = [Document("actions", str(key)) for key in content.get("records", {})]
        return pull.take(pull._fetched([*records, run]))


def _scratch(store: Store) -> "tempfile.TemporaryDirectory[str]":
    with translated(store.root, "making a folder for the mirror's documents"):
        # A thread that was told to stop may still be writing there while it is removed.
        return tempfile.TemporaryDirectory(dir=store.root / "tmp", prefix="mirror-", ignore_cleanup_errors=True)


@dataclass
class _Pull:
    """One pull. ``scratch`` is where documents and listings of the mirror lie until what they name is here."""

    store: Store
    mirror: Mirror
    scratch: Layout
    meter: Meter
    force: bool
    jobs: int
    needs: Needs = field(default_factory=Needs)
    failed: dict[str, str] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    taken: list[Document] = field(default_factory=list)
    namers: dict[str, Document] = field(default_factory=dict)

    def run(self, choose: Choose | None) -> Report:
        """All of it."""
        listing = self.mirror.listing(*ROOMS)
        self.left += [Left(path, "has no place in a mirror", "remove it there") for path in listing.odd]
        there = sorted(listing.documents)
        return self.take(self._chosen(there, choose) if choose else self._fetched(there))

    def fetch(self, document: Document) -> None:
        """Puts a document into the scratch folder, unread.

        Raises:
            FileNotFoundError: the mirror does not have it.
        """
        _keep(place_of(self.scratch, document), self.mirror.read(document_path(document)))

    def take(self, documents: Iterable[Document]) -> Report:
        """Takes in these fetched documents, once what they name is here."""
        named = [document for document in documents if self._may_come(document)]
        refs = {(ref.form, ref.digest, ref.size): ref for one in named for ref in self._name(one)}.values()
        self._read_listings({ref.digest for ref in refs if ref.form == "tree"})
        for ref in refs:
            self._need(ref)
        unsynced: set[Path] = set()
        try:
            self._take_blobs(unsynced)
        finally:
            self.store.settle(unsynced)  # of a pull that breaks here, the next one finds them
        self._take_listings()
        for room in ROOMS:
            of_room = [document for document in named if document.room == room]
            self._leave(each(of_room, self._write, self.jobs, self.meter.stop))
        return Report.of(self.meter.files, self.meter.size, self.taken, self.left)

    @property
    def _layout(self) -> Layout:
        return Layout(self.store.root)

    # Which documents

    def _chosen(self, there: list[Document], choose: Choose) -> list[Document]:
        """By name: the runs and pins tell most names; where they do not, every record is asked for."""
        self._fetched([document for document in there if document.room != "actions"], everything=True)
        catalogue = Store(self.scratch)
        try:
            chosen = choose(catalogue)
        except UsageError:
            self._fetched([document for document in there if document.room == "actions"], everything=True)
            try:
                chosen = choose(catalogue)
            except UsageError as error:
                said = str(error).replace(str(self.scratch.root), f"mirror {self.mirror.url}")
                raise UsageError(said) from None
        if wanted := [document for document in there if document in chosen]:
            return self._fetched(wanted)
        raise UsageError(f"mirror {self.mirror.url} has no record, run or pin of that any more: name a run or a pin")

    def _fetched(self, documents: list[Document], *, everything: bool = False) -> list[Document]:
        """Those that came. Each is asked for once; a record that is whole here only with ``everything``."""
        wanted = [document for document in documents if everything or not self._is_whole(document)]
        asked = [document for document in wanted if not place_of(self.scratch, document).exists()]

        def fetch(document: Document) -> None:
            try:
                self.fetch(document)
            except FileNotFoundError:
                raise MissingArtifact("it was there a moment ago and is not now") from None

        failed = each(asked, fetch, self.jobs, self.meter.stop)
        self._leave(failed)
        return [document for document in wanted if document not in failed]

    def _is_whole(self, document: Document) -> bool:
        if document.room != "actions" or self.force:
            return False
        try:
            self.store.read_action(document.name)
        except MissingArtifact:
            return False
        return True

    def _may_come(self, document: Document) -> bool:
        """Whether it is what it says, and does not have to stay behind one that is here."""
        coming = place_of(self.scratch, document).read_bytes()
        try:
            refs_in_document(document, coming)
            if self.force or document.room == "actions":
                return True  # of records only those were fetched that are no hit here
            found = verdict(document, place_of(self._layout, document).read_bytes(), coming)
        except FileNotFoundError:
            return True
        except (OSError, ValueError) as error:
            self._leave({document: str(error)})
            return False
        if found.why:
            mend = "--force puts the mirror's in its place"
            self.left.append(Left(str(document), f"{found.why}; this store's stays", mend))
        return found.word != "stay"  # also for one that is the same: what it names may be lost here

    def _leave(self, failed: dict[Document, str]) -> None:
        self.left += [Left(str(one), failed[one], self._mend(one)) for one in sorted(failed)]

    def _mend(self, document: Document) -> str:
        return f"from a store that has it whole: cxr store push {self.mirror.url} {document.name} --force"

    # What they need

    def _name(self, document: Document) -> tuple[Ref, ...]:
        refs = self._refs(document)
        for ref in refs:
            self.namers.setdefault(ref.digest, document)
        return refs

    def _refs(self, document: Document) -> tuple[Ref, ...]:
        return refs_in_document(document, place_of(self.scratch, document).read_bytes())

    def _read_listings(self, digests: set[str]) -> None:
        """The listings of trees: those here are read here, others wait in the scratch folder."""

        def read(digest: str) -> None:
            try:
                self.needs.listings[digest] = _listed(self._layout.blob(digest).read_bytes(), digest)
            except (OSError, DamagedArtifact):
                data = self._read(digest)
                self.needs.listings[digest] = _listed(data, digest)
                _keep(self.scratch.blob(digest), data)

        self._fail(each(sorted(digests), read, self.jobs, self.meter.stop))

    def _read(self, digest: str) -> bytes:
        try:
            return self.mirror.read(blob_path(digest))
        except FileNotFoundError:
            raise MissingArtifact("it is not in the mirror") from None

    def _need(self, ref: Ref) -> None:
        if ref.digest in self.failed:
            return
        blob = (Entry(digest=ref.digest, name=ref.name, size=ref.size),)
        entries = self.needs.listings[ref.digest] if ref.form == "tree" else blob
        for entry in entries:
            self.namers.setdefault(entry.digest, self.namers[ref.digest])
        try:
            self.needs.add(ref, entries)
        except DamagedArtifact as error:
            self._fail({ref.digest: str(error)})

    # What comes

    def _take_blobs(self, unsynced: set[Path]) -> None:
        missing = sorted(self.store.absent(self.needs.files))
        needed = sum(self.needs.files[digest] for digest in missing)
        require_room(self.store.root, "pulling", needed, len(missing))
        self.meter.expect(len(missing), needed)

        def take(digest: str) -> None:
            size = self.needs.files[digest]
            chunks = self.meter.watched(self.mirror.chunks(blob_path(digest), size))
            self.store.adopt(digest, size, chunks, unsynced)
            self.meter.arrived(size)

        self._fail(each(missing, take, self.jobs, self.meter.stop))

    def _take_listings(self) -> None:
        """Each after its files; one whose files did not all come stays out."""
        unsynced: set[Path] = set()
        for digest, entries in sorted(self.needs.listings.items()):
            lost = next((entry for entry in entries if entry.digest in self.failed), None)
            waiting = self.scratch.blob(digest)
            if lost:
                self.failed.setdefault(digest, f"its file {lost.name} did not come: {self.failed[lost.digest]}")
            elif waiting.exists():
                data = waiting.read_bytes()
                self.meter.expect(1, len(data))
                self.store.adopt(digest, len(data), self.meter.watched([data]), unsynced)
                self.meter.arrived(len(data))
        self.store.settle(unsynced)

    def _fail(self, failed: dict[str, str]) -> None:
        self.failed |= failed
        self.left += [Left(f"blob {one}", failed[one], self._mend(self.namers[one])) for one in sorted(failed)]

    def _write(self, document: Document) -> None:
        """Writes a document into the store, unless what it names is not here.

        Raises:
            MissingArtifact: it cannot be promised.
        """
        data, refs = place_of(self.scratch, document).read_bytes(), self._refs(document)
        if reason := self.needs.first_of(refs, self.failed):
            raise MissingArtifact(reason)
        if lost := next((ref for ref in refs if not self.store.has(ref)), None):
            raise MissingArtifact(f"{lost.name} ({lost.digest}) came, and is not whole here: pull again")
        here = place_of(self._layout, document)
        if here.exists() and here.read_bytes() == data:
            return
        if document.room == "actions":
            self.store.write_action(document.name, unsealed(data))
        elif document.room == "runs":
            self.store.write_run(document.name, from_json(unsealed(data)))
        else:
            self.store.pin(document.name, refs)
        self.taken.append(document)


def _keep(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _listed(data: bytes, digest: str) -> tuple[Entry, ...]:
    """The entries in the bytes of a tree's listing.

    Raises:
        DamagedArtifact: other bytes, or no listing that a tree may have.
    """
    if digest_of(data) != digest:
        raise DamagedArtifact(f"its bytes are {digest_of(data)}")
    try:
        return entries_from_bytes(data)
    except ValueError as error:
        raise DamagedArtifact(str(error)) from None
