"""Proving a bundle offline: every byte of it against its manifest, and its signature where a key is given."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cxr_core.errors import RefusedError, UsageError
from cxr_core.release import envelope, statement
from cxr_core.release.archive import Reader
from cxr_core.release.manifest import FILES, Bundle, bundle_from_bytes
from cxr_core.store.seals import digest_of

STATEMENT = "provenance.json"
ENVELOPE = "provenance.dsse.json"
SUMS = "SHA256SUMS"
MANIFEST = "bundle.json"

_SHOWN = 10  # problems that one message names


@dataclass(frozen=True)
class Proof:
    """What was proven. ``begins``: at which byte each file's content starts. ``signature`` says in words."""

    bundle: Bundle
    provenance: bytes
    begins: dict[str, int]
    bytes: int
    signature: str
    key_id: str | None


def prove(file: Path, key: Path | None = None) -> Proof:
    """Reads a bundle once, in constant memory but for its manifest.

    Raises:
        UsageError: the file or the key cannot be read.
        RefusedError: it is not whole, not what it says, or not signed by the key; the message names each member.
    """
    try:
        with file.open("rb") as opened:
            return _proven(opened, key)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except RefusedError as error:
        raise RefusedError(f"{file} is refused: {error}") from error


def content_of(file: Path, proof: Proof, name: str) -> bytes:
    """A file of a proven bundle, into memory.

    Raises:
        RefusedError: it has none of that name, or has changed since it was proven.
        UsageError: the bundle cannot be read any more.
    """
    entry = next((entry for entry in proof.bundle.files if entry.name == name), None)
    if entry is None:
        raise RefusedError(f"{file} calls itself a {proof.bundle.kind} and has no {name}")
    try:
        with file.open("rb") as opened:
            opened.seek(proof.begins[name])
            content = opened.read(entry.size)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    if digest_of(content) != entry.digest:
        raise RefusedError(f"{file} has changed since it was proven: {name} is now {digest_of(content)}")
    return content


def sums(digests: dict[str, str]) -> bytes:
    """A file for ``sha256sum -c``: digests of members by name."""
    return "".join(f"{digest[7:]}  {name}\n" for name, digest in sorted(digests.items())).encode()


def _proven(opened: BinaryIO, key: Path | None) -> Proof:
    reader = Reader(opened)
    top = _top(reader)
    provenance = reader.small(f"{top}/{STATEMENT}")
    signing = reader.small(f"{top}/{ENVELOPE}") if reader.next_name() == f"{top}/{ENVELOPE}" else None
    listed = reader.small(f"{top}/{SUMS}")
    manifest = reader.small(f"{top}/{MANIFEST}")
    digests = {STATEMENT: digest_of(provenance), MANIFEST: digest_of(manifest)}
    if signing is not None:
        digests[ENVELOPE] = digest_of(signing)
    # Before anything in them is believed: then what is wrong is named by the member that is.
    _raise(_differing(digests, digests_of(listed)))
    bundle = _bundle(manifest, top)
    found, begins = _files(reader, top, bundle)
    digests |= found
    wrong = [name for name in bundle.files if found[FILES + name.name] != name.digest]
    problems = [f"{FILES}{e.name} has the bytes of {found[FILES + e.name]}, {MANIFEST} says {e.digest}" for e in wrong]
    _raise(problems)
    if sums(digests) != listed:
        _raise(_differing(digests, digests_of(listed)) or [f"{SUMS} is not in the spelling that is written"])
    subjects = {name: digest for name, digest in digests.items() if name not in (STATEMENT, ENVELOPE)}
    _raise([*statement.problems(provenance, subjects), *bundle.problems()])
    words, signer = _signature(signing, provenance, key)
    return Proof(bundle, provenance, begins, sum(entry.size for entry in bundle.files), words, signer)


def _top(reader: Reader) -> str:
    found = re.fullmatch(rf"([A-Za-z0-9][A-Za-z0-9._-]{{0,63}})/{re.escape(STATEMENT)}", reader.next_name())
    if found is None:
        raise RefusedError(f"it does not begin with NAME/{STATEMENT}, so it was not written by `cxr store export`")
    return found[1]


def _bundle(manifest: bytes, top: str) -> Bundle:
    try:
        bundle = bundle_from_bytes(manifest)
    except ValueError as error:
        raise RefusedError(f"{MANIFEST}: {error}") from error
    if bundle.name != top:
        raise RefusedError(f"{MANIFEST} is that of {bundle.name!r}, in a bundle that calls itself {top!r}")
    return bundle


def _files(reader: Reader, top: str, bundle: Bundle) -> tuple[dict[str, str], dict[str, int]]:
    digests, begins = {}, {}
    for entry in bundle.files:
        digests[FILES + entry.name], begins[entry.name] = reader.large(f"{top}/{FILES}{entry.name}", entry.size)
    reader.end()
    return digests, begins


def digests_of(listed: bytes) -> dict[str, str]:
    """Digests by name, as ``SHA256SUMS`` lists them."""
    lines = listed.decode("utf-8", "replace").splitlines()
    return {line[66:]: f"sha256:{line[:64]}" for line in lines}


def _differing(digests: dict[str, str], listed: dict[str, str]) -> list[str]:
    return [
        f"{name} has the bytes of {digest}, {SUMS} says {listed.get(name, 'nothing of it')}"
        for name, digest in digests.items()
        if listed.get(name) != digest
    ]


def _signature(signing: bytes | None, provenance: bytes, key: Path | None) -> tuple[str, str | None]:
    if signing is None:
        if key is not None:
            raise RefusedError(f"it is not signed, and a signature by the key in {key} is asked for")
        return "not signed: it is whole, but nobody vouches for it", None
    claimed = ", ".join(envelope.key_ids(signing, provenance))
    if key is None:
        return f"signed, as it says by the key {claimed}; NOT CHECKED, for no key was given (--key PUBKEY)", None
    signer = envelope.check(signing, provenance, key)
    return f"signed by the key {signer}, checked against {key}", signer


def _raise(problems: list[str]) -> None:
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise RefusedError("; ".join([*problems[:_SHOWN], *more]))
