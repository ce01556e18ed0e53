"""A small store with a tree in it, packed; and a way to forge bundles that are consistent but for one thing."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from cxr_core.refs import Ref
from cxr_core.release.archive import ending, header, padding
from cxr_core.release.manifest import Bundle, Held, bytes_from_json
from cxr_core.release.packing import entries_of, pack
from cxr_core.release.proof import MANIFEST, STATEMENT, SUMS, sums
from cxr_core.release.statement import Provenance, statement
from cxr_core.store import Store
from cxr_core.store.seals import digest_of

MADE = Provenance(kind="artifact", version="0.1.0", external={"stage": "engine"})
LONG = "deep/" * 30 + "er.bin"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def tree(store: Store, tmp_path: Path) -> Ref:
    folder = tmp_path / "source"
    for name, content in {
        "engine": bytes(range(256)) * 40, "engine.json": b"{}", "empty": b"", "Röntgen.txt": b"x", LONG: b"y" * 700,
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return store.put(folder, "it")


def bundle_of(store: Store, *refs: Ref) -> Bundle:
    held = [Held(ref=ref, path="" if ref.form == "tree" and len(refs) == 1 else ref.name) for ref in refs]
    return Bundle(kind="artifact", name="it", artifacts=tuple(held), files=entries_of(store, held))


@pytest.fixture
def packed(store: Store, tree: Ref, tmp_path: Path) -> Path:
    return pack(store, bundle_of(store, tree), MADE, tmp_path / "it.tar").file


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """The files of an Ed25519 key, private and public."""
    return write_keys(tmp_path, "key")


def write_keys(folder: Path, name: str) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


Member = tuple[bytes, bytes]
"""A header and a content, which need not fit each other."""


@pytest.fixture
def forge(tmp_path: Path) -> Callable[..., Path]:
    """``forge(files)`` writes a bundle of blobs by name. Everything agrees; ``change`` edits its list of members."""

    def write(
        files: Sequence[tuple[str, bytes]],
        change: Callable[[list[Member]], list[Member]] = lambda members: members,
        edit: Callable[[dict[str, Any]], None] = lambda manifest: None,
        subjects: Callable[[dict[str, str]], dict[str, str]] = lambda found: found,
        end: Callable[[bytes], bytes] = lambda end: end,
    ) -> Path:
        entries = [{"digest": digest_of(data), "name": name, "size": len(data)} for name, data in files]
        held = [
            {"path": e["name"], "ref": {**e, "form": "blob", "name": "x", "facts": {}}}
            for e in entries
        ]  # fmt: skip
        content: dict[str, Any] = {
            "schema_version": 1, "kind": "artifact", "name": "it", "artifacts": held, "files": entries, "lost": [],
        }  # fmt: skip
        edit(content)
        manifest = bytes_from_json(content)
        digests = {MANIFEST: digest_of(manifest), **{f"files/{name}": digest_of(data) for name, data in files}}
        provenance = statement(subjects(digests).items(), MADE)
        listed = sums({**digests, STATEMENT: digest_of(provenance)})
        head = [(STATEMENT, provenance), (SUMS, listed), (MANIFEST, manifest)]
        members = [(header(f"it/{name}", len(data)), data) for name, data in head]
        members += [(header(f"it/files/{name}", len(data)), data) for name, data in files]
        data = b"".join(head + body + padding(len(body)) for head, body in change(members))
        path = tmp_path / "forged.tar"
        path.write_bytes(data + end(ending(len(data))))
        return path

    return write


def of_kind(kind: bytes, name: str, link: str = "", **pax: str) -> bytes:
    """The header of something that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mtime, info.mode = kind, link, 315_532_800, 0o644
    info.pax_headers = pax
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8")


def names_in(path: Path) -> list[str]:
    """As another program reads it."""
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
        return archive.getnames()


def manifest_of(path: Path) -> dict[str, Any]:
    with tarfile.open(path) as archive:
        member = archive.extractfile("it/bundle.json")
        assert member is not None
        content: dict[str, Any] = json.load(member)
        return content


def read_by_in_toto(data: bytes) -> None:
    """By in-toto's own readers: unknown members, wrong types and times that are none are errors to them."""
    told = Statement.copy_from_pb(ParseDict(json.loads(data), statement_pb2.Statement()))
    told.validate()
    ParseDict(json.loads(data)["predicate"], provenance_pb2.Provenance())
