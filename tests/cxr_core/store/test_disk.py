"""A disk that is full, read-only or forbidden: really so, not pretended."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_core.errors import DamagedArtifact, StoreError, StoreFull
from cxr_core.store import Store

Persist = Callable[..., tuple[str, bytes]]
Disk = Callable[[str], Path]


def leftovers(store: Store) -> list[Path]:
    return list((store.root / "tmp").iterdir())


def test_a_full_disk_costs_only_the_put_that_met_it(small_disk: Disk, tmp_path: Path, persisted: Persist) -> None:
    store = Store.open(small_disk("size=400k") / "store")
    kept = store.put_bytes(b"k" * 100_000, "kept")
    key, content = persisted("train", {"kept": kept})
    store.write_action(key, content)
    big = tmp_path / "big"
    big.write_bytes(b"b" * 1_000_000)
    with pytest.raises(StoreFull, match=r"needed 1,000,000 bytes, available [1-9][0-9,]+ bytes .*store gc"):
        store.put(big, "big")
    assert leftovers(store) == []
    assert store.read_action(key) == content and store.read_bytes(kept) == b"k" * 100_000
    assert store.verify().exit_code == 0
    store.put_bytes(b"small", "small")


def test_a_large_file_is_refused_before_it_is_copied(small_disk: Disk, tmp_path: Path) -> None:
    store = Store.open(small_disk("size=1m") / "store")
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(5_000_000_000)
    before = (store.root / "tmp").stat().st_mtime_ns
    with pytest.raises(StoreFull, match=r"needed 5,000,000,000 bytes, available [1-9][0-9,]+ bytes .*store gc"):
        store.put(big, "big")
    assert (store.root / "tmp").stat().st_mtime_ns == before, "a temporary file was begun"


def test_a_full_disk_in_the_middle_of_a_tree(small_disk: Disk, tmp_path: Path) -> None:
    store = Store.open(small_disk("size=400k") / "store")
    source = tmp_path / "tree"
    source.mkdir()
    for number in range(10):
        (source / str(number)).write_bytes(bytes([number]) * 80_000)
    with pytest.raises(StoreFull):
        store.put(source, "tree")
    assert leftovers(store) == []
    assert store.verify().exit_code == 0
    store.gc(dry_run=False, grace_seconds=-1)
    assert not [path for path in (store.root / "blobs").rglob("*") if path.is_file()]


def test_a_full_disk_leaves_old_accounts_as_they_were(small_disk: Disk, persisted: Persist) -> None:
    store = Store.open(small_disk("size=200k") / "store")
    key, content = persisted("train", {})
    store.write_action(key, content)
    store.write_run("r", {"started": "2026-11-24T00:00:00Z"})
    with pytest.raises(StoreFull):
        store.write_run("r", {"started": "2026-11-24T00:00:00Z", "filler": "x" * 300_000})
    with pytest.raises(StoreFull):
        store.write_action(*persisted("other", {}, filler="x" * 300_000))
    assert store.read_run("r") == {"run_id": "r", "started": "2026-11-24T00:00:00Z"}
    assert store.read_action(key) == content
    assert leftovers(store) == [] and store.verify().exit_code == 0


def test_no_inodes_left_is_told(small_disk: Disk) -> None:
    store = Store.open(small_disk("size=4m,nr_inodes=40") / "store")
    with pytest.raises(StoreFull, match=r"bytes but only \d inodes"):
        for number in range(60):
            store.put_bytes(str(number).encode(), "x")
    assert leftovers(store) == []
    assert store.verify().exit_code == 0


def test_a_file_size_limit_is_a_full_store(tmp_path: Path) -> None:
    script = (
        "import pathlib, resource, sys\n"
        "from cxr_core.errors import StoreFull\n"
        "from cxr_core.store import Store\n"
        "store = Store.open(pathlib.Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    store.put_bytes(b'x' * 200_000, 'x')\n"
        "except StoreFull as error:\n    assert 'needed 200,000 bytes' in str(error), error\n"
        "else:\n    raise SystemExit('put beyond the limit')\n"
        "assert not list((store.root / 'tmp').iterdir())\n"
        "store.put_bytes(b'x' * 50_000, 'x')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_read_only_store_reads_and_says_how_to_write(
    small_disk: Disk, tmp_path: Path, persisted: Persist, flip: Callable[..., None]
) -> None:
    disk = small_disk("size=1m")
    store = Store.open(disk)
    ref, bad = store.put_bytes(b"good", "good"), store.put_bytes(b"evil", "evil")
    key, content = persisted("train", {"good": ref})
    store.write_action(key, content)
    store.write_run("r", {"started": "2026-11-24T00:00:00Z"})
    flip(store.path(bad))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

    store = Store.open(disk)
    assert store.read_bytes(ref) == b"good" and store.read_action(key) == content
    assert store.read_run("latest")["run_id"] == "r"
    assert store.checkout(ref, tmp_path).read_bytes() == b"good"
    with pytest.raises(DamagedArtifact, match="could not be moved to quarantine"):
        store.read_bytes(bad)
    report = store.verify()
    assert report.exit_code == 1 and "not moved" in report.new_damage[0].reason
    for act in (
        lambda: store.put_bytes(b"x", "x"),
        lambda: store.write_action(key, content),
        lambda: store.write_run("r", {"started": "2026-11-24T00:00:00Z"}),
        lambda: store.pin("p", [ref]),
        lambda: store.work("a" * 64),
        lambda: store.gc(dry_run=False, grace_seconds=-1),
        lambda: store.lock_table().acquire("key", "me", 0),
    ):
        with pytest.raises(StoreError, match=r"cannot be written .*Remount it read-write.*CXR_STORE"):
            act()


def test_no_store_is_made_on_a_read_only_disk(small_disk: Disk) -> None:
    disk = small_disk("size=1m,ro")
    with pytest.raises(StoreError, match="cannot be written while making a store"):
        Store.open(disk / "store")


def test_a_users_missing_rights_are_told(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        script = (
            "import os, pathlib, sys\n"
            "from cxr_core.errors import StoreError\n"
            "from cxr_core.store import Store\n"
            "store = Store.open(pathlib.Path(sys.argv[1]))\n"
            "os.seteuid(65534)\n"
            "try:\n    store.put_bytes(b'x', 'x')\n"
            "except StoreError as error:\n    assert 'Give this user the rights' in str(error), error\n"
            "else:\n    raise SystemExit('put without rights')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return
    store = Store.open(tmp_path)
    (store.root / "tmp").chmod(0o500)
    with pytest.raises(StoreError, match="Give this user the rights"):
        store.put_bytes(b"x", "x")


def filled(disk: Path, room: int, inodes: bool) -> Path:
    """Takes all of a file system but so many pages, or inodes."""
    filler = disk / "filler"
    filler.mkdir()
    if inodes:
        for number in range(os.statvfs(disk).f_favail - room):
            (filler / str(number)).touch()
    else:
        (filler / "x").write_bytes(bytes((os.statvfs(disk).f_bavail - room) * os.statvfs(disk).f_bsize))
    return filler


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_whatever_is_done_on_a_full_disk_is_told_and_done_once_there_is_room(
    small_disk: Disk, folder: Path, persisted: Persist, flip: Callable[..., None], what: str
) -> None:
    disk = small_disk("size=2m,nr_inodes=300")
    store = Store.open(disk / "store")
    kept, bad = store.put_bytes(b"kept", "kept"), store.put_bytes(b"evil", "evil")
    key, content = persisted("train", {"kept": kept})
    store.write_action(key, content)
    garbage = store.put_bytes(b"g" * 50_000, "garbage")
    run = {"started": "2026-11-24T00:00:00Z", "refs": [kept.model_dump()]}
    store.write_run("old", {**run, "refs": [bad.model_dump(), garbage.model_dump()]})
    acts: dict[str, Callable[[], object]] = {
        "put": lambda: store.put_bytes(b"new" * 3000, "new"),
        "put_tree": lambda: store.put(folder, "tree"),
        "write_action": lambda: store.write_action(*persisted("other", {"kept": kept}, filler="x" * 5000)),
        "write_run": lambda: store.write_run("new", run),
        "pin": lambda: store.pin("releases/new", [kept]),
        "work": lambda: store.work("f" * 64),
    }
    for name, act in acts.items():
        told = 0
        for room in range(12):
            filler = filled(disk, room, what == "inodes")
            try:
                act()
            except StoreFull as error:
                told += 1
                assert "needed " in str(error) and "available " in str(error) and "store gc" in str(error)
            assert leftovers(store) == []
            assert store.read_bytes(kept) == b"kept" and store.read_action(key) == content
            assert store.verify().exit_code == 0
            shutil.rmtree(filler)
        assert told or (name, what) == ("work", "bytes"), f"{name} never met the end"  # a folder takes no page here
        act()

    filler = filled(disk, 0, what == "inodes")
    flip(store.path(bad))
    for _ in range(2):  # it cannot be moved away: told each time, and never served
        report = store.verify()
        assert report.exit_code == 1 and "not moved" in report.new_damage[0].reason
        with pytest.raises(StoreError):
            store.read_bytes(bad)
    store.drop_run("old")
    assert garbage.digest in store.gc(dry_run=False, grace_seconds=-1).removed_blobs  # which is the way out
    shutil.rmtree(filler)
    assert store.verify().exit_code == 0
