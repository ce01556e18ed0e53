"""Many processes on one store at once, putting, reading and verifying overlapping content while gc loops."""

import subprocess
import sys
from pathlib import Path

import pytest

from cxr_core.store import Store
from tests.conftest import PROJECT
from tests.cxr_core.store.conftest import GC_LOOP, collecting

WORKER = """
import pathlib, random, sys
from cxr_core.store import Store
root, source, seed, rounds = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
draw, store = random.Random(seed), Store.open(root)

def one(number, held):
    data = draw.randrange(12).to_bytes(1, "big") * 50_000
    ref = store.put_bytes(data, "blob")
    assert store.read_bytes(ref) == data
    tree = store.put(source, "tree")
    held += [ref, tree]
    store.verify_ref(draw.choice(held))  # also what the others have unpinned since, and gc would take
    store.pin(f"worker/{draw.randrange(3)}", [ref, tree])
    account = {"started": f"2026-11-24T00:00:{number:02}Z", "refs": [ref.model_dump()]}
    store.write_run(f"run{draw.randrange(3)}", account)
    if draw.random() < 0.2:
        report = store.gc(dry_run=False, keep_days=0, grace_seconds=60)
        assert not report.removed_blobs, report
    if draw.random() < 0.1:
        report = store.verify()
        assert report.exit_code == 0, report

for first in range(0, rounds, 5):
    with store.lease(f"worker {seed}"):
        held = []
        for number in range(first, first + 5):
            one(number, held)
"""

REPAIRER = """
import pathlib, sys
from cxr_core.errors import DamagedArtifact, MissingArtifact
from cxr_core.store import Store
store = Store.open(pathlib.Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    ref = store.put_bytes(b"contested", "x")
    try:
        assert store.read_bytes(ref) == b"contested"
    except (DamagedArtifact, MissingArtifact):
        pass  # spoilt by the test between the two lines
"""


def finish(children: list[subprocess.Popen[str]]) -> list[str]:
    told = []
    for child in children:
        output, errors = child.communicate(timeout=300)
        assert child.returncode == 0, errors
        told.append(output)
    return told


def spawn(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT)


def crowd(root: Path, folder: Path, processes: int, rounds: int) -> None:
    stop = root.parent / "stop"
    loop = spawn(GC_LOOP, root, stop)
    collecting(stop, loop)
    finish([spawn(WORKER, root, folder, seed, rounds) for seed in range(processes)])
    stop.touch()
    passes, gone = map(int, finish([loop])[0].split())
    assert passes > 3
    sys.stdout.write(f"{processes} processes, {rounds} rounds each: gc passed {passes} times and took {gone} blobs\n")
    store = Store.open(root, create=False)
    report = store.verify()
    assert (report.exit_code, report.lost) == (0, ())
    assert list((root / "tmp").iterdir()) == []
    assert store.pins().keys() <= {"worker/0", "worker/1", "worker/2"} and store.runs()


def test_a_few_processes_share_one_store(tmp_path: Path, folder: Path) -> None:
    crowd(tmp_path / "store", folder, processes=4, rounds=25)  # they also make the store, all at once


@pytest.mark.slow
def test_sixteen_processes_share_one_store(tmp_path: Path, folder: Path) -> None:
    crowd(tmp_path / "store", folder, processes=16, rounds=40)


def test_a_fresh_copy_is_never_taken_for_the_damaged_one(store: Store) -> None:
    """One process puts while this one damages and verifies: a put that returned last is never lost."""
    child = spawn(REPAIRER, store.root, 80)
    ref = store.put_bytes(b"contested", "x")
    while child.poll() is None:
        path = store.root / "blobs" / "sha256" / ref.digest[7:9] / ref.digest[9:]
        if path.exists():
            damaged = store.root / "tmp" / "damaged"
            damaged.write_bytes(b"c0ntested")
            damaged.replace(path)
        store.verify()
    finish([child])
    store.put_bytes(b"contested", "x")
    assert store.read_bytes(ref) == b"contested"
    assert store.verify().exit_code == 0
