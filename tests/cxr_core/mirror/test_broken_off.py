"""Killed in the middle of a push or a pull: both sides are whole, and the same command then ends it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import MirrorError, StoreFull
from cxr_core.mirror import Mirror, pull, push, transfer
from cxr_core.refs import Ref
from cxr_core.store import Store
from tests.conftest import PROJECT
from tests.cxr_core.mirror.conftest import objects, recorded

SAMPLED = 8  # points of each action


class Killer:
    """Asks the server for one push or pull, to be killed at one point."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("kill_server.py"))]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, action: str, root: Path, url: str, point: int, jobs: int = 4) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        request = {"action": action, "root": str(root), "url": url, "point": point, "jobs": jobs}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def killer() -> Iterator[Killer]:
    made = Killer()
    yield made
    made.close()


def laid_out(url: str, folder: Path) -> Store | None:
    """A mirror as a store in a folder; None where it has no FORMAT, and then it has nothing at all."""
    there = {path: data for path, data in objects(url).items() if not path.startswith("tmp/")}
    if "FORMAT" not in there:
        assert not there
        return None
    for path, data in there.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return Store.open(folder, create=False)


def is_whole(store: Store) -> None:
    """Nothing half-written is visible, and whatever is named is there."""
    report = store.verify()
    assert (report.new_damage, report.withdrawn) == ((), ())
    for record in store.records():
        assert store.record(record.key) == record


def kill_at(action: str, point: int, killer: Killer, full: Store, url: str, scene: Path) -> bool:
    """One kill, and what must hold after it. False where it came through before: threads do not always step alike."""
    root = full.root if action == "push" else scene / "second"
    if action == "pull":
        Store.open(root)
    answer = killer(action, root, url, point)
    assert answer["killed"] or int(answer["told"]) < point, f"{action} was not killed at {point}: {answer}"
    mirrored = laid_out(url, scene / "mirrored")
    if mirrored:
        is_whole(mirrored)
    second = Store.open(root)
    is_whole(second)
    again = push(second, Mirror.at(url)) if action == "push" else pull(second, Mirror.at(url))
    assert again.left == ()
    same = laid_out(url, scene / "again") if action == "push" else second
    assert same and same.verify().exit_code == 0
    assert (same.pins(), same.read_run("latest")) == (full.pins(), full.read_run("latest"))
    assert {record.key for record in same.records()} == {record.key for record in full.records()}
    second.gc(dry_run=False, grace_seconds=-1)
    assert list((second.root / "tmp").iterdir()) == []
    return bool(answer["killed"])


def points_of(action: str, killer: Killer, full: Store, url: str, scene: Path) -> int:
    root = full.root if action == "push" else Store.open(scene / "counted").root
    return int(killer(action, root, url, 0)["told"])


def kill_at_points(killer: Killer, full: Store, base: str, folder: Path, chosen: int | None) -> int:
    """Kills at ``chosen`` points of a push and of a pull, or at each; how many."""
    seed = int(os.environ.get("CXR_CRASH_SEED") or random.SystemRandom().randrange(2**31))
    push(full, Mirror.at(f"{base}/full"))
    killed = 0
    for action in ("push", "pull"):
        total = points_of(action, killer, full, f"{base}/{'counted' if action == 'push' else 'full'}", folder)
        points = range(1, total + 1) if chosen is None else random.Random(seed).sample(range(1, total + 1), chosen)
        for point in points:
            scene = folder / f"{action}{point}"
            url = f"{base}/{action}{point}" if action == "push" else f"{base}/full"
            try:
                killed += kill_at(action, point, killer, full, url, scene)
            except BaseException as error:
                error.add_note(f"{action} killed at point {point} of {total}; CXR_CRASH_SEED={seed}; {scene}")
                raise
            shutil.rmtree(scene, ignore_errors=True)
        sys.stdout.write(f"CXR_CRASH_SEED={seed}: {action} to {base} killed at {len(points)} of {total} points\n")
    return killed


def test_killed_at_sampled_points(killer: Killer, store: Store, filled: dict[str, Any], tmp_path: Path) -> None:
    assert kill_at_points(killer, store, f"file://{tmp_path}/mirrors", tmp_path, SAMPLED) >= SAMPLED


@pytest.mark.slow
def test_killed_at_every_point(killer: Killer, store: Store, filled: dict[str, Any], tmp_path: Path) -> None:
    assert kill_at_points(killer, store, f"file://{tmp_path}/mirrors", tmp_path, None) > 100


@pytest.mark.slow
def test_killed_between_requests_to_a_bucket(store: Store, filled: dict[str, Any], bucket: str, tmp_path: Path) -> None:
    store.pin("large", [store.put_bytes(b"large" * (4 << 20), "large")])  # three parts
    killer = Killer()  # its environment has the credentials
    try:
        assert kill_at_points(killer, store, f"s3://{bucket}", tmp_path, 10) >= 10
    finally:
        killer.close()


def test_an_interrupt_ends_it_and_leaves_nothing_half_written(
    store: Store, other: Store, filled: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_LAST_WORDS", 60.0)  # on a busy disk a file under way may take longer than five
    mirror = Mirror.at(f"file://{tmp_path}/mirror")
    main = threading.main_thread().ident
    assert main is not None

    for action, side in ((push, store), (pull, other)):
        presses = iter([signal.SIGINT])

        def interrupt(done: int, total: int, text: str, presses: Iterator[signal.Signals] = presses) -> None:
            for press in presses:
                signal.pthread_kill(main, press)
            time.sleep(0.2)  # there is a large file under way

        with pytest.raises(KeyboardInterrupt):
            action(side, mirror, progress=interrupt, jobs=2)
        assert not [path for path in (tmp_path / "mirror" / "tmp").glob("*") if path.is_file()]
        assert list((side.root / "tmp").iterdir()) == []
        assert action(side, mirror).left == ()
    assert other.verify().exit_code == 0


def test_a_bucket_that_breaks_off_in_a_large_file(store: Store, other: Store, bucket: str) -> None:
    url = f"s3://{bucket}/m"
    ref = store.put_bytes(b"large" * (4 << 20), "large")
    store.pin("large", [ref])
    mirror = Mirror.at(url)

    def one_part(done: int, total: int, text: str) -> None:
        if done > 12 << 20:
            raise MirrorError("the line is cut")

    with pytest.raises(MirrorError, match="cut"):
        push(store, mirror, progress=one_part)
    assert set(objects(url)) == {"FORMAT"}
    assert push(store, mirror).blobs == 1
    assert pull(other, mirror).bytes == ref.size
    other.verify_ref(ref)


def test_two_push_and_two_pull_at_once(store: Store, other: Store, filled: dict[str, Any], tmp_path: Path) -> None:
    url = f"file://{tmp_path}/mirror"
    more = [other.put_bytes(f"more{number}".encode() * 1000, "more") for number in range(15)]
    for number, ref in enumerate(more):
        recorded(other, f"stage{number}", {"more": ref})
    both = [store.put_bytes(f"both{number}".encode() * 1000, "both") for number in range(15)]
    for side in (store, other):
        side.pin("both", [side.put_bytes(f"both{number}".encode() * 1000, "both") for number in range(15)])
    with ThreadPoolExecutor(2) as pool:
        assert [one.left for one in pool.map(lambda side: push(side, Mirror.at(url)), (store, other))] == [(), ()]
    thirds = [Store.open(tmp_path / "third")] * 2
    with ThreadPoolExecutor(2) as pool:
        assert [one.left for one in pool.map(lambda side: pull(side, Mirror.at(url)), thirds)] == [(), ()]
    assert thirds[0].verify().exit_code == 0
    assert all(thirds[0].has(ref) for ref in (*more, *both, filled["weights"], filled["data"]))
    assert Store.open(tmp_path / "mirror", create=False).verify().exit_code == 0  # a folder is a store that can be read


def test_gc_takes_nothing_from_a_pull(store: Store, other: Store, filled: dict[str, Any], tmp_path: Path) -> None:
    mirror = Mirror.at(f"file://{tmp_path}/mirror")
    push(store, mirror)
    old: list[Ref] = [other.put_bytes(b"weights" * 1000, "weights")]  # one that nobody names, as old as can be
    os.utime(other.path(old[0]), (1, 1))

    def collect(done: int, total: int, text: str) -> None:
        other.gc(dry_run=False)

    assert pull(other, mirror, progress=collect, jobs=2).left == ()
    assert other.record(filled["train"].key) == filled["train"]
    assert other.verify().exit_code == 0


def test_a_pull_that_will_not_fit_takes_nothing(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    source = Store.open(tmp_path / "source")
    source.pin("large", [source.put_bytes(b"large" * 1_000_000, "large")])
    url = f"file://{tmp_path}/mirror"
    push(source, Mirror.at(url))
    small = Store.open(small_disk("size=2m") / "store")
    with pytest.raises(StoreFull, match="full while pulling: needed 5,000,000 bytes"):
        pull(small, Mirror.at(url))
    assert small.pins() == {} and small.verify().blobs == 0
