"""What somebody with bad intent, or bad luck, could lay before the store: refused, with nothing left of it."""

import json
import os
import socket
import stat
from collections.abc import Callable, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import MissingArtifact, StoreError, UsageError
from cxr_core.refs import Ref
from cxr_core.store import Store
from cxr_core.store.seals import digest_of, sealed
from cxr_core.store.trees import Entry, bytes_from_entries

Persist = Callable[..., tuple[str, bytes]]
Lies = Mapping[str, Ref]
HOSTILE_NAMES = {
    "climbs out": "../../etc/passwd",
    "climbs out within": "a/../../b",
    "absolute": "/etc/passwd",
    "here": "./a",
    "nothing": "",
    "empty part": "a//b",
    "NUL": "a\0b",
    "newline": "a\nb",
    "backslash": "..\\a",
    "a part of 256 bytes": "n" * 256,
    "a part of 256 bytes, 128 letters": "\u00e9" * 128,
    "over 1024 bytes": "/".join(["d" * 200] * 6),
}
CLASHES = {
    "case": ("Scan.png", "scan.png"),
    "case of a folder": ("A/x", "a/y"),
    "Unicode form": ("\u00e9", "e\u0301"),
    "ligature": ("stra\u00dfe", "STRASSE"),
    "twice": ("a", "a"),
    "file and folder": ("a", "a/b"),
}


def listing(*names: str) -> bytes:
    """Canonical but for what is wrong with the names."""
    rows = [{"digest": digest_of(b"x"), "name": name, "size": 1} for name in sorted(names)]
    return (json.dumps(rows, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


@pytest.mark.parametrize("names", [*((name,) for name in HOSTILE_NAMES.values()), *CLASHES.values()])
def test_a_hostile_listing_is_not_obeyed(
    store: Store, names: tuple[str, ...], tmp_path: Path, persisted: Persist
) -> None:
    store.put_bytes(b"x", "x")
    planted = store.put_bytes(listing(*names), "listing")  # a whole blob, which is no tree
    tree = Ref(form="tree", digest=planted.digest, size=len(names), name="t")
    assert not store.has(tree)
    for act in (store.verify_ref, store.entries, lambda ref: store.checkout(ref, tmp_path / "out")):
        with pytest.raises(MissingArtifact):
            act(tree)
    assert not (tmp_path / "out").exists()
    with pytest.raises(StoreError, match="came before its outputs"):
        store.write_action(*persisted("x", {"t": tree}))
    with pytest.raises(MissingArtifact):
        store.pin("p", [tree])
    entries = [Entry(digest=digest_of(b"x"), name=name, size=1) for name in names]
    with pytest.raises(UsageError, match="cannot be kept as a tree"):
        store.put_tree(entries, "t")
    assert store.read_bytes(planted) == listing(*names)  # as a blob it is as good as any
    assert store.verify().exit_code == 0


@pytest.mark.parametrize("kind", ["character device", "block device", "pipe", "socket", "symlink", "dangling symlink"])
@pytest.mark.parametrize("where", ["alone", "in a folder"])
def test_what_is_no_file_is_not_put(store: Store, tmp_path: Path, kind: str, where: str) -> None:
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "good").write_bytes(b"good")
    odd = folder / "deep" / "odd"
    if kind.endswith("device"):
        try:
            os.mknod(odd, 0o600 | (stat.S_IFCHR if kind.startswith("ch") else stat.S_IFBLK), os.makedev(1, 3))
        except PermissionError:
            pytest.skip("this user may make no devices")
    elif kind == "pipe":
        os.mkfifo(odd)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made, chdir(odd.parent):
            made.bind(odd.name)
    else:
        odd.symlink_to(folder / ("good" if kind == "symlink" else "absent"))
    with pytest.raises(UsageError, match=r"odd (is|cannot be opened)"):
        store.put(odd if where == "alone" else folder, "x")
    assert store.verify().blobs == 0 and list((store.root / "tmp").iterdir()) == []


@pytest.fixture
def lies(store: Store, folder: Path) -> Lies:
    """Refs that say something else than what lies there, all of it whole."""
    blob, tree = store.put_bytes(b"content", "b"), store.put(folder, "t")
    itself = store.put_bytes(b"[]\n", "l")
    listing_of_listing = store.put_tree([Entry(digest=tree.digest, name="t", size=length(store, tree))], "ll")
    return {
        "a tree that is a blob": Ref(form="tree", digest=blob.digest, size=blob.size, name="x"),
        "a blob that is a tree, by its size": Ref(form="blob", digest=tree.digest, size=tree.size, name="x"),
        "a blob that is larger": blob.model_copy(update={"size": blob.size + 1}),
        "a blob of nothing": blob.model_copy(update={"size": 0}),
        "a tree that is smaller": tree.model_copy(update={"size": tree.size - 1}),
        "a tree of a tree, by the sum of its files": listing_of_listing.model_copy(update={"size": tree.size}),
        "an empty tree with a size": Ref(form="tree", digest=itself.digest, size=5, name="x"),
        "what nobody has": Ref(form="tree", digest="sha256:" + "0" * 64, size=0, name="x"),
    }


def length(store: Store, tree: Ref) -> int:
    return len(bytes_from_entries(store.entries(tree)))


CASES = [
    "a tree that is a blob", "a blob that is a tree, by its size", "a blob that is larger", "a blob of nothing",
    "a tree that is smaller", "a tree of a tree, by the sum of its files", "an empty tree with a size",
    "what nobody has",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_ref_that_lies_is_refused_and_costs_nothing(store: Store, lies: Lies, case: str, persisted: Persist) -> None:
    assert sorted(lies) == sorted(CASES)
    ref = lies[case]
    good = {path: path.read_bytes() for path in (store.root / "blobs").rglob("*") if path.is_file()}
    key, content = persisted("good", {"b": Ref(form="blob", digest=digest_of(b"content"), size=7, name="b")})
    store.write_action(key, content)
    assert not store.has(ref)
    acts: list[Callable[[], Any]] = [
        lambda: store.verify_ref(ref), lambda: store.checkout(ref, store.root / "work" / "x"),
        lambda: store.read_bytes(ref), lambda: store.pin("p", [ref]),
        lambda: store.write_action(*persisted("x", {"o": ref})),
    ]  # fmt: skip
    for act in acts:
        with pytest.raises(StoreError):
            act()
    bad_key, bad = persisted("planted", {"o": ref})
    (store.root / "actions" / bad_key).write_bytes(sealed(bad))
    with pytest.raises(MissingArtifact):
        store.read_action(bad_key)
    store.write_run("r", {"started": "2026-11-24T00:00:00Z", "ref": ref.model_dump()})
    first = store.verify()
    assert (first.exit_code, first.withdrawn) == (1, (bad_key,))
    for _ in range(3):  # the run that names it stays, and so does what was noted of it
        again = store.verify()
        assert (again.exit_code, [lost.what for lost in again.lost]) == (0, [ref.digest])
    assert {path: path.read_bytes() for path in good} == good
    assert store.read_action(key) == content
    store.drop_run("r")
    assert store.verify().lost == () or case == "what nobody has"


def test_a_listing_is_a_file_like_any_other(store: Store, lies: Lies, folder: Path, tmp_path: Path) -> None:
    tree = store.put(folder, "t")
    outer = store.put_tree([Entry(digest=tree.digest, name="t", size=length(store, tree))], "outer")
    out = store.checkout(outer, tmp_path / "out")
    assert (out / "t").read_bytes() == bytes_from_entries(store.entries(tree))
    as_blob = Ref(form="blob", digest=tree.digest, size=length(store, tree), name="x")
    assert store.read_bytes(as_blob) == (out / "t").read_bytes()
