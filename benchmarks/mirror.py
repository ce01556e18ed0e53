"""Push to and pull from a mirror in a folder, against ``cp -r``, ``sha256sum`` and ``sync`` of the same blobs."""

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.pairs import Paired, in_turns, seconds
from cxr_core.mirror import Mirror, pull, push
from cxr_core.store import Store

_LARGE = 512 << 20  # bytes
_SMALL, _SMALL_SIZE = 5_000, 8 << 10  # files, bytes of each


def measure(rounds: int) -> list[Paired]:
    """One large file, and many small ones as a tree."""
    with tempfile.TemporaryDirectory() as scratch:
        return [
            pair
            for what, fill in (("512 MiB in one file", _large), (f"{_SMALL:,} files of 8 KiB", _small))
            for pair in _both_ways(Path(scratch, fill.__name__), what, fill, rounds)
        ]


def _both_ways(folder: Path, what: str, fill: Callable[[Path], None], rounds: int) -> list[Paired]:
    source, here = folder / "source", Store.open(folder / "here")
    source.mkdir()
    fill(source)
    here.pin("bench", [here.put(source, "bench")])
    shutil.rmtree(source)
    target, copy = folder / "mirror", folder / "copy"
    mirror = Mirror.at(f"file://{target}")

    def pushed() -> float:
        shutil.rmtree(target, ignore_errors=True)
        return seconds(lambda: push(here, mirror))

    def pulled() -> float:
        shutil.rmtree(folder / "there", ignore_errors=True)
        there = Store.open(folder / "there")
        return seconds(lambda: pull(there, mirror))

    def copied() -> float:
        shutil.rmtree(copy, ignore_errors=True)
        return seconds(lambda: _copy(here.root / "blobs", copy))

    other = "cp -r, sha256sum, sync"
    pairs = [(f"push {what} / {other}", pushed), (f"pull {what} / {other}", pulled)]
    return [in_turns(Paired("mirror", name, "none set", "s"), mine, copied, rounds) for name, mine in pairs]


def _copy(source: Path, target: Path) -> None:
    hashed = 'find "$2" -type f -print0 | xargs -0 -n 500 -P "$3" sha256sum > "$2.sums"'
    command = f'cp -r "$1" "$2" && {hashed} && sync -f "$2"'
    cores = str(len(os.sched_getaffinity(0)))
    subprocess.run(["sh", "-c", command, "sh", str(source), str(target), cores], check=True)


def _large(folder: Path) -> None:
    folder.joinpath("large").write_bytes(random.Random(1).randbytes(_LARGE))


def _small(folder: Path) -> None:
    made = random.Random(2)
    for number in range(_SMALL):
        folder.joinpath(f"{number:05}").write_bytes(made.randbytes(_SMALL_SIZE))
