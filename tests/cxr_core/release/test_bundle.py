"""A bundle is the same bytes every time, opens with plain tools, and nothing in it can change unseen."""

import os
import random
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import DamagedArtifact, RefusedError, UsageError
from cxr_core.refs import Ref
from cxr_core.release.packing import pack, unpack
from cxr_core.release.proof import prove
from cxr_core.store import Store
from tests.cxr_core.release.conftest import LONG, MADE, Member, bundle_of, manifest_of, names_in, of_kind

SEED = 20261124
Forge = Callable[..., Path]
TWO = [("a", b"alpha"), ("b", b"beta" * 300)]


def test_the_same_content_gives_the_same_bytes(store: Store, tree: Ref, packed: Path, tmp_path: Path) -> None:
    before, umask = packed.read_bytes(), os.umask(0o077)
    try:
        again = pack(store, bundle_of(store, tree), MADE, tmp_path / "again.tar")
    finally:
        os.umask(umask)
    assert again.file.read_bytes() == before
    pack(store, bundle_of(store, tree), MADE, packed)  # and writing it over itself is no clash


def test_another_store_that_took_it_in_writes_the_same(tree: Ref, packed: Path, tmp_path: Path) -> None:
    other = Store.open(tmp_path / "other")
    assert unpack(other, packed, prove(packed)) == [tree]
    assert pack(other, bundle_of(other, tree), MADE, tmp_path / "there.tar").file.read_bytes() == packed.read_bytes()


def test_tar_and_sha256sum_alone_prove_it(packed: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", packed, "-C", tmp_path], check=True)
    command = ["sha256sum", "-c", "SHA256SUMS"]
    done = subprocess.run(command, cwd=tmp_path / "it", capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == len(names_in(packed)) - 1
    assert (tmp_path / "it" / "files" / LONG).read_bytes() == b"y" * 700


def test_a_file_that_is_there_is_not_overwritten(store: Store, tree: Ref, tmp_path: Path) -> None:
    mine = tmp_path / "mine.tar"
    mine.write_bytes(b"mine")
    with pytest.raises(UsageError, match="is there already"):
        pack(store, bundle_of(store, tree), MADE, mine)
    assert mine.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.tar", "source", "store"]


def test_damage_in_the_store_is_not_packed(store: Store, tree: Ref, tmp_path: Path) -> None:
    blob = store.path(Ref(form="blob", name="x", **store.entries(tree)[1].model_dump(include={"digest", "size"})))
    blob.chmod(0o644)
    blob.write_bytes(b"?" + blob.read_bytes()[1:])
    bundle = bundle_of(store, tree)
    with pytest.raises(DamagedArtifact):
        pack(store, bundle, MADE, tmp_path / "it.tar")
    assert not (tmp_path / "it.tar").exists()


def test_every_flipped_bit_is_found_and_the_member_named(packed: Path, tmp_path: Path) -> None:
    data, chosen = packed.read_bytes(), random.Random(SEED)
    with tarfile.open(packed) as archive:
        members = [(m.name.removeprefix("it/"), m.offset_data, m.size) for m in archive if m.size]
    within = [(name, chosen.randrange(at, at + size)) for name, at, size in members for _ in range(12)]
    anywhere = [("", chosen.randrange(len(data))) for _ in range(200)]  # headers and padding too
    for name, at in within + anywhere:
        flipped = bytearray(data)
        flipped[at] ^= 1 << chosen.randrange(8)
        path = tmp_path / "flipped.tar"
        path.write_bytes(flipped)
        with pytest.raises(RefusedError) as refused:
            prove(path)
        assert name in str(refused.value), f"{name} at {at}, seed {SEED}"


def test_every_cut_is_found(packed: Path, tmp_path: Path) -> None:
    data, path = packed.read_bytes(), tmp_path / "cut.tar"
    for length in [*range(0, len(data), 512), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(RefusedError):
            prove(path)


def test_a_forged_bundle_with_nothing_wrong_is_accepted(forge: Forge) -> None:
    """So that each refusal below is for the one thing that is wrong."""
    assert len(prove(forge(TWO)).bundle.files) == 2


def _named(name: str) -> dict[str, Any]:
    return {"files": [(name, b"x")]}


def _with(*more: Member, at: int = 4) -> dict[str, Any]:
    return {"files": TWO, "change": lambda members: [*members[:at], *more, *members[at:]]}


def _instead(member: Member) -> dict[str, Any]:
    return {"files": TWO, "change": lambda members: [*members[:3], member, *members[4:]]}


def _resized(manifest: dict[str, Any]) -> None:
    manifest["files"][0]["size"] += 512


def _other_bytes(manifest: dict[str, Any]) -> None:
    for place in (manifest["files"][0], manifest["artifacts"][0]["ref"]):
        place["digest"] = "sha256:" + "0" * 64


def _odd(index: int, **fields: Any) -> dict[str, Any]:
    """One member's header says something else too, with a checksum that is right."""

    def change(members: list[Member]) -> list[Member]:
        info = tarfile.TarInfo.frombuf(members[index][0], "utf-8", "strict")
        for name, value in fields.items():
            setattr(info, name, value)
        return [*members[:index], (info.tobuf(tarfile.PAX_FORMAT), members[index][1]), *members[index + 1 :]]

    return {"files": TWO, "change": change}


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "climbs out": (_named("../../etc/passwd"), "plain parts"),
    "absolute": (_named("/etc/passwd"), "plain parts"),
    "a dot": (_named("./a"), "plain parts"),
    "NUL": (_named("a\0b"), "control character"),
    "backslash": (_named("a\\b"), "backslash"),
    "too long": (_named("n" * 256), "longer than 255"),
    "case collision": ({"files": [("A", b"1"), ("a", b"2")]}, "clash"),
    "Unicode collision": ({"files": [("e\u0301", b"1"), ("\u00e9", b"2")]}, "clash"),
    "file and folder": ({"files": [("a", b"1"), ("a/b", b"2")]}, "both a file and a folder"),
    "named twice": ({"files": [("a", b"1"), ("a", b"1")]}, "named twice"),
    "not sorted": ({"files": [("b", b"1"), ("a", b"2")]}, "not sorted"),
    "symlink": (_instead((of_kind(tarfile.SYMTYPE, "it/files/a", "/etc/passwd"), b"")), "a symlink"),
    "hard link": (_instead((of_kind(tarfile.LNKTYPE, "it/files/a", "it/bundle.json"), b"")), "a hard link"),
    "character device": (_instead((of_kind(tarfile.CHRTYPE, "it/files/a"), b"")), "a device"),
    "block device": (_instead((of_kind(tarfile.BLKTYPE, "it/files/a"), b"")), "a device"),
    "pipe": (_instead((of_kind(tarfile.FIFOTYPE, "it/files/a"), b"")), "a pipe"),
    "folder": (_with((of_kind(tarfile.DIRTYPE, "it/files"), b"")), "a folder"),
    "global header": (_with((of_kind(tarfile.XGLTYPE, "it/x"), b"")), "a global header"),
    "extended header that renames": (_instead((of_kind(b"0", "it/files/a", path="/etc/passwd"), b"")), "extended"),
    "sparse": (_instead((of_kind(tarfile.GNUTYPE_SPARSE, "it/files/a"), b"")), "a sparse file"),
    "setuid": (_odd(3, mode=0o4755), "another mode"),
    "an owner": (_odd(3, uid=1000, uname="me"), "another mode, owner or time"),
    "a time": (_odd(4, mtime=1), "another mode, owner or time"),
    "an owner of the manifest": (_odd(0, gid=5), "another mode, owner or time"),
    "setuid of the sums": (_odd(1, mode=0o4755), "another mode"),
    "a manifest of other bytes": ({"files": TWO, "edit": _other_bytes}, "files/a has the bytes of"),
    "surplus member": (_with((of_kind(b"0", "it/files/c"), b""), at=9), "surplus"),
    "surplus member within": (_with((of_kind(b"0", "it/files/aa"), b"")), "files/b must come"),
    "missing member": ({"files": TWO, "change": lambda members: members[:3] + members[4:]}, "files/a must come"),
    "missing last": ({"files": TWO, "change": lambda members: members[:4]}, "files/b must come; found an archive's"),
    "other order": ({"files": TWO, "change": lambda m: [*m[:3], m[4], m[3]]}, "files/a must come"),
    "size lies in the manifest": ({"files": TWO, "edit": _resized}, "files/a must come"),
    "size lies in the header": (
        {"files": TWO, "change": lambda m: [(m[0][0].replace(b"00000", b"77777", 1), m[0][1]), *m[1:]]},
        "NAME/provenance.json",
    ),
    "bytes after the end": ({"files": TWO, "end": lambda end: end + b"more"}, "surplus"),
    "bytes in the ending": ({"files": TWO, "end": lambda end: end[:-1] + b"!"}, "surplus"),
    "a second archive": ({"files": TWO, "end": lambda end: end + end}, "surplus"),
    "unknown file": ({"files": TWO, "edit": lambda m: m["artifacts"].pop()}, "no part of any artifact"),
    "artifact of other bytes": (
        {"files": TWO, "edit": lambda m: m["artifacts"][0].update(path="b")}, "its files make",
    ),
    "newer version": ({"files": TWO, "edit": lambda m: m.update(schema_version=2)}, "schema_version"),
    "surplus field": ({"files": TWO, "edit": lambda m: m.update(more=1)}, "more"),
    "another name": ({"files": TWO, "edit": lambda m: m.update(name="that")}, "calls itself"),
    "name with a slash": ({"files": TWO, "edit": lambda m: m.update(name="../it")}, "name"),
    "provenance of fewer": (
        {"files": TWO, "subjects": lambda s: {n: d for n, d in s.items() if n != "files/a"}},
        "provenance.json says nothing",
    ),
    "provenance of others": (
        {"files": TWO, "subjects": lambda s: {**s, "files/a": "sha256:" + "0" * 64}}, "files/a",
    ),
    "deep manifest": (
        {"files": TWO, "edit": lambda m: m["artifacts"][0]["ref"]["facts"].update(x=_deep(300))}, "bundle.json",
    ),
}  # fmt: skip


def _deep(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_bundle_is_refused_and_nothing_reaches_a_store(case: str, forge: Forge, store: Store) -> None:
    arguments, reason = HOSTILE[case]
    path = forge(**arguments)
    with pytest.raises(RefusedError) as refused:
        unpack(store, path, prove(path))
    assert reason in str(refused.value)
    assert not any(store.root.joinpath("blobs", "sha256").iterdir())


@pytest.mark.parametrize("size", [-1, 1 << 40])
def test_a_first_member_that_claims_too_much_is_not_read(size: int, tmp_path: Path) -> None:
    info = tarfile.TarInfo("it/provenance.json")
    info.size = size
    path = tmp_path / "it.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(RefusedError, match="claims"):
        prove(path)


def test_what_changes_between_proof_and_import_is_refused(packed: Path, tmp_path: Path) -> None:
    proof = prove(packed)
    data = bytearray(packed.read_bytes())
    data[proof.begins["engine"]] ^= 1
    packed.write_bytes(data)
    other = Store.open(tmp_path / "other")
    with pytest.raises(RefusedError, match="has changed since"):
        unpack(other, packed, proof)


def test_no_file_and_no_bundle_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        prove(tmp_path / "nothing.tar")
    with pytest.raises(UsageError, match="cannot be read"):
        prove(tmp_path)
    (tmp_path / "x").write_bytes(b"no tar")
    with pytest.raises(RefusedError, match="not written by"):
        prove(tmp_path / "x")


def test_the_manifest_names_no_host_no_time_no_path(packed: Path, tmp_path: Path) -> None:
    assert str(tmp_path) not in packed.read_bytes().decode("utf-8", "replace")
    assert set(manifest_of(packed)) == {"schema_version", "kind", "name", "artifacts", "files", "lost"}
