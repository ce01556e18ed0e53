"""A SIGKILL or an error at every file-system call of any operation: nothing promised is lost, nothing half-written."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import MissingArtifact, StoreError
from cxr_core.refs import Ref
from cxr_core.store import Store
from cxr_core.store.syncing import FEW

Persist = Callable[..., tuple[str, bytes]]
PUTS = ("put", "put_again", "repair", "put_tree", "put_wide", "put_wide_again")
OPERATIONS = ("open", *PUTS, "write_action", "write_run", "pin", "gc", "verify", "work", "migrate", "lease")
SAMPLED = 60
STARTED = "2026-11-24T00:00:00Z"
OLD_RUN: dict[str, Any] = {"run_id": "r", "started": STARTED, "state": "old"}
NEW_RUN: dict[str, Any] = {"run_id": "r", "started": STARTED, "state": "new"}


class Crasher:
    """Asks the server for one operation, to be killed at one point."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("crash_server.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(
        self, scene: "Scene", point: int, mode: str = "kill", error: int = 0, done: bool = False
    ) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        request = {
            "root": str(scene.root), "operation": scene.verb, "arguments": scene.arguments,
            "point": point, "mode": mode, "error": error, "done": done,
        }  # fmt: skip
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@dataclass
class Base:
    """A store before the operation, and what it has promised."""

    root: Path
    thing: Path
    tree: Path
    kept: dict[str, Ref]
    garbage: list[Ref]
    damaged: Ref
    key: str
    content: bytes
    newer: bytes
    damaged_key: str


@dataclass
class Scene:
    """A copy of the base in which one operation is about to be killed."""

    operation: str
    root: Path
    base: Base

    @property
    def verb(self) -> str:
        return "put" if self.operation in PUTS else self.operation

    @property
    def arguments(self) -> list[Any]:
        base = self.base
        known: dict[str, list[Any]] = {
            "put": [str(base.thing)],
            "put_again": [str(base.root / "again")],
            "repair": [str(base.root / "repair")],
            "put_tree": [str(base.tree)],
            "put_wide": [str(base.root / "wide")],
            "put_wide_again": [str(base.root / "known")],
            "write_action": [base.key, base.newer.decode()],
            "write_run": ["r", NEW_RUN],
            "pin": ["releases/new", [base.kept[name].model_dump() for name in ("pinned", "tree", "newer")]],
            "work": ["f" * 64],
            "lease": [base.key],
        }
        return known.get(self.operation, [])


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    made = Crasher()
    yield made
    made.close()


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: a SIGKILL does not care, and hundreds of copies are quicker."""
    shared = Path("/dev/shm")
    place = shared if shared.is_dir() and os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as name:
        yield Path(name)


@pytest.fixture
def base(memory: Path, folder: Path, persisted: Persist, flip: Callable[..., None]) -> Base:
    root = memory / "base"
    store = Store.open(root / "store")
    (root / "thing").write_bytes(b"thing" * 300_000)
    (root / "again").write_bytes(b"pinned")
    (root / "repair").write_bytes(b"damaged")
    kept = {name: store.put_bytes(name.encode(), name) for name in ("pinned", "ran", "weights", "newer")}
    kept["tree"] = store.put(folder, "tree")
    garbage = [store.put_bytes(f"garbage{number}".encode(), "g") for number in range(4)]
    damaged = store.put_bytes(b"damaged", "d")
    key, content = persisted("train", {"weights": kept["weights"], "tree": kept["tree"]})
    _, newer = persisted("train", {"weights": kept["newer"]}, seconds=2.0)
    store.write_action(key, content)
    damaged_key, damaged_content = persisted("engine", {"engine": damaged})
    store.write_action(damaged_key, damaged_content)
    old_key, old_content = persisted("stale", {"out": garbage[0]})
    store.write_action(old_key, old_content)
    store.write_run("r", OLD_RUN | {"refs": [kept["ran"].model_dump(), damaged.model_dump()]})
    store.pin("source", [kept["pinned"], kept["tree"], kept["newer"]])
    store.work(old_key).joinpath("epoch").write_text("x")
    (store.root / "tmp" / "left").write_text("x")
    for path in [store.root, *store.root.rglob("*")]:
        os.utime(path, (1, 1))
    for record in (key, damaged_key):
        os.utime(store.root / "actions" / record)
    (root / "more").mkdir()
    (root / "more" / "new").write_bytes(b"new" * 5000)
    shutil.copytree(folder, root / "more" / "same")
    for name in ("wide", "known"):  # so many files that they become durable together
        (root / name).mkdir()
        for number in range(FEW + 2):
            (root / name / str(number)).write_bytes(f"{name}{number}".encode() * 50)
    (root / "wide" / "pinned").write_bytes(b"pinned")
    (root / "wide" / "large").write_bytes(b"large" * 300_000)
    store.put(root / "known", "known")
    return Base(root, root / "thing", root / "more", kept, garbage, damaged, key, content, newer, damaged_key)


def scene_of(base: Base, operation: str, number: int, flip: Callable[..., None]) -> Scene:
    root = base.root.parent / f"scene{number}"
    if operation != "open":
        shutil.copytree(base.root / "store", root)
    if operation in ("verify", "repair"):
        flip(Store.open(root).path(base.damaged))
    if operation == "migrate":
        (root / "FORMAT").write_text("1\n")
        (root / "leases").rmdir()
    return Scene(operation, root, base)


def check(scene: Scene, crasher: Crasher) -> None:
    """What must hold after a kill at any point, and that the operation then comes through and heals."""
    store = Store.open(scene.root)
    if scene.operation != "open":
        check_promises(store, scene)
    if scene.operation not in ("verify", "repair"):
        report = store.verify()
        assert (report.new_damage, report.withdrawn) == ((), ())
    if scene.operation == "verify":  # killed in the middle of moving damage: never served, and noted in the end
        with pytest.raises(StoreError):
            store.read_bytes(scene.base.damaged)
        store.verify()
        with pytest.raises(MissingArtifact):
            store.read_action(scene.base.damaged_key)
        report = store.verify()
        assert (report.new_damage, [found.what for found in report.lost]) == ((), [scene.base.damaged.digest])
    answer = crasher(scene, 0)
    assert answer["code"] == 0, answer["told"]
    check_done(store, scene)
    assert store.verify().exit_code == 0
    store.gc(dry_run=False, grace_seconds=-1)
    assert list((scene.root / "tmp").iterdir()) == list((scene.root / "leases").iterdir()) == []
    shutil.rmtree(scene.root)


def check_promises(store: Store, scene: Scene) -> None:
    base = scene.base
    for ref in base.kept.values():
        store.verify_ref(ref)
    assert store.read_action(base.key) in (base.content, base.newer)
    if scene.operation != "write_action":
        assert store.read_action(base.key) == base.content
    run = {name: value for name, value in store.read_run("r").items() if name != "refs"}
    assert run in ((OLD_RUN, NEW_RUN) if scene.operation == "write_run" else (OLD_RUN,))
    pins = store.pins()
    assert pins["source"] == (base.kept["pinned"], base.kept["tree"], base.kept["newer"])
    assert pins.get("releases/new", pins["source"]) == pins["source"]
    if scene.operation not in ("verify", "repair"):
        assert store.read_bytes(base.damaged) == b"damaged"
        assert len(store.read_action(base.damaged_key)) > 0


def check_done(store: Store, scene: Scene) -> None:
    base, operation = scene.base, scene.operation
    if operation == "open":
        assert store.verify().blobs == 1
    if operation == "repair":
        assert store.read_bytes(base.damaged) == b"damaged" and store.read_action(base.damaged_key)
    if operation in PUTS and operation != "repair":
        source = Path(scene.arguments[0])
        store.verify_ref(store.put(source, "thing"))
    if operation == "write_action":
        assert store.read_action(base.key) == base.newer
    if operation == "write_run":
        assert store.read_run("latest") == NEW_RUN
    if operation == "pin":
        assert store.pins()["releases/new"] == store.pins()["source"]
    if operation == "gc":
        assert not any(map(store.has, base.garbage))
        assert {record.stage for record in store.records()} == {"train", "engine"}
    if operation == "migrate":
        assert (store.root / "FORMAT").read_text() == "2\n" and (store.root / "leases").is_dir()
    if operation == "lease":
        assert store.read_bytes(store.pins()["releases/leased"][0]) == b"leased, too"
    if operation == "work":
        assert not (store.root / "work" / ("f" * 64)).exists()


def calls_of(base: Base, operation: str, crasher: Crasher, flip: Callable[..., None], mode: str = "kill") -> list[str]:
    """The names of the calls at which it can be stopped, in their order."""
    scene = scene_of(base, operation, 0, flip)
    answer = crasher(scene, -1, mode)
    assert answer["code"] == 0, answer["told"]
    shutil.rmtree(scene.root)
    found: list[str] = json.loads(answer["told"])
    return found


def points_of(base: Base, operation: str, crasher: Crasher, flip: Callable[..., None]) -> int:
    return len(calls_of(base, operation, crasher, flip))


def kill_at(base: Base, operation: str, point: int, crasher: Crasher, flip: Callable[..., None]) -> None:
    scene = scene_of(base, operation, point, flip)
    answer = crasher(scene, point)
    assert answer["killed"], f"{operation} was not killed at point {point}: {answer}"
    try:
        check(scene, crasher)
    except BaseException as error:
        error.add_note(f"after {operation} was killed at point {point}; its store is {scene.root}")
        raise


def test_sampled_points(base: Base, crasher: Crasher, flip: Callable[..., None]) -> None:
    seed = int(os.environ.get("CXR_CRASH_SEED") or random.SystemRandom().randrange(2**31))
    points = [(op, point) for op in OPERATIONS for point in range(1, points_of(base, op, crasher, flip) + 1)]
    chosen = random.Random(seed).sample(points, min(SAMPLED, len(points)))
    sys.stdout.write(f"CXR_CRASH_SEED={seed}: {len(chosen)} of {len(points)} points\n")
    for operation, point in chosen:
        kill_at(base, operation, point, crasher, flip)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_point(base: Base, operation: str, crasher: Crasher, flip: Callable[..., None]) -> None:
    total = points_of(base, operation, crasher, flip)
    assert total > 0
    for point in range(1, total + 1):
        kill_at(base, operation, point, crasher, flip)
    sys.stdout.write(f"{operation}: killed at each of {total} points\n")


FULL = (errno.ENOSPC, errno.EDQUOT)
FAILING = (errno.EIO, errno.ESTALE)
WRITES = ("open", "write", "pwrite", "ftruncate", "fsync", "fchmod", "utime", "mkdir", "replace", "rename", "link")


def errors_at(call: str) -> list[tuple[int, bool]]:
    """The errors that a call may meet, and whether it has done its work all the same."""
    found = [(number, False) for number in FAILING]
    if call in WRITES:
        found += [(number, False) for number in (*FULL, errno.EROFS)]
    if call in ("replace", "rename", "unlink"):
        found += [(number, True) for number in FAILING]
    return found


def fail_at(
    base: Base,
    operation: str,
    point: int,
    call: str,
    error: int,
    done: bool,
    crasher: Crasher,
    flip: Callable[..., None],
) -> bool:
    """Whether the operation failed; some errors it does without, such as that of making a blob young."""
    scene = scene_of(base, operation, point, flip)
    answer = crasher(scene, point, "error", error, done)
    try:
        assert answer["code"] in (0, 3), answer["told"]
        if answer["code"] == 3:
            check_told(json.loads(answer["told"]), error, call)
        if call != "unlink":
            assert {path.name for path in (scene.root / "tmp").glob("*")} <= {"left"}
        check(scene, crasher)
    except BaseException as problem:
        name, how = errno.errorcode[error], "after it was done" if done else "before it"
        problem.add_note(f"{operation} met {name} at point {point}, {how}, {call}: {answer}; its store is {scene.root}")
        raise
    return bool(answer["code"])


def check_told(told: dict[str, Any], error: int, call: str) -> None:
    assert os.strerror(error) in told["message"] or call == "close"
    if error in FULL:
        assert "StoreFull" in told["raised"]
        for words in ("needed ", "available ", "Free space with `cxr store gc`", "CXR_STORE"):
            assert words in told["message"]
    elif error == errno.EROFS:
        assert "Remount it read-write" in told["message"]


def test_sampled_errors(base: Base, crasher: Crasher, flip: Callable[..., None]) -> None:
    seed = int(os.environ.get("CXR_CRASH_SEED") or random.SystemRandom().randrange(2**31))
    calls = {operation: calls_of(base, operation, crasher, flip, "error") for operation in OPERATIONS}
    points = [(operation, point + 1, call) for operation, found in calls.items() for point, call in enumerate(found)]
    chosen, failed = random.Random(seed), 0
    for operation, point, call in chosen.sample(points, min(SAMPLED, len(points))):
        error, done = chosen.choice(errors_at(call))
        failed += fail_at(base, operation, point, call, error, done, crasher, flip)
    sys.stdout.write(
        f"CXR_CRASH_SEED={seed}: {SAMPLED} of {len(points)} points, {failed} told, the others done without\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_error_at_every_point(base: Base, operation: str, crasher: Crasher, flip: Callable[..., None]) -> None:
    calls, failed, tried = calls_of(base, operation, crasher, flip, "error"), 0, 0
    for point, call in enumerate(calls, 1):
        found = errors_at(call)
        # One of each kind: looking calls have one, the others turn by turn.
        for error, done in {found[point % 2], found[point % len(found)]}:
            failed += fail_at(base, operation, point, call, error, done, crasher, flip)
            tried += 1
    sys.stdout.write(f"{operation}: {tried} errors at {len(calls)} points, {failed} told, the others done without\n")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_nfs_leaves_of_open_files_is_no_damage(
    base: Base, operation: str, crasher: Crasher, flip: Callable[..., None]
) -> None:
    scene = scene_of(base, operation, 0, flip)
    answer = crasher(scene, 0, "silly")
    assert answer["code"] == 0, answer["told"]
    store = Store.open(scene.root)
    if operation != "verify":
        assert store.verify().new_damage == ()
    check_done(store, scene)
    if operation not in ("open", "verify", "repair"):
        check_promises(store, scene)
    assert store.verify().exit_code == 0
    store.gc(dry_run=False, grace_seconds=-1)
    if operation in ("write_action", "write_run", "gc"):
        assert list(scene.root.rglob(".nfs*")), "none was left, so nothing was shown"
