"""What a living process has put, hit or promised stays, whatever the times say; what a dead one had, does not.

gc is told here that it is ten days later than it is: without a lease, everything is old.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from cxr_core.errors import MissingArtifact, StoreFull
from cxr_core.refs import Ref
from cxr_core.store import Store, leases
from cxr_core.store.gc import Collector
from cxr_core.store.locks import held
from tests.conftest import PROJECT
from tests.cxr_core.store.conftest import GC_LOOP, collecting, gc_later

Persist = Callable[..., tuple[str, bytes]]
STARTED = "2026-11-24T00:00:00Z"

CHAIN = """
import pathlib, sys, threading
from cxr_core.refs import Record
from cxr_core.store import Store
from tests.cxr_core.store.conftest import content_of
root, source, rounds = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
store, records = Store.open(root), {}
with store.lease("run chain"):
    store.write_run("chain", {"started": "2026-11-24T00:00:00Z", "state": "running"})
    for number in range(rounds):
        (source / "changing").write_text(str(number))
        outputs = {"blob": store.put_bytes(b"%d" % number * 1000, "blob")}
        def stage():
            outputs["tree"] = store.put(source, "tree")
            entries = store.entries(outputs["tree"])
            outputs["part"] = store.put_tree(entries[:2], "part")
        thread = threading.Thread(target=stage)
        thread.start()
        thread.join()
        key = f"{number:064x}"
        record = Record(stage="train", key=key, parts={}, outputs=outputs, seconds=1)
        store.write_action(key, content_of(record))
        records[key] = record
        for earlier in records:
            assert store.record(earlier) == records[earlier]
            for ref in records[earlier].outputs.values():
                store.verify_ref(ref)
    account = {"started": "2026-11-24T00:00:00Z", "records": {k: r.model_dump(mode="json") for k, r in records.items()}}
    store.write_run("chain", account)
"""

HOLDER = """
import os, pathlib, sys, time
from cxr_core.store import Store
store = Store.open(pathlib.Path(sys.argv[1]))
with store.lease("run that waits"):
    ref = store.put_bytes(b"held", "held")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # from here on it is no holder
        os.write(writing, b".")
        time.sleep(600)
    os.read(reading, 1)
    print(ref.digest, child, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(store: Store) -> Iterator[tuple["subprocess.Popen[str]", Ref]]:
    """A process that holds a lease on one blob, and has forked a child that lives on."""
    command = [sys.executable, "-c", HOLDER, str(store.root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert process.stdout is not None
    digest, child = process.stdout.readline().split()
    yield process, Ref(form="blob", digest=digest, size=4, name="held")
    process.kill()
    process.wait()
    process.stdout.close()
    os.kill(int(child), signal.SIGKILL)


def test_gc_in_a_loop_takes_nothing_from_a_running_run(tmp_path: Path, store: Store, folder: Path) -> None:
    stop = tmp_path / "stop"
    command = [sys.executable, "-c", GC_LOOP, str(store.root), str(stop)]
    loop = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    collecting(stop, loop)
    command = [sys.executable, "-c", CHAIN, str(store.root), str(folder), "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=PROJECT)
    stop.touch()
    passes, _ = loop.communicate(timeout=60)[0].split()
    assert done.returncode == 0, done.stderr
    assert int(passes) > 5
    gc_later(store)
    records = store.read_run("chain")["records"]
    assert len(records) == 10 and not list((store.root / "leases").iterdir())
    for record in records.values():
        for ref in record["outputs"].values():
            store.verify_ref(Ref.model_validate(ref))


def test_a_lease_ends_with_its_holder(store: Store, holder: tuple["subprocess.Popen[str]", Ref]) -> None:
    process, ref = holder
    report = gc_later(store)
    assert store.has(ref) and report.removed_blobs == ()
    process.kill()
    process.wait()
    assert gc_later(store, dry_run=True).removed_blobs == (ref.digest,) and store.has(ref)
    assert gc_later(store).removed_blobs == (ref.digest,)
    assert list((store.root / "leases").iterdir()) == []


def test_a_forked_child_leaves_its_parents_lease_alone(store: Store) -> None:
    script = (
        "import os, pathlib, sys\n"
        "from cxr_core.store import Store\n"
        "store = Store.open(pathlib.Path(sys.argv[1]))\n"
        "with store.lease('parent'):\n"
        "    if (child := os.fork()) == 0:\n"
        "        sys.exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    assert len(list((store.root / 'leases').iterdir())) == 1\n"
        "assert not list((store.root / 'leases').iterdir())\n"
    )
    done = subprocess.run([sys.executable, "-c", script, store.root], capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0, done.stderr


def test_a_frozen_holder_that_renews_nothing_lives(store: Store, holder: tuple["subprocess.Popen[str]", Ref]) -> None:
    process, ref = holder
    process.send_signal(signal.SIGSTOP)
    (file,) = (store.root / "leases").iterdir()
    os.utime(file, (1, 1))
    gc_later(store)
    assert store.has(ref)


@pytest.mark.parametrize(
    "header", [b'{"holder": "run far away", "pid": 7, "host": "far", "since": 1.0}\n', b"\xff{\n", b""]
)
def test_a_lease_from_elsewhere_lasts_until_it_expires(store: Store, folder: Path, header: bytes) -> None:
    blob, tree = store.put_bytes(b"far", "far"), store.put(folder, "tree")
    file = store.root / "leases" / "another-7-abc"
    file.write_bytes(header + f"blob {blob.digest}\ntree {tree.digest}\nblob sha256:torn".encode())
    then = time.time() - leases.EXPIRY + 60
    os.utime(file, (then, then))
    assert gc_later(store).removed_blobs == () and store.has(blob) and store.has(tree)
    then = time.time() - leases.EXPIRY - 60
    os.utime(file, (then, then))
    assert gc_later(store, dry_run=True).removed_blobs and file.exists()
    gc_later(store)
    assert not store.has(blob) and not store.has(tree) and not file.exists()


def test_the_living_renew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_RENEWED", 0.005)
    with store.lease("x"):
        (file,) = (store.root / "leases").iterdir()
        os.utime(file, (1, 1))
        deadline = time.monotonic() + 10
        while file.stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert time.time() - file.stat().st_mtime < 60


@pytest.mark.parametrize("promise", ["put", "put tree", "list", "hit", "record", "pin", "run", "verify", "thread"])
def test_what_was_promised_under_a_lease_stays_while_it_lasts(
    store: Store, folder: Path, persisted: Persist, promise: str
) -> None:
    ref = store.put(folder, "tree")
    key, content = persisted("train", {"tree": ref})
    if promise != "record":
        store.write_action(key, content)
    with store.lease("a"), store.lease("b"):
        if promise == "put":
            for path in filter(Path.is_file, sorted(folder.rglob("*"))):
                store.put(path, "file")
        if promise == "put tree":
            store.put(folder, "tree")
        if promise == "thread":
            with ThreadPoolExecutor(1) as pool:
                pool.submit(store.put, folder, "tree").result()
        if promise == "list":
            store.put_tree(store.entries(ref), "tree")
        if promise == "hit":
            assert store.read_action(key) == content
        if promise == "record":
            store.write_action(key, content)
        if promise == "pin":
            store.pin("p", [ref])
            store.unpin("p")
        if promise == "run":
            store.write_run("r", {"started": STARTED, "ref": ref.model_dump()})
            store.drop_run("r")
        if promise == "verify":
            store.verify_ref(ref)
        assert gc_later(store, dry_run=True).removed_blobs == gc_later(store).removed_blobs
        blobs = [path for path in (store.root / "blobs").rglob("*") if path.is_file()]
        assert len(blobs) == (3 if promise == "put" else 4)
        if promise in ("hit", "record"):
            assert store.read_action(key) == content
    gc_later(store)
    assert not [path for path in (store.root / "blobs").rglob("*") if path.is_file()]
    with pytest.raises(MissingArtifact):
        store.read_action(key)


def test_a_lease_that_ends_while_gc_passes_counts_for_that_pass(
    store: Store, persisted: Persist, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gc has read the accounts before the run wrote its own, and looks at the leases after it has ended."""
    ref = store.put_bytes(b"late", "late")
    real = Collector._roots

    def roots(collector: Collector) -> object:
        found = real(collector)
        with store.lease("run in between"):
            store.put_bytes(b"late", "late")
            store.write_run("r", {"started": STARTED, "ref": ref.model_dump()})
        return found

    monkeypatch.setattr(Collector, "_roots", roots)
    assert gc_later(store).removed_blobs == () and store.has(ref)
    assert len(list((store.root / "leases").iterdir())) == 1
    monkeypatch.undo()
    gc_later(store)
    assert store.has(ref) and list((store.root / "leases").iterdir()) == []


def test_a_record_hit_while_gc_passes_stays(store: Store, persisted: Persist, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workflow engine may read a record a second time."""
    key, content = persisted("train", {"x": store.put_bytes(b"x", "x")})
    store.write_action(key, content)
    real = Collector._roots
    with store.lease("run"):

        def roots(collector: Collector) -> object:
            found = real(collector)
            store.read_action(key)
            return found

        monkeypatch.setattr(Collector, "_roots", roots)
        assert gc_later(store).removed_records == ()
        assert store.read_action(key) == content


@pytest.mark.parametrize("use", ["hit", "verify"])
def test_nobody_is_promised_a_thing_while_gc_takes_things_away(store: Store, persisted: Persist, use: str) -> None:
    ref = store.put_bytes(b"x", "x")
    key, content = persisted("train", {"x": ref})
    store.write_action(key, content)
    with store.lease("run"), ThreadPoolExecutor(1) as pool:
        with held(store._layout.store_lock, store.root):
            used = pool.submit(store.read_action, key) if use == "hit" else pool.submit(store.verify_ref, ref)
            assert wait([used], timeout=0.2).not_done
            store.path(ref).unlink()
        with pytest.raises(MissingArtifact):
            used.result()


def test_what_a_living_run_has_in_tmp_stays(store: Store) -> None:
    (store.root / "tmp" / "before").write_text("x")
    os.utime(store.root / "tmp" / "before", (1, 1))
    with store.lease("run"):
        (store.root / "tmp" / "train-1").mkdir()
        (store.root / "tmp" / "train-1" / "out").write_text("x")
        assert gc_later(store).removed_leftovers == ("tmp/before",)
    assert gc_later(store).removed_leftovers == ("tmp/train-1",)


def test_a_full_disk_promises_nothing(small_disk: Callable[[str], Path], persisted: Persist) -> None:
    store = Store.open(small_disk("size=300k") / "store")
    key, content = persisted("train", {"x": store.put_bytes(b"x", "x")})
    store.write_action(key, content)
    with store.lease("run"):
        filler = store.root / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as opened:
            while True:
                opened.write(b"x" * 4096)
        with pytest.raises(StoreFull, match="store gc"):
            for number in range(100):  # the lease's last page has some room left
                store.put_bytes(f"{number}".encode(), "x")
        with pytest.raises(StoreFull, match="taking a lease"), store.lease("another"):
            pass
        assert len(list((store.root / "leases").iterdir())) == 1
        filler.unlink()
        assert store.read_action(key) == content
        gc_later(store)
        assert store.read_action(key) == content
