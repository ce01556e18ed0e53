"""Functions that the child tests run in a child process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cxr_core.errors import DataError
from cxr_core.progress import Progress, silent


def add(*, a: int, b: int, out: Path, progress: Progress = silent) -> dict[str, int]:
    progress(1, 1, "added")
    sys.stdout.write("chatter on standard output\n")
    (out / "sum.txt").write_text(str(a + b))
    return {"sum": a + b}


def refuse(*, out: Path) -> dict[str, int]:
    raise DataError("expected radiographs, found cats")


def crash(*, out: Path) -> dict[str, int]:
    sys.stderr.write("about to divide\n")
    return {"x": 1 // 0}


def die(*, out: Path) -> dict[str, int]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def hang(*, out: Path, seconds: float) -> dict[str, int]:
    (out / "pid").write_text(str(os.getpid()))
    helper = subprocess.Popen(["sleep", str(seconds)])
    (out / "helper").write_text(str(helper.pid))
    time.sleep(seconds)
    return {}


def copy_later(*, source: Path, seconds: float, out: Path) -> dict[str, int]:
    (out / "early").write_text("written at once")
    time.sleep(seconds)
    (out / "late").write_bytes(source.read_bytes())
    return {}
