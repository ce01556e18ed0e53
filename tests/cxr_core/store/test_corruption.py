"""Every kind of file, spoilt in every way: never served, found, moved away, told as lost, and healed by the next put.

Whatever is laid in a file's place is a file of the test's own: nothing outside the store may change.
"""

import contextlib
import os
import random
import shutil
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import CxrError, MissingArtifact
from cxr_core.refs import Ref
from cxr_core.store import Store
from cxr_core.store.damage import LOST_NOTE
from cxr_core.store.migration import FORMAT

Persist = Callable[..., tuple[str, bytes]]
BLOBS = ("blob", "entry", "listing")
ACCOUNTS = ("record", "run", "pin")
KINDS = (*BLOBS, *ACCOUNTS, "note", "lock", "FORMAT", "work", "attempt")
UNGUARDED = ("lock", "work", "attempt")
"""Their content promises nothing: what a checkpoint holds is for training to check, the others are for people."""

CHANGES = ("flip", "cut", "longer", "empty", "swapped")
OTHER_THINGS = ("folder", "full folder", "symlink", "symlink to a copy", "dangling symlink", "pipe", "socket")
MODES = ("mode 000", "mode 777", "mode 444")
WAYS = ("longer", "empty", "swapped", "removed", *OTHER_THINGS, *MODES)
NOBODY = 65534
STARTED = "2026-11-24T00:00:00Z"


@dataclass(frozen=True)
class Base:
    """A store with two of each kind, and all that is needed to read and to make again what is spoilt."""

    root: Path
    paths: dict[str, Path]
    others: dict[str, Path]
    refs: dict[str, Ref]
    noted: str
    key: str
    content: bytes
    run: dict[str, Any]
    folder: Path

    def read(self, kind: str, root: Path) -> Any:
        """What the store answers when it is asked for that file's content."""
        store, refs = Store.open(root), self.refs
        if kind == "blob":
            return store.read_bytes(refs["engine"])
        if kind == "entry":
            store.verify_ref(refs["layers"])
            return store.read_bytes(refs["entry"])
        if kind == "listing":
            return store.entries(refs["layers"])
        if kind == "record":
            return store.read_action(self.key)
        if kind == "run":
            return store.read_run("r1")
        if kind == "pin":
            pins = store.pins()  # one that is damaged is left out, with a warning
            if "releases/a" not in pins:
                raise MissingArtifact("left out")
            return pins["releases/a"]
        if kind == "note":
            return store._quarantine.notes()
        if kind == "lock":
            with store.lock("key", timeout=0.1):
                return "held"
        return str(store.root.name)

    def heal(self, root: Path) -> None:
        """What the next run does: put and write it all again."""
        store = Store.open(root)
        assert store.put_bytes(b"engine bytes", "engine") == self.refs["engine"]
        assert store.put(self.folder, "layers") == self.refs["layers"]
        store.write_action(self.key, self.content)
        store.write_run("r1", self.run)
        store.pin("releases/a", [self.refs["engine"], self.refs["layers"]])


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one."""
    shared = Path("/dev/shm")
    if not (shared.is_dir() and os.access(shared, os.W_OK)):
        yield tmp_path
        return
    made = shared / f"cxr-corruption-{os.getpid()}-{tmp_path.name}"
    made.mkdir(mode=0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def base(memory: Path, folder: Path, persisted: Persist) -> Base:
    root = memory / "base"
    store = Store.open(root)
    engine, layers = store.put_bytes(b"engine bytes", "engine"), store.put(folder, "layers")
    (memory / "others").mkdir()
    (memory / "others" / "file").write_bytes(b"other")
    weights, others = store.put_bytes(b"weights", "w"), store.put(memory / "others", "others")
    lost = [store.put_bytes(name, "x") for name in (b"lost before", b"lost as well")]
    key, content = persisted("engine", {"engine": engine, "layers": layers})
    other_key, other = persisted("train", {"weights": weights, "others": others})
    store.write_action(key, content)
    store.write_action(other_key, other)
    run = {"run_id": "r1", "started": STARTED, "records": [store.record(key).model_dump(mode="json")]}
    store.write_run("r1", run)
    store.write_run("r0", {"started": STARTED, "refs": [ref.model_dump(mode="json") for ref in lost]})
    store.pin("releases/a", [engine, layers])
    store.pin("best", [weights])
    for ref in lost:
        store.path(ref).unlink()
    assert store.verify().exit_code == 1 and store.verify().exit_code == 0
    for name in ("key", "other"):
        with store.lock(name):
            pass
    for number in "12":
        (store.work(number * 64) / "epoch").write_bytes(b"checkpoint" + number.encode())
        (root / "attempts" / number).write_text(f"log {number}")
    entry = next(entry for entry in store.entries(layers) if entry.name == "a.bin")
    refs = {
        "engine": engine, "layers": layers, "weights": weights, "others": others,
        "entry": Ref(form="blob", digest=entry.digest, size=entry.size, name="a.bin"),
    }  # fmt: skip
    blob = store._layout.blob
    notes = [root / "quarantine" / "notes" / ref.digest[7:] for ref in lost]
    pairs = {
        "blob": (blob(engine.digest), blob(weights.digest)),
        "entry": (blob(entry.digest), blob(weights.digest)),
        "listing": (blob(layers.digest), blob(others.digest)),
        "record": (root / "actions" / key, root / "actions" / other_key),
        "run": (root / "runs" / "r1" / "run.json", root / "runs" / "r0" / "run.json"),
        "pin": (root / "pins" / "releases" / "a.json", root / "pins" / "best.json"),
        "note": (notes[0], notes[1]),
        "lock": (root / "locks" / "key", root / "locks" / "other"),
        "FORMAT": (root / "FORMAT", root / "locks" / "other"),
        "work": (root / "work" / ("1" * 64) / "epoch", root / "work" / ("2" * 64) / "epoch"),
        "attempt": (root / "attempts" / "1", root / "attempts" / "2"),
    }
    paths = {kind: pair[0].relative_to(root) for kind, pair in pairs.items()}
    other_paths = {kind: pair[1].relative_to(root) for kind, pair in pairs.items()}
    source = memory / "source"
    shutil.copytree(folder, source)
    return Base(root, paths, other_paths, refs, lost[0].digest, key, content, run, source)


class Outside:
    """Files of the test's own beside the store, which nothing may change."""

    def __init__(self, folder: Path, copied: bytes) -> None:
        self.wrong, self.copy, self.absent = folder / "wrong", folder / "copy", folder / "absent"
        self.content = {self.wrong: b"something else of mine", self.copy: copied}
        for path, data in self.content.items():
            path.write_bytes(data)

    def check(self) -> None:
        assert {path: path.read_bytes() for path in self.content} == self.content
        assert not self.absent.exists()


def spoil(path: Path, how: str, outside: Outside, other: bytes, at: int = 0) -> None:
    """Unlinks first, so that nothing is ever written through what lies there."""
    good, mode = path.read_bytes(), path.stat().st_mode
    if how in MODES:
        path.chmod(int(how.split()[1], 8))
        return
    path.unlink()
    if how in CHANGES:
        flipped = bytearray(good)
        if how == "flip":
            flipped[at // 8] ^= 1 << at % 8
        data = {"flip": bytes(flipped), "cut": good[:at], "longer": good + b"\0", "empty": b"", "swapped": other}[how]
        path.write_bytes(data)
        path.chmod(mode)
    elif how in ("folder", "full folder"):
        path.mkdir()
        if how == "full folder":
            (path / "mine").write_bytes(b"x")
    elif "symlink" in how:
        target = {"symlink": outside.wrong, "symlink to a copy": outside.copy, "dangling symlink": outside.absent}[how]
        path.symlink_to(target)
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):  # a socket's path must be short
            made.bind(path.name)
    else:
        assert how == "removed"


def scene_of(base: Base) -> Path:
    root = base.root.with_name("scene")
    if root.exists():
        shutil.rmtree(root)
    shutil.copytree(base.root, root)
    return root


def found_by_verify(kind: str, how: str) -> bool:
    if how in MODES or (kind in UNGUARDED and how in (*CHANGES, "removed")) or kind in ("work", "attempt"):
        return False
    return not (how == "removed" and kind in ACCOUNTS)  # nothing is left that could tell


def check(base: Base, kind: str, how: str, *, at: int = 0, read_first: bool) -> None:
    """One file, spoilt in one way, from the first look at it to the healed store."""
    root = scene_of(base)
    path = root / base.paths[kind]
    good = base.read(kind, root)
    outside = Outside(root.parent, path.read_bytes())
    spoil(path, how, outside, (root / base.others[kind]).read_bytes(), at)
    try:
        if kind == "FORMAT":
            check_format(base, root, how, path)
            return
        if read_first:
            assert told(base, kind, root, good)
        report = Store.open(root).verify()
        if not read_first:
            assert report.exit_code == int(found_by_verify(kind, how)), report.new_damage
            assert told(base, kind, root, good)
        if found_by_verify(kind, how):
            check_after(base, kind, how, root, path)
        second = Store.open(root).verify()
        assert (second.exit_code, second.withdrawn) == (0, ())
        assert how in MODES or kind not in BLOBS or digest_of(path) in {damage.what for damage in second.lost}
        base.heal(root)
        healed = Store.open(root).verify()
        assert healed.exit_code == 0 and {damage.what for damage in healed.lost} == noted(base)
        if kind not in UNGUARDED and (kind != "note" or how in MODES):
            assert base.read(kind, root) == good
        outside.check()
    except BaseException as error:
        error.add_note(f"{kind}, {how} at {at}, {'read' if read_first else 'verified'} first; its store is {root}")
        raise


def told(base: Base, kind: str, root: Path, good: Any) -> bool:
    """The right content, or an error of ours; nothing else may come. A damaged note says that it is one."""
    if kind in ("work", "attempt"):
        return True
    try:
        found = base.read(kind, root)
    except CxrError as error:
        return len(str(error)) > 20 or isinstance(error, MissingArtifact)
    return found == good or (kind == "note" and found.get(base.noted, LOST_NOTE) == LOST_NOTE)


def check_after(base: Base, kind: str, how: str, root: Path, path: Path) -> None:
    """What holds once the damage is found: moved away, withdrawn, the run readable, and the others untouched."""
    store = Store.open(root)
    if kind not in ("note", "lock"):  # whose place is taken by a new one
        assert not os.path.lexists(path)
    if kind in (*BLOBS, "record"):
        with pytest.raises(MissingArtifact):
            store.read_action(base.key)
        assert any((root / "quarantine" / "actions").iterdir())
    if kind in BLOBS and how != "removed":
        assert os.path.lexists(root / "quarantine" / "blobs" / digest_of(path)[7:])
    if kind != "run":
        assert store.read_run("r1") == base.run
    assert store.read_run("r0")["refs"]
    assert store.pins()["best"] == (base.refs["weights"],)
    assert store.read_bytes(base.refs["weights"]) == b"weights"
    assert "train" in {record.stage for record in store.records()}


def check_format(base: Base, root: Path, how: str, path: Path) -> None:
    try:
        assert Store.open(root).root == root
    except CxrError as error:
        assert str(path) in str(error) or "FORMAT" in str(error) or "upgrade" in str(error)
        if os.path.lexists(path):
            path.rename(root.with_name(f"aside-{how}"))
        path.write_bytes(b"1\n")
    else:
        assert how in MODES or path.read_bytes().decode().strip() == str(FORMAT)
    assert Store.open(root).verify().exit_code == 0


def digest_of(path: Path) -> str:
    return f"sha256:{path.parent.name}{path.name}"


def noted(base: Base) -> set[str]:
    return {f"sha256:{path.name}" for path in (base.root / "quarantine" / "notes").iterdir()}


@pytest.mark.timeout(120)  # of a pipe that is waited for
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_lies_in_the_place_of_a_file(base: Base, kind: str) -> None:
    for number, how in enumerate(WAYS):
        check(base, kind, how, read_first=bool(number % 2))
    sys.stdout.write(f"{kind}: {len(WAYS)} kinds of damage\n")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_met_in_the_other_order(base: Base, kind: str) -> None:
    for number, how in enumerate(WAYS):
        check(base, kind, how, read_first=not number % 2)
    sys.stdout.write(f"{kind}: {len(WAYS)} kinds of damage\n")


def test_sampled_bits_and_lengths(base: Base) -> None:
    seed = int(os.environ.get("CXR_CORRUPTION_SEED") or random.SystemRandom().randrange(2**31))
    chosen, tried = random.Random(seed), Counter[str]()
    for kind in KINDS:
        size = (base.root / base.paths[kind]).stat().st_size
        for how, places, count in (("flip", 8 * size, 6), ("cut", size, 2)):
            for at in chosen.sample(range(places), min(count, places)):
                check(base, kind, how, at=at, read_first=bool(chosen.randrange(2)))
                tried[how] += 1
    sys.stdout.write(f"CXR_CORRUPTION_SEED={seed}: {tried['flip']} bits, {tried['cut']} cuts of {len(KINDS)} kinds\n")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*BLOBS, *ACCOUNTS, "note", "FORMAT"])
def test_every_bit_and_every_length(base: Base, kind: str) -> None:
    """Each met by a read, and one bit of each byte and each length by verify; the files are put right in between."""
    root = scene_of(base)
    path, good = root / base.paths[kind], base.read(kind, root)
    outside, data = Outside(root.parent, b""), path.read_bytes()
    places = [*(("flip", at) for at in range(8 * len(data))), *(("cut", at) for at in range(len(data)))]
    verified = 0
    for how, at in places:
        spoil(path, how, outside, b"", at)
        assert told(base, kind, root, good), f"{how} at {at}"
        restore(base, root, path)
        if kind != "FORMAT" and (how == "cut" or at % 8 == at // 8 % 8):
            spoil(path, how, outside, b"", at)
            assert Store.open(root).verify().exit_code == 1, f"{how} at {at}"
            restore(base, root, path)
            verified += 1
    assert Store.open(root).verify().exit_code == 0 and base.read(kind, root) == good
    sys.stdout.write(f"{kind}: {8 * len(data)} bits and {len(data)} lengths read, {verified} of them verified\n")


def restore(base: Base, root: Path, path: Path) -> None:
    """The file and what went with it, as they were."""
    for again in (path.relative_to(root), base.paths["record"]):
        (root / again).unlink(missing_ok=True)
        shutil.copy2(base.root / again, root / again)
    for note in (root / "quarantine" / "notes").iterdir():
        if not (base.root / note.relative_to(root)).exists():
            note.unlink()


@pytest.mark.parametrize("owner", ["own", "another's"])
def test_what_this_user_may_not_read(base: Base, owner: str) -> None:
    if owner == "another's" and os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    for kind in (*BLOBS, *ACCOUNTS, "FORMAT"):
        as_owner(base.root.parent, scene_of(base), lambda root, kind=kind: unreadable(base, kind, root, owner))


def unreadable(base: Base, kind: str, root: Path, owner: str) -> None:
    """In a process whose user owns the store, but not always this file."""
    path, store = root / base.paths[kind], Store.open(root)
    good = base.read(kind, root)
    if owner == "own":
        path.chmod(0)
    with pytest.raises(CxrError):
        if owner != "own":
            os.seteuid(0)
            path.chmod(0o400)
            os.chown(path, 0, 0)
            os.seteuid(NOBODY)
        base.read(kind, root)
    if kind == "FORMAT":
        return
    store.verify()  # 1, or 0 where the read has moved it already
    second = store.verify()
    assert second.exit_code == 0 and not path.exists()
    assert kind not in BLOBS or digest_of(path) in {damage.what for damage in second.lost}
    base.heal(root)
    assert store.verify().exit_code == 0 and base.read(kind, root) == good


def as_owner(above: Path, root: Path, act: Callable[[Path], None]) -> None:
    """Acts as a user without root's rights who owns the whole store, in a child where this one is root."""
    if os.geteuid() != 0:
        act(root)
        return
    for path in (above, root, *root.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setegid(NOBODY)
            os.seteuid(NOBODY)
            act(root)
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    assert not said, said
