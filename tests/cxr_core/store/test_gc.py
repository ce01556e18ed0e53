import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cxr_core.errors import DamagedArtifact, MissingArtifact
from cxr_core.refs import Ref
from cxr_core.store import GcReport, Removed, Store
from cxr_core.store.actions import record_from_content

Persist = Callable[..., tuple[str, bytes]]
DAY = 86_400


def age(store: Store, days: float = 100) -> None:
    """Makes every file and folder look that old."""
    for path in [*store.root.rglob("*")]:
        then = path.lstat().st_mtime - days * DAY
        os.utime(path, (then, then), follow_symlinks=False)


def counts(report: GcReport) -> dict[str, tuple[int, int, int]]:
    """Blobs, bytes, and how many keep them, by reason."""
    return {reason: (kept.blobs, kept.bytes, kept.by) for reason, kept in report.kept.items()}


@pytest.fixture
def full(store: Store, folder: Path, persisted: Persist) -> dict[str, Ref]:
    refs = {name: store.put_bytes(name.encode() * 10, name) for name in ("loose", "old", "new", "ran", "pinned")}
    refs["tree"] = store.put(folder, "tree")
    for name in ("old", "new"):
        store.write_action(*persisted(name, {"out": refs[name]}))
    store.write_run("r", {"started": "2026-11-24T00:00:00Z", "deep": [{"er": refs["ran"].model_dump()}]})
    store.pin("releases/a", [refs["pinned"], refs["tree"]])
    age(store)
    new_key = next(record.key for record in store.records() if record.stage == "new")
    os.utime(store.root / "actions" / new_key)
    return refs


def test_what_nobody_names_goes_and_the_rest_stays(store: Store, full: dict[str, Ref]) -> None:
    told = store.gc(dry_run=True)
    assert all(store.has(ref) for ref in full.values()) and len(list(store.records())) == 2
    done = store.gc(dry_run=False)
    assert set(done.removed_blobs) == {full["loose"].digest, full["old"].digest} == set(told.removed_blobs)
    assert done.removed_bytes == full["loose"].size + full["old"].size
    assert done.removed_records == told.removed_records and len(done.removed_records) == 1
    assert {name for name, ref in full.items() if store.has(ref)} == {"new", "ran", "pinned", "tree"}
    assert [record.stage for record in store.records()] == ["new"]
    listing = store.path(full["tree"].model_copy(update={"form": "blob"})).stat().st_size
    assert (
        counts(done) == {"runs": (1, 30, 1), "pins": (5, 60 + listing + 4005, 1), "records": (1, 30, 1)} == counts(told)
    )
    assert done.removed == told.removed == (Removed("", "", 1, 50), Removed("old", "old", 1, 30))
    assert done.kept_bytes == 30 + 60 + listing + 4005 + 30
    assert store.verify().exit_code == 0
    again = store.gc(dry_run=False)
    assert (again.removed_blobs, again.removed_records, again.removed_leftovers) == ((), (), ())


def test_a_dry_run_counts_runs_to_forget_for_gone(store: Store, full: dict[str, Ref], persisted: Persist) -> None:
    _, content = persisted("train", {"checkpoint": full["loose"]})
    record = record_from_content(content, persisted("train", {"checkpoint": full["loose"]})[0])
    account = {"started": "2026-11-24T00:00:00Z", "records": {record.key: record.model_dump(mode="json")}}
    store.write_run("older", account)
    age(store, 2)
    assert full["loose"].digest not in store.gc(dry_run=True).removed_blobs
    told = store.gc(dry_run=True, forget=["older", "r"])
    assert {full["loose"].digest, full["ran"].digest} < set(told.removed_blobs) and len(store.runs()) == 2
    assert Removed("train", "loose", 1, 50) in told.removed and Removed("", "", 1, 30) in told.removed
    done = store.gc(dry_run=False, forget=["older", "r"])
    assert (done.removed_blobs, done.removed, done.forgotten_runs) == (told.removed_blobs, told.removed, ("older", "r"))
    assert store.runs() == [] and store.verify().exit_code == 0


def test_a_report_says_who_holds_leases(store: Store) -> None:
    with store.lease("run of mine"):
        store.put_bytes(b"x", "x")
        age(store)
        report = store.gc(dry_run=False)
    assert counts(report) == {"leases": (1, 1, 1)}
    assert len(report.holders) == 1 and report.holders[0].startswith(f"run of mine (process {os.getpid()} on ")


def test_nothing_young_goes(store: Store) -> None:
    ref = store.put_bytes(b"just now", "x")
    report = store.gc(dry_run=False, keep_days=0)
    assert store.has(ref) and counts(report) == {"young": (1, 8, 0)} and report.kept_bytes == 8
    store.gc(dry_run=False, keep_days=0, grace_seconds=-1)
    assert not store.has(ref)


@pytest.mark.parametrize("promise", ["put", "hit", "pin", "run"])
def test_a_promise_makes_young(store: Store, persisted: Persist, promise: str) -> None:
    ref = store.put_bytes(b"x", "x")
    key, content = persisted("train", {"x": ref})
    store.write_action(key, content)
    age(store)
    if promise == "put":
        store.put_bytes(b"x", "x")
    if promise == "hit":
        store.read_action(key)
    if promise == "pin":
        store.pin("p", [ref])
        store.unpin("p")
    if promise == "run":
        store.write_run("r", {"started": "2026-11-24T00:00:00Z", "ref": ref.model_dump()})
        (store.root / "runs" / "r" / "run.json").unlink()
    report = store.gc(dry_run=False)
    assert report.removed_records == (key,)
    assert store.has(ref)


def test_an_old_record_stays_while_its_outputs_stay_anyway(store: Store, persisted: Persist) -> None:
    ref = store.put_bytes(b"x", "x")
    key, content = persisted("train", {"x": ref})
    store.write_action(key, content)
    store.pin("p", [ref])
    age(store)
    assert store.gc(dry_run=False).removed_records == ()
    assert store.read_action(key) == content


def test_leftovers_of_dead_processes_go(store: Store, persisted: Persist) -> None:
    finished, content = persisted("train", {})
    store.write_action(finished, content)
    unfinished, busy = "b" * 64, "c" * 64
    for key in (finished, unfinished, busy):
        (store.work(key) / "deep").mkdir()
        (store.work(key) / "deep" / "epoch").write_text("x")
    (store.root / "tmp" / "1-abc").write_text("half")
    (store.root / "tmp" / "folder").mkdir()
    table = store.lock_table()
    assert table.acquire("done", "x", 0)
    table.release("done", "x")
    assert table.acquire(busy, "x", 0)
    age(store, 2)
    expected = {"tmp/1-abc", "tmp/folder", f"work/{finished}", "locks/done"}
    assert set(store.gc(dry_run=True).removed_leftovers) == expected
    assert set(store.gc(dry_run=False).removed_leftovers) == expected
    assert {path.name for path in (store.root / "work").iterdir()} == {unfinished, busy}
    age(store, 40)
    assert f"work/{unfinished}" in store.gc(dry_run=False).removed_leftovers
    assert [path.name for path in (store.root / "work").iterdir()] == [busy]  # held by its lock
    assert table.is_holder(busy, "x") and store.lock_table().is_locked(busy)


def test_scratch_folders_that_end_meanwhile_do_not_end_gc(store: Store) -> None:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            with tempfile.TemporaryDirectory(dir=store.root / "tmp") as folder:
                for number in range(20):
                    Path(folder, str(number), "deep").mkdir(parents=True)

    with ThreadPoolExecutor(2) as pool:
        working = [pool.submit(work) for _ in range(2)]
        try:
            for _ in range(100):
                store.gc(dry_run=False)
        finally:
            over.set()
        for each in working:
            each.result()


def test_a_work_folder_in_use_is_young(store: Store, persisted: Persist) -> None:
    key, content = persisted("train", {})
    store.write_action(key, content)
    (store.work(key) / "epoch").write_text("x")
    age(store)
    (store.work(key) / "epoch").write_text("newer")
    assert store.gc(dry_run=False).removed_leftovers == ()


@pytest.mark.parametrize("room", ["runs/r/run.json", "pins/releases/a.json"])
def test_gc_takes_nothing_while_a_root_is_unreadable(
    store: Store, full: dict[str, Ref], flip: Callable[..., None], room: str
) -> None:
    flip(store.root / room, 9)
    with pytest.raises(DamagedArtifact, match="verify` first"):
        store.gc(dry_run=False)
    assert all(store.has(ref) for ref in full.values())
    assert store.verify().exit_code == 1
    store.gc(dry_run=False)
    assert store.has(full["ran"]) and store.has(full["tree"]) and store.has(full["pinned"])  # saved from quarantine


def test_a_record_is_gone_before_its_blobs(store: Store, full: dict[str, Ref], monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = os.unlink

    def spy(path: Path, **more: int) -> None:
        order.append(Path(path).parts[-2])
        real(path, **more)

    monkeypatch.setattr(os, "unlink", spy)
    store.gc(dry_run=False)
    rooms = ["actions" if part == "actions" else "blob" for part in order if part == "actions" or len(part) == 2]
    assert rooms == ["actions", "blob", "blob"]


def test_notes_that_nobody_asks_about_go(store: Store, persisted: Persist, flip: Callable[..., None]) -> None:
    ref = store.put_bytes(b"x", "x")
    key, content = persisted("train", {"x": ref})
    store.write_action(key, content)
    flip(store.path(ref))
    store.verify()
    assert len(store.verify().lost) == 1
    store.gc(dry_run=False)
    assert store.verify().lost == ()
    with pytest.raises(MissingArtifact):
        store.read_action(key)
