"""From a store to one archive, and from an archive into a store."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cxr_core.errors import DamagedArtifact, RefusedError, UsageError
from cxr_core.refs import Ref
from cxr_core.release import envelope
from cxr_core.release.archive import parts
from cxr_core.release.manifest import FILES, Bundle, Held, bytes_from_json
from cxr_core.release.proof import ENVELOPE, MANIFEST, STATEMENT, SUMS, Proof, sums
from cxr_core.release.statement import Provenance, statement
from cxr_core.store import Store
from cxr_core.store.disk import CHUNK, temporary, translated, write_all
from cxr_core.store.seals import digest_of
from cxr_core.store.trees import Entry


@dataclass(frozen=True)
class Packed:
    """An archive that was written: its file, sha256 and bytes, and the id of the key that signed it."""

    file: Path
    digest: str
    bytes: int
    bundle: Bundle


def entries_of(store: Store, held: Iterable[Held], extra: Iterable[Entry] = ()) -> tuple[Entry, ...]:
    """Every file under ``files/`` for artifacts at their places, sorted.

    Raises:
        MissingArtifact: a tree's listing is not there.
    """
    found = {entry.name: entry for entry in extra}
    for one in held:
        for entry in store.entries(one.ref):
            name = one.path if one.ref.form == "blob" else "/".join(filter(None, (one.path, entry.name)))
            found[name] = entry.model_copy(update={"name": name})
    return tuple(found[name] for name in sorted(found))


def pack(store: Store, bundle: Bundle, made: Provenance, file: Path, key: Path | None = None) -> Packed:
    """Writes the archive; the same bundle gives the same bytes, whenever, wherever and by whomever it is written.

    Raises:
        UsageError: the file is there with other content, cannot be written, or the key is none.
        DamagedArtifact, MissingArtifact: what it should hold is not whole; no file is left.
        RefusedError: the lineage in it is none.
    """
    for held in bundle.artifacts:
        store.verify_ref(held.ref)
    manifest = bytes_from_json(bundle.model_dump(mode="json"))
    digests = {MANIFEST: digest_of(manifest), **{FILES + entry.name: entry.digest for entry in bundle.files}}
    try:
        provenance = statement(digests.items(), made)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # a lineage that was brought, not written here
        raise RefusedError(
            f"{bundle.name} tells of its making what no lineage tells ({error}): make it anew"
        ) from error
    head = [(STATEMENT, provenance)]
    if key is not None:
        head.append((ENVELOPE, envelope.signed(provenance, key)))
    digests |= {name: digest_of(content) for name, content in head}
    head += [(SUMS, sums(digests)), (MANIFEST, manifest)]
    small: Iterator[tuple[str, int, Iterable[bytes]]] = (
        (f"{bundle.name}/{name}", len(content), (content,)) for name, content in head
    )
    large = ((f"{bundle.name}/{FILES}{e.name}", e.size, _content(store, e)) for e in bundle.files)
    digest, size = _written(file, parts([*small, *large]))
    return Packed(file, digest, size, bundle)


def unpack(store: Store, file: Path, proof: Proof, each: Callable[[str], None] = lambda name: None) -> list[Ref]:
    """Puts every artifact of a proven bundle into a store; what arrives is hashed once more.

    Raises:
        RefusedError: the file has changed since it was proven.
        StoreFull, StoreError: it cannot be kept.
    """
    found = []
    with translated(store.root, "importing a bundle", proof.bytes):
        for held in proof.bundle.artifacts:
            with tempfile.TemporaryDirectory(dir=store.root / "tmp", prefix="import-") as scratch:
                source = _extracted(file, proof, held, Path(scratch) / "it")
                ref = store.put(source, held.ref.name, held.ref.facts)
            if ref != held.ref:
                raise RefusedError(f"{file} has changed since it was proven: {held.ref.name} is now {ref.digest}")
            each(held.ref.name)
            found.append(ref)
    return found


def _extracted(file: Path, proof: Proof, held: Held, target: Path) -> Path:
    """The files of an artifact, by names that the manifest's own rules have passed, in a folder nobody else knows."""
    tree = held.ref.form == "tree"
    if tree:
        target.mkdir()
    prefix = f"{held.path}/" if held.path and tree else ""
    for entry in proof.bundle.inside(held):
        place = target / entry.name if tree else target
        place.parent.mkdir(parents=True, exist_ok=True)
        at = proof.begins[prefix + entry.name if tree else held.path]
        with file.open("rb") as opened, place.open("xb") as out:
            opened.seek(at)
            left = entry.size
            while left and (part := opened.read(min(CHUNK, left))):
                out.write(part)
                left -= len(part)
    return target


def _content(store: Store, entry: Entry) -> Iterator[bytes]:
    ref = Ref(form="blob", digest=entry.digest, size=entry.size, name="file")
    found = hashlib.sha256()
    with store.path(ref).open("rb") as blob:
        while part := blob.read(CHUNK):
            found.update(part)
            yield part
    if f"sha256:{found.hexdigest()}" != entry.digest:
        store.verify_ref(ref)  # tells, and moves it to quarantine
        raise DamagedArtifact(f"{entry.name} ({entry.digest}) changed while it was read: export it again")


def _written(file: Path, content: Iterable[bytes]) -> tuple[str, int]:
    found, size = hashlib.sha256(), 0
    try:
        with temporary(file.absolute().parent) as (descriptor, path):
            for part in content:
                found.update(part)
                size += len(part)
                write_all(descriptor, part)
            digest = f"sha256:{found.hexdigest()}"
            if file.exists():
                if file.is_file() and _digest(file) == digest:
                    return digest, size
                raise UsageError(f"{file} is there already and is something else: name another file, or remove it")
            path.chmod(0o644)
            path.rename(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}") from error
    return digest, size


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"
