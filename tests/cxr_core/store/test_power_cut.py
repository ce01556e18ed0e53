"""The power goes: a real ext4 in an image, whose bytes are copied at an instant and mounted again.

What was only in memory at that instant is not in the copy, as after a power cut. Each check has been seen to
fail with the fsync or syncfs that it is about taken out.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import StoreError
from cxr_core.refs import Ref
from cxr_core.store import Store, syncing

SIZE = 24 << 20
SAMPLED = 8


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "ext4", "-o", "loop", image, place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine may not mount an image: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return formatted(tmp_path / "disk")


def formatted(made: Path) -> Path:
    path = f"{os.environ['PATH']}:/sbin"
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4", path=path) or not shutil.which("mount"):
        pytest.skip("an ext4 of its own needs root, mkfs.ext4 and mount")
    with made.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", made], check=True, env={**os.environ, "PATH": path})
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "wide"
    made.mkdir()
    for number in range(syncing.FEW + 4):
        (made / str(number)).write_bytes(random.Random(number).randbytes(5000))
    return made


def put_few(store: Store, source: Path) -> Ref:
    return store.put(source / "0", "few")


def put_many(store: Store, source: Path) -> Ref:
    return store.put(source, "many")


def after_the_cut(copy: Path, place: Path, refs: list[Ref]) -> None:
    """Everything that was promised is there, and whatever else has a name has the bytes of that name."""
    with mounted(copy, place):
        store = Store.open(place / "store", create=False)
        for ref in refs:
            store.verify_ref(ref)
        report = store.verify()
        assert (report.new_damage, report.withdrawn) == ((), ())
    copy.unlink()


@pytest.mark.parametrize("put", [put_few, put_many])
def test_what_put_returned_survives(image: Path, source: Path, tmp_path: Path, put: Callable[..., Ref]) -> None:
    with mounted(image, tmp_path / "here"):
        store = Store.open(tmp_path / "here" / "store")
        assert syncing.syncfs_suffices(store.root)
        ref = put(store, source)
        shutil.copyfile(image, tmp_path / "copy")
    after_the_cut(tmp_path / "copy", tmp_path / "there", [ref])


def cut_everywhere(image: Path, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Path], Ref]:
    """A copy of the disk before each rename and sync of the put of a tree, and one after each.

    Just before it a neighbour makes a file of its own durable, which takes our renames to the disk but not our bytes.
    """
    copies: list[Path] = []
    fsync = os.fsync

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            cut()
            result = real(*arguments, **named)
            cut()
            return result

        return call

    def cut() -> None:
        with (folder / "here" / "neighbour").open("w") as neighbour:
            neighbour.write(str(len(copies)))
            neighbour.flush()
            fsync(neighbour.fileno())
        copies.append(Path(shutil.copyfile(image, folder / f"cut{len(copies)}")))

    with mounted(image, folder / "here"), monkeypatch.context() as patched:
        store = Store.open(folder / "here" / "store")
        kept = store.put_bytes(b"kept", "kept")
        for owner, name in ((os, "replace"), (os, "fsync"), (syncing, "syncfs")):
            patched.setattr(owner, name, watched(getattr(owner, name)))
        store.put(source, "many")
    return copies, kept


@pytest.mark.parametrize("chosen", [SAMPLED, pytest.param(1000, marks=pytest.mark.slow)])
def test_nothing_half_written_has_a_name_whenever_the_power_goes(
    image: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: int
) -> None:
    seed = int(os.environ.get("CXR_CRASH_SEED") or random.SystemRandom().randrange(2**31))
    copies, kept = cut_everywhere(image, source, tmp_path, monkeypatch)
    cuts = sorted(random.Random(seed).sample(copies, min(chosen, len(copies))), key=copies.index)
    sys.stdout.write(f"CXR_CRASH_SEED={seed}: {len(cuts)} of {len(copies)} power cuts\n")
    for copy in cuts:
        after_the_cut(copy, tmp_path / "there", [kept])


def test_a_write_that_fails_after_the_last_call_is_told(small_disk: Callable[[str], Path], source: Path) -> None:
    """The image's own disk is full, which only writing back finds out: syncfs must tell, as fsync does."""
    disk = small_disk("size=6m")
    image = formatted(disk / "image")
    for path in source.iterdir():
        path.write_bytes(os.urandom(1_000_000))
    with mounted(image, source.parent / "here"):
        store = Store.open(source.parent / "here" / "store")
        with pytest.raises(StoreError, match="failed while putting an artifact"):
            store.put(source, "many")
        assert not [path for path in (store.root / "blobs").rglob("*") if path.is_file()]


def test_the_names_of_a_tree_are_durable_before_its_listing_is_written(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ext4 would forgive it, for the listing's fsync takes the earlier renames along; others need not."""
    calls: list[str] = []

    def spy(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: (calls.append(name), real(*arguments, **named))[1]

    store.put_bytes(b"first", "x")
    monkeypatch.setattr(syncing, "syncfs_suffices", lambda folder: True)  # wherever the tests' folder lies
    for owner, name in ((os, "replace"), (os, "fsync"), (syncing, "syncfs")):
        monkeypatch.setattr(owner, name, spy(name, getattr(owner, name)))
    store.put(source, "many")
    files = len(list(source.iterdir()))
    together = [call for call in calls if call != "fsync"]
    assert together == ["syncfs", *["replace"] * files, "syncfs", "replace"]
    assert calls[: len(together) - 1] == together[:-1] and calls.count("fsync") in (2, 3)  # and a shard, if it is new


def test_where_syncfs_may_not_suffice_each_file_is_synced_before_any_gets_its_name(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def spy(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: (calls.append(name), real(*arguments, **named))[1]

    store.put_bytes(b"first", "x")
    monkeypatch.setattr(syncing, "_LOCAL", {})
    for owner, name in ((os, "replace"), (os, "fsync"), (syncing, "syncfs")):
        monkeypatch.setattr(owner, name, spy(name, getattr(owner, name)))
    ref = store.put(source, "many")
    files = len(list(source.iterdir()))
    assert "syncfs" not in calls
    assert calls[: files + 1] == ["fsync"] * (files + 1)  # and the folder of new shards
    assert calls[files + 1 : 2 * files + 1] == ["replace"] * files
    store.verify_ref(ref)


@pytest.mark.parametrize(
    ("system", "release"), [("Linux", "5.7.19-generic"), ("Linux", "4.4.0"), ("Darwin", "24.1.0"), ("Linux", "6")]
)
def test_an_older_kernel_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, release: str
) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((system, "host", release, "#1", "x86_64")))
    assert not syncing.syncfs_suffices(tmp_path)
