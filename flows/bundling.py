"""``cxr store export`` and ``cxr store import``: bundles out of a store and into one."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from cxr_core import __version__
from cxr_core.errors import RefusedError, UsageError
from cxr_core.lineage import Account
from cxr_core.refs import Record, Ref
from cxr_core.release.contents import RELEASE_FILE, provenance
from cxr_core.release.manifest import RUN_FILE, Bundle, Held
from cxr_core.release.packing import entries_of, pack, unpack
from cxr_core.release.proof import Proof, prove
from cxr_core.release.statement import Provenance
from cxr_core.store.trees import Entry
from flows.answering import answer
from flows.naming import Named, origin, resolve
from flows.pinning import hold
from flows.proving import json_of
from flows.showing import output
from tasks.place import current_store

_LONGEST = 64


def export(name: str, file: Path | None, key: Path | None, run_id: str, as_json: bool) -> None:
    """Write a release, an artifact or a whole run into one archive.

    Raises:
        UsageError: no such thing, or the file cannot be written.
        StoreError: what it should hold is damaged or lost.
    """
    # A run's account is put to be packed, and nothing names it; all else is only read, also from a read-only store.
    with current_store().lease(f"export {name}") if _is_run(name) else nullcontext():
        bundle, made = _wanted(name, run_id)
        target = file or Path(f"{bundle.name}.cxr.tar")
        packed = pack(current_store(), bundle, made, target, key)
    told = {
        "file": str(target), "sha256": packed.digest[7:], "bytes": packed.bytes, "kind": bundle.kind,
        "name": bundle.name, "files": len(bundle.files), "signed": key is not None,
        "lost": [ref.model_dump(mode="json") for ref in bundle.lost],
    }  # fmt: skip
    if as_json:
        answer(told)
        return
    output.print(f"wrote {target}: {bundle.kind} {bundle.name}, {len(bundle.files)} files, {packed.bytes:,} bytes, "
                 f"{'signed' if key else 'not signed'}", highlight=False, soft_wrap=True)  # fmt: skip
    for ref in bundle.lost:
        output.print(f"[yellow]left out, lost[/] {ref.name} {ref.digest}", highlight=False, soft_wrap=True)
    output.print(f"sha256 {packed.digest[7:]}\nprove it anywhere: cxr verify-bundle {target}", highlight=False)


def take_in(file: Path, key: Path | None, pin: str | None, as_json: bool) -> None:
    """Prove a bundle, put what it holds into the store, and keep it there by a pin or as a run.

    Raises:
        RefusedError: it is not whole or not what it says; the store is as it was.
        UsageError: the name is taken by something else.
    """
    proof = prove(file, key)
    bundle = proof.bundle
    with current_store().lease(f"import {file.name}"):
        place = _kept(file, proof, pin)
    told = {"kept_as": place, "kind": bundle.kind, "artifacts": len(bundle.artifacts), "signature": proof.signature}
    if as_json:
        answer(told)
        return
    output.print(f"took in {len(bundle.artifacts)} artifacts, {proof.bytes:,} bytes; kept as {place}", highlight=False)
    output.print(proof.signature, highlight=False, soft_wrap=True)


def _kept(file: Path, proof: Proof, pin: str | None) -> str:
    """Puts what a bundle holds, and names it; in words, how."""
    store, bundle = current_store(), proof.bundle
    if bundle.kind == "run" and pin is None:
        account = _run_is_free(file, proof)
        unpack(store, file, proof)
        store.write_run(bundle.name, account)
        return f"run {bundle.name}"
    place = pin or (f"releases/{bundle.name}" if bundle.kind == "release" else f"imports/{bundle.name}")
    wanted = list({(held.ref.form, held.ref.digest): held.ref for held in bundle.artifacts}.values())
    hold(place, wanted, dry=True)
    unpack(store, file, proof)
    hold(place, wanted)
    return place


def _is_run(name: str) -> bool:
    return name == "latest" or any(run.run_id == name for run in current_store().runs())


def _wanted(name: str, run_id: str) -> tuple[Bundle, Provenance]:
    if _is_run(name):
        return _of_run(current_store().read_run(name))
    found = resolve(name, run_id)
    if found.pin and len(found.refs) == 1 and (release := _release(found.refs[0])):
        label = found.pin.rpartition("/")[2][:_LONGEST]
        return _bundle("release", label, [Held(ref=_named(found.refs[0], label), path="")]), release
    return _of_refs(found)


def _of_refs(found: Named) -> tuple[Bundle, Provenance]:

    refs = list(dict.fromkeys((ref.form, ref.digest, ref.name, ref.size) for ref in found.refs))
    plain = [Ref(form=form, digest=digest, name=name, size=size) for form, digest, name, size in refs]
    names = [ref.name for ref in plain]
    held = [Held(ref=r, path=r.name if names.count(r.name) == 1 else f"{r.digest[7:19]}/{r.name}") for r in plain]
    label = found.pin.rpartition("/")[2] if found.pin else found.record.stage if found.record else plain[0].name
    key = found.record.key if found.record else plain[0].digest[7:]
    external, lineage = origin(found)
    made = Provenance(kind="artifact", version=__version__, external=external, lineage=lineage)
    return _bundle("artifact", f"{label[:50]}-{key[:12]}", held), made


def _of_run(account: dict[str, Any]) -> tuple[Bundle, Provenance]:
    store, held, lost, seen = current_store(), [], [], dict[tuple[str, str], str]()
    for _, content in sorted(account.get("records", {}).items()):
        record = Record.model_validate(content)
        title = Account(record, "", "", "").title.replace(" ", "-")
        for _, ref in sorted(record.outputs.items()):
            if not store.has(ref):
                lost.append(ref)
                continue
            path = seen.setdefault((ref.form, ref.digest), f"{title}-{record.key[:8]}/{ref.name}")
            held.append(Held(ref=ref, path=path))
    kept = store.put_bytes(json.dumps(account, sort_keys=True, indent=1).encode(), RUN_FILE)
    written = Entry(digest=kept.digest, name=RUN_FILE, size=kept.size)
    entries = entries_of(store, held, [written])
    data = account["data"]["fingerprint"]
    made = Provenance(
        kind="run",
        version=__version__,
        external={"settings": account["settings"], "asked": account["parameters"], "data": data},
        invocation=account["run_id"],
        started=account["started"],
        finished=account.get("finished"),
    )
    name = account["run_id"]
    return Bundle(kind="run", name=name, artifacts=tuple(held), files=entries, lost=tuple(lost)), made


def _bundle(kind: Any, name: str, held: list[Held]) -> Bundle:
    return Bundle(kind=kind, name=name, artifacts=tuple(held), files=entries_of(current_store(), held))


def _release(ref: Ref) -> Provenance | None:
    """The provenance of a release from what is in its tree, so that every store packs it alike."""
    store, entries = current_store(), {}
    if ref.form == "tree":
        entries = {entry.name: entry for entry in store.entries(ref)}
    if not {RELEASE_FILE, "lineage.json"} <= entries.keys():
        return None

    def read(name: str) -> Mapping[str, Any]:
        entry = entries[name]
        blob = Ref(form="blob", digest=entry.digest, size=entry.size, name=name)
        content: Mapping[str, Any] = from_json(store.read_bytes(blob))
        return content

    try:
        return provenance(read(RELEASE_FILE), read("lineage.json"))
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(
            f"{ref.name} says of itself what no release says ({error}): make it anew, cxr promote"
        ) from error


def _named(ref: Ref, name: str) -> Ref:
    return Ref(form=ref.form, digest=ref.digest, size=ref.size, name=name)


def _run_is_free(file: Path, proof: Proof) -> dict[str, Any]:
    account = json_of(file, proof, RUN_FILE)
    there = [run.content for run in current_store().runs() if run.run_id == proof.bundle.name]
    if there and there[0] != account:
        raise UsageError(
            f"run {proof.bundle.name} is in the store already, and its account is another; give --pin NAME"
        )
    return account
