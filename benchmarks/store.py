"""The content store against the tools that each do a part of its work, on the same bytes and the same file system.

DVC is found by ``CXR_DVC`` (the path of its executable) or on PATH. ``CXR_BENCH_DIR``: where the bytes lie while it
runs (10 GB); the temporary folder otherwise. All files are in the page cache on both sides, and what an earlier side
left to write is written before the next begins. Nothing is deleted between rounds but large files: ext4 is slow at
making files where many were just deleted.
"""

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from benchmarks.pairs import Growth, Paired, in_turns, seconds
from cxr_core.refs import Record, Ref
from cxr_core.store import Store
from cxr_core.store.seals import sealed
from cxr_core.store.trees import Entry, bytes_from_entries

_GIB = 1 << 30
_FILES, _FILE_BYTES, _FOLDERS = 5000, 8192, 20
_BLOBS = 100_000
_RECORDS = (100, 10_000, 100_000)
_LOOKUPS = 500
_CORES = len(os.sched_getaffinity(0))
_OLD = time.time() - 400 * 86_400
_SYNCED = ("-c", "core.fsync=loose-object", "-c", "core.fsyncMethod=batch")


def measure(rounds: int) -> list[Paired | Growth]:
    """Every row; those against DVC only where there is one."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CXR_BENCH_DIR")) as name:
        place = Place(Path(name))
        return [
            *_large_file(place, rounds),
            *_tree(place, rounds),
            *_dvc(place, rounds),
            *_lookup(place, rounds),
            *_verify(place, rounds),
            *_gc(place, rounds),
            *_checkout(place, rounds),
            *_memory(place, rounds),
        ]


class Place:
    """A folder, and in it a large file and a folder of small ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = count()
        self.large, self.small = folder / "large", folder / "small"
        with self.large.open("wb") as file:
            for _ in range(_GIB >> 24):
                file.write(os.urandom(1 << 24))
        for number in range(_FOLDERS):
            (self.small / f"{number:02}").mkdir(parents=True)
        for number in range(_FILES):
            (self.small / f"{number % _FOLDERS:02}" / f"image{number:05}.png").write_bytes(os.urandom(_FILE_BYTES))

    def fresh(self) -> Path:
        """A folder that was not there before."""
        made = self.folder / f"made{next(self._numbers)}"
        made.mkdir()
        return made

    def store(self) -> Store:
        return Store.open(self.fresh() / "store")


def _shell(line: str, *arguments: object, **environment: str) -> float:
    """Seconds of a shell command; ``$1`` and on are the arguments."""
    os.sync()
    return seconds(
        lambda: subprocess.run(
            ["sh", "-ec", line, "sh", *map(str, arguments)],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
    )


def _settled(work: Callable[[], object]) -> float:
    os.sync()
    return seconds(work)


def _large_file(place: Place, rounds: int) -> Iterator[Paired]:
    def ours() -> float:
        store = place.store()
        took = _settled(lambda: store.put(place.large, "large"))
        shutil.rmtree(store.root)
        return _GIB / took / 1e6

    for name, command in (("sha256sum", "sha256sum"), ("openssl sha256", "openssl dgst -sha256 -r")):
        if not shutil.which(command.split()[0]):
            continue

        def other(command: str = command) -> float:
            made = place.fresh()
            took = _shell(f'{command} "$1" > "$2.sha256"; cp "$1" "$2"; sync "$2"', place.large, made / "copy")
            shutil.rmtree(made)
            return _GIB / took / 1e6

        target = ">= 0.95" if command == "sha256sum" else ""
        yield in_turns(Paired("store", f"put of a 1 GiB file / {name}, cp, fsync", target, "MB/s"), ours, other, rounds)


def _put(place: Place) -> float:
    store = place.store()
    return _FILES / _settled(lambda: store.put(place.small, "small"))


def _tree(place: Place, rounds: int) -> Iterator[Paired]:
    for name, options, target in (
        ("git add as git comes, which syncs no object", (), ">= 1"),
        ("git add with core.fsync=loose-object, core.fsyncMethod=batch", _SYNCED, ">= 1"),
    ):

        def other(options: tuple[str, ...] = options) -> float:
            folder = place.fresh()
            subprocess.run(["git", "init", "-q", folder], check=True)
            return _FILES / _shell(
                f'git {shlex.join(options)} --git-dir "$1/.git" --work-tree "$2" add "$2"', folder, place.small
            )

        pair = Paired("store", f"put of {_FILES:,} files of {_FILE_BYTES // 1024} KiB / {name}", target, "files/s")
        yield in_turns(pair, lambda: _put(place), other, rounds)


def _dvc(place: Place, rounds: int) -> Iterator[Paired]:
    program = os.environ.get("CXR_DVC") or shutil.which("dvc")
    if program is None:
        sys.stderr.write(
            "no dvc, so its rows are left out: python3 -m venv dvc && dvc/bin/pip install dvc, then set CXR_DVC to "
            "dvc/bin/dvc\n"
        )
        return

    def repository() -> Path:
        folder = place.fresh()
        shutil.copytree(place.small, folder / "small")
        dvc(folder, "init", "--no-scm")
        dvc(folder, "config", "core.analytics", "false")
        return folder

    def dvc(folder: Path, *arguments: str) -> float:
        return _shell(
            'cd "$1"; shift; "$@"', folder, program, *arguments, "-q", DVC_SITE_CACHE_DIR=str(folder / "site")
        )

    what = f"put of {_FILES:,} files of {_FILE_BYTES // 1024} KiB"
    yield in_turns(
        Paired("store", f"{what} / dvc add", ">= 5", "files/s"),
        lambda: _put(place),
        lambda: _FILES / dvc(repository(), "add", "small"),
        rounds,
    )
    known, added = place.store(), repository()
    known.put(place.small, "small")
    dvc(added, "add", "small")
    yield in_turns(
        Paired("store", f"{what} again, unchanged / dvc add again", ">= 3", "files/s"),
        lambda: _FILES / _settled(lambda: known.put(place.small, "small")),
        lambda: _FILES / dvc(added, "add", "small"),
        rounds,
    )


def _lookup(place: Place, rounds: int) -> Iterator[Paired]:
    """From opening the store to the record and the look at its outputs; and ``read_action`` alone."""
    stores = {records: _with_records(place, records) for records in _RECORDS}
    draw = random.Random(0)

    def alone(records: int) -> float:
        store = Store.open(stores[records], create=False)
        keys = [_key(draw.randrange(records)) for _ in range(_LOOKUPS)]
        return _settled(lambda: [store.read_action(key) for key in keys]) / _LOOKUPS * 1e3

    def whole(records: int) -> float:
        keys = [_key(draw.randrange(records)) for _ in range(_LOOKUPS)]

        def look() -> None:
            for key in keys:
                store = Store.open(stores[records], create=False)
                assert all(store.has(ref) for ref in store.record(key).outputs.values())

        return _settled(look) / _LOOKUPS * 1e3

    for name, way in (("read_action", alone), ("open, record, has", whole)):
        for records in _RECORDS[1:]:
            yield in_turns(
                Paired("store", f"{name}: {records:,} records / {_RECORDS[0]} records", "<= 1.2", "ms"),
                lambda way=way, records=records: way(records),
                lambda way=way: way(_RECORDS[0]),
                rounds,
            )


def _key(number: int) -> str:
    return random.Random(number).randbytes(32).hex()


def _with_records(place: Place, records: int) -> Path:
    """A store with so many records of eight outputs, written behind its back: quicker, and the same files."""
    store = place.store()
    refs = {f"output{number}": store.put_bytes(bytes([number]) * 1000, f"output{number}") for number in range(8)}
    for number in range(records):
        key = _key(number)
        record = Record(stage="engine", key=key, parts={"stage": "engine", "n": number}, outputs=refs, seconds=1.0)
        inner = {"__class__": "cxr_core.refs.Record", "data": record.model_dump(mode="json")}
        outer = {"metadata": {"storage_key": key, "serializer": {"type": "json"}}, "result": json.dumps(inner)}
        (store.root / "actions" / key).write_bytes(sealed(json.dumps(outer).encode()))
    store.read_action(_key(0))
    return store.root


def _verify(place: Place, rounds: int) -> Iterator[Paired]:
    """A store of 1 GiB: half in files of 32 MiB, half in files of 64 KiB."""
    store, draw = place.store(), random.Random(1)
    folder = place.fresh()
    for number in range(16):
        (folder / f"large{number}").write_bytes(draw.randbytes(32 << 20))
    for number in range(8192):
        (folder / f"small{number}").write_bytes(draw.randbytes(64 << 10))
    store.put(folder, "mixed")
    shutil.rmtree(folder)
    blobs = store.root / "blobs" / "sha256"
    sums = place.fresh()
    lines = [f"{path.parent.name}{path.name}  {path}\n" for path in blobs.rglob("*") if path.is_file()]
    random.Random(0).shuffle(lines)
    for part in range(_CORES * 8):  # so many parts that no process is left with much more than another
        (sums / f"{part:03}").write_text("".join(lines[part :: _CORES * 8]))

    def ours() -> float:
        took = _settled(lambda: (report := store.verify()).exit_code and sys.exit(f"damaged: {report}"))
        return _GIB / took / 1e6

    pair = Paired("store", f"verify of 1 GiB in 8,209 blobs / sha256sum -c by {_CORES} processes", ">= 0.95", "MB/s")
    checked = f'ls "$1"/* | xargs -P {_CORES} -n 1 sha256sum -c --quiet'
    yield in_turns(pair, ours, lambda: _GIB / _shell(checked, sums) / 1e6, rounds)


def _gc(place: Place, rounds: int) -> Iterator[Paired]:
    """100,000 old blobs, half of them in ten pinned trees, the others garbage; told and not removed, so that each
    round is like the one before."""
    store = place.store()
    blobs = store.root / "blobs" / "sha256"
    draw = random.Random(2)
    for shard in range(256):
        (blobs / f"{shard:02x}").mkdir(exist_ok=True)
    entries = []
    for number in range(_BLOBS):
        name = draw.randbytes(32).hex()
        path = blobs / name[:2] / name[2:]
        path.write_bytes(b"0123456789")
        os.utime(path, (_OLD, _OLD))
        entries.append(Entry(digest=f"sha256:{name}", name=f"image{number}.png", size=10))
    for number in range(10):
        part = entries[number * _BLOBS // 20 : (number + 1) * _BLOBS // 20]
        listing = store.put_bytes(bytes_from_entries(part), "listing")
        tree = Ref(form="tree", digest=listing.digest, size=10 * len(part), name="tree")
        pin = {"pin": f"p{number}", "refs": [tree.model_dump(mode="json")]}
        (store.root / "pins" / f"p{number}.json").write_bytes(sealed(json.dumps(pin).encode()))

    def ours() -> float:
        return _settled(lambda: len(store.gc(dry_run=True).removed_blobs) == _BLOBS // 2 or sys.exit("wrong gc"))

    for name, options, target in (
        ("find that reads age and size", "-printf '%T@ %s\\n'", "<= 3"),
        ("find that reads names only", "", ""),
    ):
        pair = Paired("store", f"gc --dry-run of {_BLOBS:,} blobs / {name}", target, "s")
        yield in_turns(
            pair, ours, lambda options=options: _shell(f'find "$1" -type f {options}', store.root / "blobs"), rounds
        )


def _checkout(place: Place, rounds: int) -> Iterator[Paired]:
    store = place.store()
    tree, large = store.put(place.small, "small"), store.put(place.large, "large")
    few = place.fresh()
    for number in range(32):
        (few / f"array{number}.npy").write_bytes(os.urandom(_GIB // 32))
    wide = store.put(few, "few")
    files = f"{_FILES:,} files of {_FILE_BYTES // 1024} KiB"
    copied = ("cp -r", 'cp -r "$1" "$2"')
    hashed = 'find "$2" -type f -print0 | xargs -0 -n 64 -P "$3" openssl dgst -sha256 -r'
    proved = (f"cp -r, then openssl sha256 by {_CORES} processes", f"{copied[1]}; {hashed}")
    for what, ref, source, verified, (name, command), target in (
        (f"checkout of {files}, every byte verified", tree, place.small, True, copied, ">= 1"),
        (f"checkout of {files}, every byte verified", tree, place.small, True, proved, ">= 1"),
        (f"links alone of {files}, not verified (no way of its own)", tree, place.small, False, copied, ""),
        ("checkout of 32 files of 32 MiB, every byte verified", wide, few, True, copied, ">= 1"),
        ("checkout of 32 files of 32 MiB, every byte verified", wide, few, True, proved, ">= 1"),
        ("checkout of one file of 1 GiB, every byte verified", large, place.large, True, copied, ""),
    ):

        def ours(ref: Ref = ref, verified: bool = verified) -> float:
            folder = place.fresh()
            lay = store.checkout if verified else store._artifacts.link
            return 1 / _settled(lambda: lay(ref, folder))

        def other(source: Path = source, command: str = command) -> float:
            folder = place.fresh()
            took = _shell(command, source, folder, _CORES)
            if source != place.small:
                shutil.rmtree(folder)
            return 1 / took

        yield in_turns(Paired("store", f"{what} / {name}", target, "a second"), ours, other, rounds)


_PEAK = """
import re, sys
from pathlib import Path
from cxr_core.store import Store
root, source, work = sys.argv[1:]
store = Store.open(Path(root))
if work == "put":
    store.put(Path(source), "large")
if work == "verify":
    assert store.verify().blobs == 1
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
"""


def _memory(place: Place, rounds: int) -> Iterator[Growth]:
    root = place.fresh() / "store"

    def peak(work: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, root, place.large, work], check=True, capture_output=True, text=True
        )
        return float(done.stdout)

    bare = min(peak("nothing") for _ in range(3))
    for work in ("put", "verify"):
        row = Growth("store", f"memory: {work} of 1 GiB, above an interpreter with the store (< 64)", "MB")
        for _ in range(rounds):
            if work == "put":
                shutil.rmtree(root)
            row.steps.append((peak(work) - bare) / 1e6)
        yield row
