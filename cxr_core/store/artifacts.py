"""Artifacts: what a ref names, a blob or a tree of blobs. Put, look, verify, check out, read."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError

from cxr_core.errors import MissingArtifact, StoreError, UsageError
from cxr_core.refs import Ref
from cxr_core.store.blobs import Blobs, Fault
from cxr_core.store.disk import read_file, translated
from cxr_core.store.intake import put_blobs
from cxr_core.store.layout import checked_name
from cxr_core.store.leases import note
from cxr_core.store.locks import held
from cxr_core.store.parallel import on_all_cores, portions
from cxr_core.store.trees import Entry, bytes_from_entries, entries_from_bytes, files_of

Facts = Mapping[str, JsonValue]


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of one store."""

    blobs: Blobs

    def put(self, path: Path, name: str, facts: Facts | None = None) -> Ref:
        """Stores a file as a blob or a folder as a tree. Every blob is durable before its tree's listing is put.

        Raises:
            UsageError: the name is not plain, or the path holds what no artifact may hold.
            StoreFull: no room; nothing of the file that failed is left.
            StoreError: the store cannot be written.
        """
        checked_name(name, "artifact name")
        try:
            folder = path.is_dir() and not path.is_symlink()
        except OSError as error:
            raise UsageError(f"{path} cannot be looked at ({error.strerror}): nothing was put") from error
        if not folder:
            [(digest, size)] = put_blobs(self.blobs, [path])
            return _ref("blob", digest, size, name, facts)
        return self._put_tree(path, name, facts)

    def put_bytes(self, data: bytes, name: str, facts: Facts | None = None) -> Ref:
        """Stores bytes as a blob. Raises as ``put``."""
        checked_name(name, "artifact name")
        [(digest, size)] = put_blobs(self.blobs, [data])
        return _ref("blob", digest, size, name, facts)

    def put_entries(self, entries: Iterable[Entry], name: str, facts: Facts | None = None) -> Ref:
        """Stores the listing of blobs that are there already, and makes them young for gc.

        Raises:
            UsageError: a name that no tree may have, or two that clash.
            MissingArtifact: one of the blobs is not there.
        """
        listed = tuple(entries)
        try:
            listing = bytes_from_entries(listed)
        except ValueError as error:
            raise UsageError(f"{name} cannot be kept as a tree: {error}") from None
        put = self.put_bytes(listing, name)
        ref = _ref("tree", put.digest, sum(entry.size for entry in listed), name, facts)
        layout = self.blobs.layout
        with held(layout.store_lock, layout.root, shared=True):
            self.promise(ref)
            if faults := self.faults(ref):
                raise MissingArtifact(missing(ref, f"blob {faults[0].digest}: {faults[0].reason}"))
        return ref

    def promise(self, ref: Ref) -> None:
        """Keeps from gc what somebody is about to rely on: in this process's leases, and young again.

        To be called with the store's lock held; what gc took before is seen by a look thereafter.
        """
        note(self.blobs.layout, ref.form, [ref.digest])
        for digest in self.digests(ref):
            self.blobs.touch(digest)

    def entries(self, ref: Ref) -> tuple[Entry, ...]:
        """The blobs of a ref, with their places in it; of a blob itself, one.

        Raises:
            FileNotFoundError: the tree's listing is not there.
            ValueError: the listing is damaged.
        """
        if ref.form == "blob":
            return (Entry(digest=ref.digest, name=ref.name, size=ref.size),)
        data = read_file(self.blobs.layout.blob(ref.digest))
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != ref.digest:
            raise ValueError("the listing's bytes do not have its digest")
        return entries_from_bytes(data)

    def faults(self, ref: Ref, *, deep: bool = False) -> list[Fault]:
        """Everything wrong with what a ref names: by sizes, or with ``deep`` by all bytes. Empty when it is whole."""
        try:
            entries = self.entries(ref)
        except FileNotFoundError:
            return [Fault(ref.digest, "missing", "the tree's listing is not there")]
        except (OSError, ValueError) as error:
            return [Fault(ref.digest, "damaged", str(error))]
        if ref.size != sum(entry.size for entry in entries):
            # The blobs may be whole: it is the ref that lies. Nothing to quarantine.
            return [Fault(ref.digest, "missing", f"the ref names {ref.size} bytes, the listing has others")]
        sizes = {entry.digest: entry.size for entry in entries}
        if deep:
            return [look.fault for look in self.blobs.read_through(sizes.items()) if look.fault is not None]
        found = (self.blobs.fault(digest, size) for digest, size in sizes.items())
        return [fault for fault in found if fault is not None]

    def digests(self, ref: Ref) -> set[str]:
        """Every blob that a ref needs, the listing too; of a tree whose listing is lost or damaged, that alone.

        Raises:
            OSError: the listing cannot be read, so that nobody knows what it names.
        """
        try:
            return {ref.digest, *(entry.digest for entry in self.entries(ref))}
        except (FileNotFoundError, ValueError):
            return {ref.digest}

    def path(self, ref: Ref) -> Path:
        """The blob's own file, not verified, for tools that only read.

        Raises:
            StoreError: the ref names a tree, which is no single file.
            MissingArtifact: it is not there.
        """
        if ref.form == "tree":
            raise StoreError(f"{ref.name} ({ref.digest}) is a tree and has no single path: check it out into a folder")
        path = self.blobs.layout.blob(ref.digest)
        with translated(self.blobs.layout.root, f"looking for {ref.name}"):
            if not path.is_file():
                raise MissingArtifact(missing(ref, "no such file"))
        return path

    def link(self, ref: Ref, folder: Path) -> Path:
        """Symlinks into the store under ``folder``: one for a blob, a real folder of them for a tree. Not verified.

        Raises:
            MissingArtifact: the tree's listing is not there, or not whole.
            StoreError: something else already has that name, or the folder cannot be written.
        """
        target = folder / ref.name
        with translated(folder, f"checking out {ref.name}"):
            if ref.form == "blob":
                _symlink(str(target), self.blobs.file(ref.digest))
                return target
            target.mkdir(parents=True, exist_ok=True)
            try:
                entries = self.entries(ref)
            except (FileNotFoundError, ValueError) as error:
                raise MissingArtifact(
                    missing(ref, f"its listing was whole a moment ago and is not now: {error}")
                ) from None
            for inner in sorted({entry.name.rpartition("/")[0] for entry in entries}):
                (target / inner).mkdir(parents=True, exist_ok=True)
            links = ((f"{target}/{entry.name}", self.blobs.file(entry.digest)) for entry in entries)
            for _ in on_all_cores(_symlinks, portions(links, lambda _: 1, 256, 256)):
                pass
        return target

    def _put_tree(self, folder: Path, name: str, facts: Facts | None) -> Ref:
        found = list(files_of(folder))
        put = put_blobs(self.blobs, [path for _, path in found])
        entries = [
            Entry(digest=digest, name=inner, size=size) for (inner, _), (digest, size) in zip(found, put, strict=True)
        ]
        [(digest, _)] = put_blobs(self.blobs, [bytes_from_entries(entries)])
        return _ref("tree", digest, sum(entry.size for entry in entries), name, facts)


def missing(ref: Ref, reason: str) -> str:
    """The message for an artifact that is not there."""
    return (
        f"artifact {ref.name} ({ref.form} {ref.digest}, {ref.size:,} bytes) is not in the store: {reason}. "
        "Run again to make it anew, or restore it from a mirror"
    )


def _symlinks(links: Iterable[tuple[str, str]]) -> None:
    for place, blob in links:
        _symlink(place, blob)


def _symlink(place: str, blob: str) -> None:
    try:
        os.symlink(blob, place)  # noqa: PTH211 - thousands of them
    except FileExistsError:
        if os.path.islink(place) and os.readlink(place) == blob:  # noqa: PTH114, PTH115
            return
        raise StoreError(f"{place} is already there and is something else: check out into an empty folder") from None


def _ref(form: str, digest: str, size: int, name: str, facts: Facts | None) -> Ref:
    try:
        return Ref.model_validate(
            {"form": form, "digest": digest, "size": size, "name": name, "facts": dict(facts or {})}
        )
    except ValidationError as error:
        raise UsageError(f"facts of artifact {name} must be plain JSON: {error.errors()[0]['msg']}") from error
