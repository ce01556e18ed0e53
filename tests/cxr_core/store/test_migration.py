"""A store of format 1, made by the version that wrote it, opens under this one."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_core.errors import StoreError
from cxr_core.store import Store, migration
from cxr_core.store.layout import FOLDERS

OLD = Path(__file__).parent / "data" / "format-1"

OPENER = """
import pathlib, sys, time
from cxr_core.store import Store, migration
root, told = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
def step(root, real=migration.STEPS[0]):
    with told.open("a") as opened:
        opened.write("migrated\\n")
    time.sleep(0.3)
    real(root)
migration.STEPS = (step,)
print("ready", flush=True)
sys.stdin.read()
assert [ref.name for ref in Store.open(root).pins()["releases/first"]] == ["weights"]
"""


def copied(place: Path) -> Path:
    """A copy to damage, with the empty folders that a version control system leaves out."""
    shutil.copytree(OLD, place)
    for name in FOLDERS:
        if name != "leases":
            (place / name).mkdir(parents=True, exist_ok=True)
    return place


def check_whole(root: Path) -> None:
    store = Store.open(root, create=False)
    assert (root / "FORMAT").read_text() == f"{migration.FORMAT}\n" and (root / "leases").is_dir()
    (record,) = store.records()
    assert json.loads(store.read_action(record.key))["metadata"]["storage_key"] == record.key
    assert store.read_bytes(record.output("weights")) == b"weights of format 1\n"
    assert [entry.name for entry in store.entries(record.output("tensors"))] == ["a.txt", "deep/b.txt"]
    assert store.read_run("latest")["run_id"] == "first"
    assert (store.work("e" * 64) / "epoch").read_text() == "7\n"
    report = store.verify()
    assert (report.blobs, report.records, report.runs, report.pins, report.new_damage) == (4, 1, 1, 1, ())


@pytest.mark.parametrize("create", [True, False])
def test_format_1_opens(tmp_path: Path, create: bool) -> None:
    root = copied(tmp_path / "store")
    assert (root / "FORMAT").read_text() == "1\n"
    Store.open(root, create=create)
    check_whole(root)


def test_the_format_is_told_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copied(tmp_path / "store")

    def broken(root: Path) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(migration, "STEPS", (broken,))
    with pytest.raises(RuntimeError):
        Store.open(root)
    assert (root / "FORMAT").read_text() == "1\n"
    monkeypatch.undo()
    Store.open(root)
    check_whole(root)


def test_steps_go_on_from_where_they_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, done = copied(tmp_path / "store"), list[str]()

    def step(name: str) -> Callable[[Path], None]:
        return lambda root: done.append(name)

    def broken(root: Path) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr("cxr_core.store.layout.FORMAT", 4)
    monkeypatch.setattr(migration, "STEPS", (step("to 2"), broken, step("to 4")))
    with pytest.raises(RuntimeError):
        Store.open(root)
    assert (done, (root / "FORMAT").read_text()) == (["to 2"], "2\n")
    monkeypatch.setattr(migration, "STEPS", (step("to 2"), step("to 3"), step("to 4")))
    Store.open(root)
    assert (done, (root / "FORMAT").read_text()) == (["to 2", "to 3", "to 4"], "4\n")


def test_many_that_open_it_at_once_migrate_it_once(tmp_path: Path) -> None:
    root, told = copied(tmp_path / "store"), tmp_path / "told"
    command = [sys.executable, "-c", OPENER, str(root), str(told)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    children = [subprocess.Popen(command, text=True, **pipes) for _ in range(4)]
    assert [child.stdout.readline() for child in children if child.stdout] == ["ready\n"] * 4
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    for child in children:
        child.stdin = None
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    assert told.read_text() == "migrated\n"
    check_whole(root)


def test_one_that_cannot_be_written_is_told(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("size=4m")
    root = copied(disk / "store")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(StoreError, match=r"cannot be written while being migrated from format 1 to 2.*Remount it"):
        Store.open(root)
    with pytest.raises(StoreError, match="migrated from format 1"):
        Store.open(root, create=False)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    Store.open(root)
    check_whole(root)
