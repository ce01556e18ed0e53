"""Push: what the mirror lacks goes there, blobs first, then listings of trees, records, runs and pins."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cxr_core.errors import DamagedArtifact, MirrorError, MissingArtifact, UsageError
from cxr_core.mirror.documents import (
    ROOMS,
    Document,
    Left,
    Needs,
    Report,
    documents_in,
    place_of,
    refs_in_document,
    verdict,
)
from cxr_core.mirror.remote import PART, Listing, Mirror, blob_path, document_path
from cxr_core.mirror.transfer import JOBS, Meter, each
from cxr_core.progress import Progress, silent
from cxr_core.refs import Ref
from cxr_core.store import Store
from cxr_core.store.layout import Layout
from cxr_core.store.migration import FORMAT

Choose = Callable[[Store], set[Document]]
"""Which documents are wanted of a store, or of a mirror's documents laid out as one.

Raises UsageError where it finds nothing of the name that it was asked for.
"""

_VERIFY = "run `cxr store verify`, then compute it anew"


def push(
    store: Store,
    mirror: Mirror,
    *,
    choose: Choose | None = None,
    force: bool = False,
    jobs: int = JOBS,
    progress: Progress = silent,
) -> Report:
    """Sends what the mirror lacks of all that records, runs and pins name, or of what ``choose`` chooses.

    ``force`` sends what is there already too, and replaces records, runs and pins that differ.

    Raises:
        MirrorError: it cannot be reached or written, or has a newer format.
        UsageError: it is the store itself, or ``choose`` finds nothing.
    """
    apart(store, mirror)
    return _Push(store, mirror, force, jobs, Meter(progress)).run(choose)


def apart(store: Store, mirror: Mirror) -> None:
    """Refuses a mirror that is the store, or in it, or around it.

    Raises:
        UsageError: it is.
    """
    if mirror.folder is None:
        return
    folder = mirror.folder.resolve()
    if folder == store.root or folder in store.root.parents or store.root in folder.parents:
        raise UsageError(f"mirror {mirror.url} and the store at {store.root} lie in one another: name another folder")


@dataclass
class _Push:
    store: Store
    mirror: Mirror
    force: bool
    jobs: int
    meter: Meter
    needs: Needs = field(default_factory=Needs)
    failed: dict[str, str] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    sent: list[Document] = field(default_factory=list)
    there: Listing = field(default_factory=Listing)

    def run(self, choose: Choose | None) -> Report:
        documents = sorted(choose(self.store)) if choose else documents_in(self._layout)
        named = [document for document in documents if self._add(document)]
        if choose and not named and not self.left:
            raise UsageError(f"the store at {self.store.root} has no record, run or pin of that any more: name another")
        format_there = self.mirror.format()
        self.there = self.mirror.listing("blobs", *ROOMS)
        if format_there is None:
            self._begin()
        self._send(self.needs.files.keys() - self.needs.listings.keys())
        self._send({digest for digest in self.needs.listings if not self._lacks(digest)})
        for room in ROOMS:
            of_room = [document for document in named if document.room == room]
            failed = each(of_room, self._write, self.jobs, self.meter.stop)
            self.left += [Left(str(document), reason, _VERIFY) for document, reason in failed.items()]
        self.left += [Left(path, "has no place in a mirror", "remove it there") for path in self.there.odd]
        self.left += [Left(f"blob {digest}", reason, _VERIFY) for digest, reason in self.failed.items()]
        return Report.of(self.meter.files, self.meter.size, self.sent, self.left)

    @property
    def _layout(self) -> Layout:
        return Layout(self.store.root)

    def _begin(self) -> None:
        # Another who pushes for the first time writes FORMAT before any content, hence the second look.
        if (self.there.blobs or self.there.documents) and self.mirror.format() is None:
            raise MirrorError(
                f"mirror {self.mirror.url} has content but no FORMAT file: restore it (this version writes {FORMAT}), "
                "or name another mirror"
            )
        self.mirror.write("FORMAT", [f"{FORMAT}\n".encode()], 2)

    def _add(self, document: Document) -> bool:
        """Whether it can be read; what it needs is then among the needs."""
        try:
            data = place_of(self._layout, document).read_bytes()
            self._need(refs_in_document(document, data))
        except FileNotFoundError:
            return False  # collected since it was listed
        except (OSError, ValueError, UsageError, DamagedArtifact, MissingArtifact) as error:
            self.left.append(Left(str(document), str(error), _VERIFY))
            return False
        return True

    def _need(self, refs: Iterable[Ref]) -> None:
        for ref in refs:
            self.needs.add(ref, self.needs.listings.get(ref.digest) or self.store.entries(ref))

    def _lacks(self, digest: str) -> bool:
        """Whether a tree lacks a file, so that its listing must not go before it."""
        lost = next((entry for entry in self.needs.listings[digest] if entry.digest in self.failed), None)
        if lost:
            self.failed[digest] = f"its file {lost.name} cannot be sent: {self.failed[lost.digest]}"
        return lost is not None

    def _send(self, digests: Iterable[str]) -> None:
        sizes = {digest: self._size(digest) for digest in digests}
        missing = [d for d, size in sorted(sizes.items()) if self.force or self.there.blobs.get(d) != size]
        self.meter.expect(len(missing), sum(sizes[digest] for digest in missing))

        def send(digest: str) -> None:
            file = self._layout.blob(digest)
            chunks = self.meter.watched(proven(file, digest))
            self.mirror.write(blob_path(digest), chunks, sizes[digest], 0o444)
            self.meter.arrived(sizes[digest])

        self.failed |= each(missing, send, self.jobs, self.meter.stop)

    def _size(self, digest: str) -> int:
        if digest not in self.needs.listings:
            return self.needs.files[digest]
        try:
            return self._layout.blob(digest).stat().st_size
        except FileNotFoundError:
            return 0  # the same is found, and told, when it is read

    def _write(self, document: Document) -> None:
        """Sends a document, unless what it names is not there, or what is there must stay.

        Raises:
            DamagedArtifact, MissingArtifact: it cannot be promised.
        """
        data, refs = self._now(document)
        if reason := self.needs.first_of(refs, self.failed):
            raise MissingArtifact(reason)
        if document in self.there.documents and not self.force and not self._replaces(document, data):
            return
        self.mirror.write(document_path(document), [data], len(data))
        self.sent.append(document)

    def _now(self, document: Document) -> tuple[bytes, tuple[Ref, ...]]:
        """Its bytes, and what they name: a run that goes on may by now name more than was sent."""
        try:
            data = place_of(self._layout, document).read_bytes()
            refs = refs_in_document(document, data)
        except (OSError, ValueError) as error:
            raise MissingArtifact(f"cannot be read any more: {error}") from error
        if any(ref.digest not in self.needs.files and ref.digest not in self.needs.listings for ref in refs):
            raise MissingArtifact("it was written anew while this push went on: push again")
        return data, refs

    def _replaces(self, document: Document, data: bytes) -> bool:
        """Whether it goes in place of the one that is there. A record of the same size is not even read: it stays."""
        if document.room == "actions" and self.there.documents[document] == len(data):
            return False
        try:
            found = verdict(document, self.mirror.read(document_path(document)), data)
        except FileNotFoundError:
            return True
        if found.why:
            mend = "--force puts this store's in its place"
            self.left.append(Left(str(document), f"{found.why}; the mirror's stays", mend))
        return found.word == "take"


def proven(file: Path, digest: str) -> Iterator[bytes]:
    """A blob's bytes in parts; that they are its bytes is known at the end only.

    Raises:
        MissingArtifact: it is not there.
        DamagedArtifact: they are others, or cannot be read. Nobody may have seen them by then.
    """
    found = hashlib.sha256()
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as opened:
            while chunk := opened.read(PART):
                found.update(chunk)
                yield chunk
    except FileNotFoundError:
        raise MissingArtifact("it is not in this store") from None
    except OSError as error:
        raise DamagedArtifact(f"it cannot be read here: {error.strerror}") from error
    if f"sha256:{found.hexdigest()}" != digest:
        raise DamagedArtifact(f"its bytes here are sha256:{found.hexdigest()}")
