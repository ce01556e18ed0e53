import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_core.errors import DamagedArtifact, MissingArtifact, StoreError, UsageError
from cxr_core.refs import Ref
from cxr_core.store import Store
from cxr_core.store.artifacts import Artifacts


def blob_path(store: Store, digest: str) -> Path:
    return store.root / "blobs" / "sha256" / digest[7:9] / digest[9:]


def test_a_file_lies_plain_and_read_only_under_its_sha256(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    data = os.urandom(2_500_000)
    source.write_bytes(data)
    ref = store.put(source, "model.onnx", {"opset": 18})
    path = blob_path(store, ref.digest)
    assert ref == Ref(
        form="blob",
        digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
        size=len(data),
        name="model.onnx",
        facts={"opset": 18},
    )
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert path.stat().st_nlink == 1
    assert store.path(ref) == path
    assert list((store.root / "tmp").iterdir()) == []


def test_putting_again_changes_nothing_but_makes_it_young(store: Store, tmp_path: Path) -> None:
    ref = store.put_bytes(b"same", "a")
    path = store.path(ref)
    before = path.stat().st_ino
    os.utime(path, (1, 1))
    assert store.put_bytes(b"same", "a") == ref
    assert path.stat().st_ino == before
    assert path.stat().st_mtime > 1


def test_bytes_and_empty_bytes(store: Store) -> None:
    for data in (b"", b"x" * 100):
        ref = store.put_bytes(data, "raw")
        assert store.read_bytes(ref) == data
        assert store.has(ref)


def test_a_tree_is_its_content_and_nothing_else(store: Store, folder: Path, tmp_path: Path) -> None:
    first = store.put(folder, "tensors")
    other = tmp_path / "other"
    for name in ("empty", "deep/er/c.bin", "a.bin", "deep/b.bin"):  # made in another order, at another time
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_bytes((folder / name).read_bytes())
        os.utime(other / name, (5, 5))
        (other / name).chmod(0o600)
    (other / "hollow").mkdir()
    assert store.put(other, "tensors") == first
    assert first.size == 5 + 4000 + 5
    listing = blob_path(store, first.digest).read_text()
    assert listing.startswith('[{"digest":"sha256:') and listing.endswith("]\n")
    (other / "a.bin").write_bytes(b"alphb")
    assert store.put(other, "tensors").digest != first.digest


def test_a_tree_without_files(store: Store, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    ref = store.put(tmp_path / "none", "none")
    assert (ref.form, ref.size) == ("tree", 0)
    assert list(store.checkout(ref, tmp_path / "out").iterdir()) == []


def test_checkout_gives_links_to_verified_bytes(store: Store, folder: Path, tmp_path: Path) -> None:
    tree, blob = store.put(folder, "tensors"), store.put_bytes(b"weights", "w.safetensors")
    out = tmp_path / "inputs"
    out.mkdir()
    link, place = store.checkout(blob, out), store.checkout(tree, out)
    assert link == out / "w.safetensors" and link.is_symlink() and link.read_bytes() == b"weights"
    assert not place.is_symlink() and not (place / "deep").is_symlink()
    for name in ("a.bin", "deep/b.bin", "deep/er/c.bin", "empty"):
        assert (place / name).is_symlink() and (place / name).read_bytes() == (folder / name).read_bytes()
    assert store.checkout(blob, out) == link  # again, without complaint


def test_checkout_overwrites_nothing(store: Store, tmp_path: Path) -> None:
    ref = store.put_bytes(b"weights", "w")
    (tmp_path / "w").write_text("mine")
    with pytest.raises(StoreError, match="already there and is something else"):
        store.checkout(ref, tmp_path)
    assert (tmp_path / "w").read_text() == "mine"


def test_a_tree_has_no_single_path(store: Store, folder: Path) -> None:
    with pytest.raises(StoreError, match="check it out into a folder"):
        store.path(store.put(folder, "tree"))
    with pytest.raises(StoreError, match="check it out"):
        store.read_bytes(store.put(folder, "tree"))


@pytest.mark.parametrize("form", ["blob", "tree"])
def test_missing_blobs_are_told_from_present_ones(store: Store, folder: Path, form: str) -> None:
    ref = store.put(folder if form == "tree" else folder / "a.bin", "x")
    victim = store.put(folder / "a.bin", "x")
    blob_path(store, victim.digest).unlink()
    assert not store.has(ref)
    for act in (store.verify_ref, lambda r: store.checkout(r, folder)):
        with pytest.raises(MissingArtifact, match="Run again"):
            act(ref)


def test_a_tree_without_its_listing_is_missing(store: Store, folder: Path) -> None:
    ref = store.put(folder, "x")
    blob_path(store, ref.digest).unlink()
    assert not store.has(ref)
    with pytest.raises(MissingArtifact, match="listing"):
        store.verify_ref(ref)


def test_wrong_bytes_are_never_served(store: Store, tmp_path: Path, flip: Callable[..., None]) -> None:
    for act in (store.verify_ref, store.read_bytes, lambda r: store.checkout(r, tmp_path / "out")):
        ref = store.put_bytes(b"precious", "p")
        path = store.path(ref)
        flip(path, 13)
        assert store.has(ref)  # the cheap look sees sizes only
        with pytest.raises(DamagedArtifact, match="quarantine"):
            act(ref)
        assert not path.exists()
        assert (store.root / "quarantine" / "blobs" / ref.digest[7:]).read_bytes() != b"precious"
        assert not (tmp_path / "out" / "p").exists()


def test_a_wrong_size_is_seen_by_the_cheap_look(store: Store) -> None:
    ref = store.put_bytes(b"precious", "p")
    path = store.path(ref)
    path.chmod(0o644)
    path.write_bytes(b"precio")
    assert not store.has(ref)


def test_what_goes_while_it_is_read_is_missing(
    store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes it away between the look and the read."""
    blob, tree = store.put_bytes(b"precious", "p"), store.put(folder, "tree")
    real_path, real_verify = Artifacts.path, Store.verify_ref

    def path_then_gone(self: Artifacts, ref: Ref) -> Path:
        path = real_path(self, ref)
        path.unlink()
        return path

    def verify_then_gone(self: Store, ref: Ref) -> None:
        real_verify(self, ref)
        blob_path(self, ref.digest).unlink()

    monkeypatch.setattr(Artifacts, "path", path_then_gone)
    with pytest.raises(MissingArtifact):
        store.read_bytes(blob)
    monkeypatch.setattr(Store, "verify_ref", verify_then_gone)
    with pytest.raises(MissingArtifact, match="a moment ago"):
        store.checkout(tree, tmp_path / "out")


@pytest.mark.parametrize("spoil", ["flip", "cut", "empty", "longer", "symlink", "other"])
def test_putting_again_repairs_damage(store: Store, spoil: str) -> None:
    ref, other = store.put_bytes(b"precious", "p"), store.put_bytes(b"previous", "q")
    path = store.path(ref)
    good = path.read_bytes()
    spoilt = {"flip": b"precioux", "cut": good[:3], "empty": b"", "longer": good + b"x", "other": b"previous"}
    path.unlink()
    if spoil == "symlink":
        path.symlink_to(store.path(other))
    else:
        path.write_bytes(spoilt[spoil])
    assert store.put_bytes(b"precious", "p") == ref
    assert store.read_bytes(ref) == b"precious"
    assert not path.is_symlink()
    assert store.read_bytes(other) == b"previous"
    assert store.verify().new_damage == ()


def test_a_repair_forgets_the_note(store: Store, flip: Callable[..., None]) -> None:
    ref = store.put_bytes(b"precious", "p")
    flip(store.path(ref))
    assert store.verify().exit_code == 1
    store.put_bytes(b"precious", "p")
    flip(store.path(ref))
    assert store.verify().exit_code == 1  # new damage, not the noted one


def test_what_is_no_regular_file_is_refused(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.mkdir()
    (source / "ok").write_text("ok")
    os.mkfifo(source / "pipe")
    (tmp_path / "link").symlink_to(source / "ok")
    (tmp_path / "linked").symlink_to(source)
    for path in (source / "pipe", tmp_path / "link", tmp_path / "linked", Path("/dev/null"), tmp_path / "absent"):
        with pytest.raises(UsageError, match="expected a regular file"):
            store.put(path, "x")
    with pytest.raises(UsageError, match=r"pipe is a pipe; an artifact holds regular files"):
        store.put(source, "x")
    (source / "pipe").unlink()
    (source / "inner").symlink_to("/etc")
    with pytest.raises(UsageError, match=r"inner is a symlink"):
        store.put(source, "x")
    assert list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../x", "/etc", ".hidden", "a b", "a\0b", "x" * 201, "é", "a\n"]
)
def test_artifact_names_are_plain(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="plain"):
        store.put_bytes(b"x", name)
    assert list((store.root / "blobs" / "sha256").iterdir()) == []


def test_facts_must_be_json(store: Store) -> None:
    with pytest.raises(UsageError, match="plain JSON"):
        store.put_bytes(b"x", "x", {"when": object()})  # type: ignore[dict-item]


def test_a_ref_that_lies_about_its_size_is_not_had(store: Store, folder: Path) -> None:
    for ref in (store.put(folder, "t"), store.put_bytes(b"abc", "b")):
        assert not store.has(ref.model_copy(update={"size": ref.size + 1}))
        with pytest.raises(StoreError):
            store.verify_ref(ref.model_copy(update={"size": ref.size + 1}))
        assert store.has(ref)


def test_bytes_reach_the_disk_before_their_name_and_the_name_before_the_promise(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    places: dict[int, str] = {}
    real_open, real_fsync, real_replace = os.open, os.fsync, os.replace

    def spy_open(path: Path, *rest: int, **named: int) -> int:
        descriptor = real_open(path, *rest, **named)
        places[descriptor] = Path(path).parent.name if os.path.isfile(path) else "folder"  # noqa: PTH113
        return descriptor

    def spy_fsync(descriptor: int) -> None:
        calls.append(f"fsync {places[descriptor]}")
        real_fsync(descriptor)

    def spy_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        real_replace(source, target)

    store.put_bytes(b"first", "x")  # makes what folders there are to make
    monkeypatch.setattr(os, "open", spy_open)
    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    (store.root / "blobs" / "sha256" / hashlib.sha256(b"second").hexdigest()[:2]).mkdir(exist_ok=True)
    store.put_bytes(b"second", "x")
    assert calls == ["fsync tmp", "rename", "fsync folder"]
    calls.clear()
    store.write_run("r", {"started": "2026-11-24T00:00:00Z"})
    assert calls == ["fsync folder", "fsync tmp", "rename", "fsync folder"]


def test_a_tree_of_what_is_there_is_the_tree_of_the_folder(store: Store, folder: Path) -> None:
    ref = store.put(folder, "it")
    assert store.put_tree(reversed(store.entries(ref)), "it") == ref


def test_a_tree_of_what_is_not_there_is_refused(store: Store, folder: Path) -> None:
    first, *others = store.entries(store.put(folder, "it"))
    with pytest.raises(MissingArtifact):
        store.put_tree([first.model_copy(update={"digest": "sha256:" + "0" * 64}), *others], "it")
    with pytest.raises(UsageError, match="clash"):
        store.put_tree([first, first.model_copy(update={"name": first.name.upper()})], "it")
