"""Functions that the child tests run in a child process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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


def branch_on_gpu(*, out: Path, graph: Path, meeting: Path, name: str, until: list[str]) -> dict[str, Any]:
    """Builds a plan on the GPU that it holds and stays until all of ``until`` are in ``meeting``, five minutes at most.

    Returns the GPU, how many CUDA shows, who else was at work on it, and how the timing cache was found.
    """
    from cuda.bindings import runtime

    from cxr_core.config import EngineConfig
    from cxr_core.engines.engine import engine
    from cxr_core.engines.registry import backend
    from cxr_core.refs import Precision

    (device,) = backend("tensorrt").devices()
    mine = meeting / f"{name} on {device}"
    mine.touch()
    (meeting / name).touch()
    for _ in range(6000):
        if all((meeting / one).exists() for one in until):
            break
        time.sleep(0.05)
    others = [one.name for one in meeting.glob(f"* on {device}") if one != mine]
    built = engine(
        graph=graph, out=out, precision=Precision.FP32, backend="tensorrt", config=EngineConfig(),
        cache=meeting.parent / "cache",
    )  # fmt: skip
    mine.unlink()
    cache = built["build"]["timing_cache"]
    return {"device": device, "shown": runtime.cudaGetDeviceCount()[1], "others": others, "cache": cache}
