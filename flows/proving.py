"""``cxr verify-bundle``: a bundle proven offline. Needs neither a store nor Prefect."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from cxr_core.errors import RefusedError
from cxr_core.release.archive import LARGEST_MANIFEST
from cxr_core.release.contents import RELEASE_FILE
from cxr_core.release.proof import Proof, content_of, prove
from flows.answering import answer
from flows.showing import output

_SHOWN = 4  # artifacts named one by one


def verify(file: Path, key: Path | None, as_json: bool) -> None:
    """Prove a bundle, and say in words what that means.

    Raises:
        RefusedError: it is not proven.
    """
    proof = prove(file, key)
    bundle = proof.bundle
    said = json_of(file, proof, RELEASE_FILE) if bundle.kind == "release" else {}
    if as_json:
        answer(
            {
                "proven": True, "kind": bundle.kind, "name": bundle.name, "files": len(bundle.files),
                "bytes": proof.bytes, "artifacts": [held.ref.model_dump(mode="json") for held in bundle.artifacts],
                "signature": proof.signature, "key_id": proof.key_id, "says": said,
            }
        )  # fmt: skip
        return
    for line in _words(file, proof, said):
        output.print(line, markup=False, highlight=False, soft_wrap=True)


def _words(file: Path, proof: Proof, said: dict[str, Any]) -> Iterator[str]:
    bundle = proof.bundle
    yield f"proven: {file} is the {bundle.kind} {bundle.name}, whole"
    yield f"  each of its {len(bundle.files)} files ({proof.bytes:,} bytes) has its digest in the manifest"
    shown = bundle.artifacts[:_SHOWN]
    yield from (f"  {held.ref.form} {held.ref.digest} is complete: {held.path or held.ref.name}" for held in shown)
    if len(bundle.artifacts) > _SHOWN:
        yield f"  and so are {len(bundle.artifacts) - _SHOWN} artifacts more"
    yield "  its provenance (in-toto statement, SLSA v1) speaks of these files and no others"
    yield f"  {proof.signature}"
    if said:
        forced = "; PROMOTED BY FORCE" if said.get("forced") else ""
        data = said.get("data")
        phantom = "; PHANTOM DATA" if isinstance(data, dict) and data.get("source") == "phantom" else ""
        branch = f"{said.get('precision')} on {said.get('backend')}"
        yield f"it says of itself: {branch}, {said.get('verdict')}{forced}{phantom}"
    yield "not proven: that what it says is true. Who wrote it could write anything; a signature tells who that was"


def json_of(file: Path, proof: Proof, name: str) -> dict[str, Any]:
    """A file of a proven bundle that holds a JSON object.

    Raises:
        RefusedError: it has none of that name, or something else is in it.
    """
    if any(entry.name == name and entry.size > LARGEST_MANIFEST for entry in proof.bundle.files):
        raise RefusedError(f"{file} calls itself a {proof.bundle.kind} and has no {name} that can be read")
    data = content_of(file, proof, name)
    try:
        content = from_json(data)  # which, unlike json, refuses what is nested too deeply
    except ValueError as error:
        raise RefusedError(f"{file}: {name} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise RefusedError(f"{file}: {name} holds no JSON object")
    return content
