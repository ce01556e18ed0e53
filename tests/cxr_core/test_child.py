"""Child processes: what they return, how they fail, and that nothing of them is left."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cxr_core import child, device
from cxr_core.errors import BranchError, DataError

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_DEVICE_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setattr(child, "_stopping", threading.Event())


def _run(tmp_path: Path, name: str, **options: object) -> child.Finished:
    arguments = options.pop("arguments", {})
    return child.run_child(
        f"child_work:{name}",
        {"out": str(tmp_path), **arguments},
        purpose=name,  # type: ignore[dict-item]
        log=tmp_path / "log",
        devices=("cpu",),
        **options,
    )  # type: ignore[arg-type]


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def _wait_for(file: Path) -> int:
    for _ in range(200):
        if file.exists() and file.read_text():
            return int(file.read_text())
        time.sleep(0.05)
    raise AssertionError(f"{file} never came")


def test_it_returns_values_reports_progress_and_keeps_chatter_in_the_log(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    finished = _run(tmp_path, "add", arguments={"a": 2, "b": 3}, progress=lambda *step: seen.append(step))
    assert finished.facts == {"sum": 5}
    assert (tmp_path / "sum.txt").read_text() == "5"
    assert seen == [(1, 1, "added")]
    assert "chatter" in (tmp_path / "log").read_text()


def test_an_error_made_on_purpose_keeps_its_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found cats"):
        _run(tmp_path, "refuse")


def test_a_crash_carries_the_end_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(BranchError, match=r"(?s)crashed.*about to divide.*ZeroDivisionError"):
        _run(tmp_path, "crash")


def test_a_kill_is_named(tmp_path: Path) -> None:
    with pytest.raises(BranchError, match="SIGKILL"):
        _run(tmp_path, "die")


def test_the_time_limit_kills_the_whole_group(tmp_path: Path) -> None:
    with pytest.raises(BranchError, match="longer than its limit"):
        _run(tmp_path, "hang", arguments={"seconds": 60}, time_limit=5.0)
    time.sleep(0.2)
    assert not _alive(_wait_for(tmp_path / "pid"))
    assert not _alive(_wait_for(tmp_path / "helper"))


def test_killing_the_children_ends_the_wait(tmp_path: Path) -> None:
    threading.Timer(1.5, child.kill_children).start()
    with pytest.raises(BranchError, match="interrupted"):
        _run(tmp_path, "hang", arguments={"seconds": 60})
    with pytest.raises(BranchError, match="not started"):
        _run(tmp_path, "add", arguments={"a": 1, "b": 1})


def test_the_child_dies_with_its_parent_and_frees_the_device(tmp_path: Path) -> None:
    program = (
        f"from pathlib import Path\nfrom cxr_core.child import run_child\n"
        f"run_child('child_work:hang', {{'out': {str(tmp_path)!r}, 'seconds': 60}}, purpose='hang', "
        f"log=Path({str(tmp_path / 'log')!r}), devices=('cpu',))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    pid, helper = _wait_for(tmp_path / "pid"), _wait_for(tmp_path / "helper")
    assert "hang" in device.holder("cpu")
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    began = time.monotonic()
    with device.hold(("cpu",), "next"):
        assert time.monotonic() - began < 30
    for _ in range(400):
        if not _alive(pid) and not _alive(helper):
            return
        time.sleep(0.05)
    raise AssertionError("children outlived their parent")


def test_whoever_waits_is_told_who_holds_the_device(tmp_path: Path) -> None:
    told: list[str] = []
    with device.hold(("cpu",), "building int8"):
        worker = threading.Thread(
            target=_run, args=(tmp_path, "add"), kwargs={"arguments": {"a": 1, "b": 1}, "waiting": told.append}
        )
        worker.start()
        for _ in range(200):
            if told:
                break
            time.sleep(0.05)
    worker.join()
    assert "building int8" in told[0]


def test_a_holder_that_has_not_signed_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXR_DEVICE_LOCKS", str(tmp_path))
    with device.hold(("cpu",), "the one before"):
        pass
    told: list[str] = []

    def wait() -> None:
        with device.hold(("cpu",), "waiting", told.append):
            pass

    descriptor = os.open(device.lock_path("cpu"), os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    os.pwrite(descriptor, json.dumps({"pid": 1, "purpose": "building int8"}).encode(), 0)
    waiting.join(0.5)
    os.close(descriptor)
    waiting.join()
    assert told == ["building int8 (process 1)"]
