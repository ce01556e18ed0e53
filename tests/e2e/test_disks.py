"""A whole run on a disk that is full or read-only: a message that says how to mend it, and nothing is lost."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMOKE, Place
from tests.serving import FAKE, serving, until, with_doubles

Disk = Callable[[str], Path]


def _remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_stops_the_run_and_with_more_room_it_goes_on(place: Place, small_disk: Disk) -> None:
    disk = small_disk("size=1m")
    where = {"CXR_STORE": str(disk / "store"), **with_doubles()}
    finished: set[str] = set()
    for size in ("1m", "3m", "6m"):
        _remount(disk, f"size={size}")
        done = place.cxr(*FAKE, code=3, **where)
        assert "No space left on device" in done.stderr
        assert "Free space with `cxr store gc`" in done.stderr
        assert "Traceback" not in done.stderr
        assert place.json("store", "verify", **where)["new_damage"] == []
        kept = {record["key"] for record in place.json("store", "ls", **where)}
        assert finished <= kept
        finished = kept
    assert finished
    _remount(disk, "size=64m")
    run = place.json(*FAKE, **where)
    assert run["state"] == "completed"
    assert all(stage["cached"] for stage in run["stages"] if stage["key"] in finished)


@pytest.mark.slow
def test_a_disk_that_fills_under_a_served_run_is_named_there_and_retry_goes_on(
    copied: Callable[[], Place], small_disk: Disk
) -> None:
    place, disk = copied(), small_disk("size=64m")
    subprocess.run(["cp", "-r", place.store, disk / "store"], check=True)
    _remount(disk, f"size={shutil.disk_usage(disk).used + 300_000}")  # less than one more graph
    changed = {"overrides": {"variant": {"int8_method": "entropy"}}}
    with serving(place, "--store", str(disk / "store")) as served:
        run_id = served.start("full/full", profile="smoke", data="phantom", **changed)
        assert served.ended(run_id)["type"] == "FAILED"
        assert "Free space with `cxr store gc`" in served.state(run_id)["message"]
        where = {"CXR_STORE": str(disk / "store")}
        kept = {record["key"] for record in place.json("store", "ls", **where)}
        _remount(disk, "size=64m")
        served.retry(run_id)
        until(lambda: served.state(run_id)["type"] != "FAILED", 30, "the retry")
        assert served.ended(run_id)["type"] == "COMPLETED"
    account = place.json("report", "--run", run_id, **where)
    assert all(stage["cached"] for stage in account["stages"] if stage["key"] in kept)


@pytest.mark.slow
def test_a_read_only_store_is_refused_with_the_way_out(
    smoke: tuple[Place, Any], place: Place, small_disk: Disk
) -> None:
    disk = small_disk("size=64m")
    subprocess.run(["cp", "-r", smoke[0].store, disk / "store"], check=True)
    _remount(disk, "ro")
    where = {"CXR_STORE": str(disk / "store")}
    done = place.cxr(*SMOKE, code=3, **where)
    assert "Remount it read-write" in done.stderr
    assert "CXR_STORE" in done.stderr
    assert "Traceback" not in done.stderr
    assert place.json("report", "--run", smoke[1]["run_id"], **where)["rows"]  # what is there can still be looked at
