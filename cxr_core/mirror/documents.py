"""What travels by name: records, runs and pins, each with the blobs that must be there before it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cxr_core.errors import DamagedArtifact, UsageError
from cxr_core.refs import Ref
from cxr_core.store.actions import record_from_content
from cxr_core.store.documents import refs_in
from cxr_core.store.layout import Layout
from cxr_core.store.naming import namers
from cxr_core.store.pins import refs_of_pin
from cxr_core.store.runs import run_from_bytes
from cxr_core.store.seals import unsealed
from cxr_core.store.trees import Entry

ROOMS = ("actions", "runs", "pins")
"""In the order in which they are written."""

_WORDS = {"actions": "record", "runs": "run", "pins": "pin"}


class Document(NamedTuple):
    """A record by its key, a run by its id, or a pin by its name; ``room`` is its folder in the store."""

    room: str
    name: str

    def __str__(self) -> str:
        return f"{_WORDS[self.room]} {self.name}"


class Verdict(NamedTuple):
    """Whether a document is taken in place of the one there; ``why`` where a person should know."""

    word: Literal["take", "same", "stay"]
    why: str = ""


@dataclass(frozen=True)
class Left:
    """What did not travel, why, and how that is mended."""

    what: str
    reason: str
    mend: str


@dataclass(frozen=True)
class Report:
    """What was moved, by count and in bytes, and what was left out."""

    blobs: int
    bytes: int
    records: int
    runs: int
    pins: int
    left: tuple[Left, ...]

    @classmethod
    def of(cls, blobs: int, size: int, written: Iterable[Document], left: Iterable[Left]) -> "Report":
        """So many blobs and bytes, and these documents."""
        rooms = [document.room for document in written]
        return cls(blobs, size, rooms.count("actions"), rooms.count("runs"), rooms.count("pins"), tuple(left))

    @property
    def exit_code(self) -> int:
        """1 when something was left out."""
        return 1 if self.left else 0


@dataclass
class Needs:
    """The blobs that refs need, with their sizes in bytes: ``files``, and the trees' ``listings``, which come after."""

    files: dict[str, int] = field(default_factory=dict)
    listings: dict[str, tuple[Entry, ...]] = field(default_factory=dict)

    def add(self, ref: Ref, entries: tuple[Entry, ...]) -> None:
        """What one ref needs.

        Raises:
            DamagedArtifact: the ref's size is not that of its files.
        """
        if ref.size != sum(entry.size for entry in entries):
            raise DamagedArtifact(f"{ref.name} ({ref.digest}) claims {ref.size:,} bytes, its listing has others")
        if ref.form == "tree":
            self.listings[ref.digest] = entries
        self.files |= {entry.digest: entry.size for entry in entries}

    def first_of(self, refs: Iterable[Ref], failed: Mapping[str, str]) -> str | None:
        """Why the refs cannot be promised, if something that they need is among ``failed``."""
        for ref in refs:
            for digest in (ref.digest, *(entry.digest for entry in self.listings.get(ref.digest, ()))):
                if digest in failed:
                    return f"{ref.name} needs {digest}: {failed[digest]}"
        return None


def place_of(layout: Layout, document: Document) -> Path:
    """Its file.

    Raises:
        UsageError: a name that no store has.
    """
    if document.room == "actions":
        return layout.action(document.name)
    return layout.run(document.name) / "run.json" if document.room == "runs" else layout.pin(document.name)


def document_at(path: str) -> Document | None:
    """The document of a path under the root, None where there is none; the reverse of ``place_of``.

    Raises:
        UsageError: a name that no store has.
    """
    room, _, rest = path.partition("/")
    if room not in ROOMS or (room == "runs" and not rest.endswith("/run.json")):
        return None
    name = {"actions": rest.rpartition("/")[2], "runs": rest.removesuffix("/run.json"), "pins": rest[:-5]}[room]
    if place_of(Layout(Path("/")), Document(room, name)).as_posix() != f"/{path}":
        raise UsageError(f"{path!r} is no place in a store")
    return Document(room, name)


def documents_in(layout: Layout) -> list[Document]:
    """Every record, run and pin under a root, readable or not."""
    return [Document(one.room, one.name.removesuffix(".json") if one.room == "pins" else one.name)
            for one in namers(layout)]  # fmt: skip


def refs_in_document(document: Document, data: bytes) -> tuple[Ref, ...]:
    """What a document names, once it has proven to be that document.

    Raises:
        ValueError: torn, damaged, foreign, or of another name.
    """
    if document.room == "runs":
        return tuple(refs_in(run_from_bytes(data, document.name).content))
    if document.room == "pins":
        return refs_of_pin(data, document.name)
    return tuple(record_from_content(unsealed(data), document.name).outputs.values())


def verdict(document: Document, there: bytes, coming: bytes) -> Verdict:
    """What becomes of a document that comes where one of its name is already.

    A record stays, whichever is newer: any record of a key is a valid one. Of two accounts of a run the one that
    finished last stands. A pin stays as it is.

    Raises:
        ValueError: ``coming`` is not that document.
    """
    refs = refs_in_document(document, coming)
    try:
        standing = refs_in_document(document, there)
    except ValueError:
        return Verdict("take")  # what is there is damaged
    if there == coming or document.room == "actions":
        return Verdict("same" if there == coming else "stay")
    if document.room == "pins":
        same = {(ref.form, ref.digest) for ref in standing} == {(ref.form, ref.digest) for ref in refs}
        why = f"it stands for {_short(standing)} and would stand for {_short(refs)}"
        return Verdict("same") if same else Verdict("stay", why)
    mine, theirs = (run_from_bytes(data, document.name).content for data in (coming, there))
    if mine == theirs:
        return Verdict("same")
    if _finished(mine) == _finished(theirs):
        return Verdict("stay", "there are two different accounts of it, and neither finished later")
    return Verdict("take" if _finished(mine) > _finished(theirs) else "stay")


def _finished(account: Mapping[str, Any]) -> datetime:
    """When a run finished, by its own account; the least of all times while it has not."""
    try:
        found = datetime.fromisoformat(str(account.get("finished")))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _short(refs: tuple[Ref, ...]) -> str:
    return ", ".join(f"{ref.name} {ref.digest[:19]}" for ref in refs[:3]) + (" ..." if len(refs) > 3 else "")
