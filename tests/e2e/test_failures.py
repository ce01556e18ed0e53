"""A run that really fails: crashes, kills, hangs, Ctrl-C, two at once. Nothing is lost and the rest goes on."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT, SMOKE, Place
from tests.serving import FAKE, until, with_doubles


def _executed(run: dict[str, Any]) -> set[tuple[str, str | None, str | None]]:
    return {(s["name"], s["precision"], s["backend"]) for s in run["stages"] if s["state"] == "Completed"}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("crash:int8", "engine"),
        pytest.param("error:int8", "engine", marks=pytest.mark.slow),
    ],
)
def test_a_failed_branch_is_a_row_its_siblings_stand_and_rerun_redoes_it_alone(
    copied: Callable[[], Place], fault: str, says: str
) -> None:
    place = copied()
    failed = place.json(*FAKE, code=1, **with_doubles(fault))
    assert failed["state"] == "failed"
    rows = {(row["precision"], row["backend"]): row for row in failed["rows"]}
    assert says in rows["int8", "fake"]["reason"]
    assert rows["int8", "fake"]["accuracy"] is None
    assert rows["fp32", "fake"]["accuracy"] is not None
    assert "FAKE" in rows["fp32", "fake"]["device"]
    assert Path(failed["report"]).is_file()
    assert any(place.store.joinpath("attempts").glob("*-engine-*/log.txt"))

    again = place.json("rerun", "--precision", "int8", "--backend", "fake", **with_doubles())
    assert again["state"] == "completed"
    assert _executed(again) == {
        ("engine", "int8", "fake"),
        ("benchmark", "int8", "fake"),
        ("accuracy", "int8", "fake"),
        ("compare", None, None),
        ("report", None, None),
    }


@pytest.mark.slow
def test_a_hanging_build_is_killed_by_its_limit(copied: Callable[[], Place]) -> None:
    place = copied()
    failed = place.json(*FAKE, "--set", "engine.time_limit_seconds=30", code=1, **with_doubles("hang:int8"))
    row = next(row for row in failed["rows"] if row["precision"] == "int8")
    assert "limit of 30 s" in row["reason"]
    assert place.processes() == {}


def test_a_double_is_refused_by_a_shipped_profile(place: Place) -> None:
    done = place.cxr("run", "--profile", "smoke", "--data", "phantom", "--backend", "fake", code=2, **with_doubles())
    assert "test double" in done.stderr


@pytest.mark.slow
def test_wrong_answers_fail_the_verdict_but_not_the_run_unless_it_is_required(copied: Callable[[], Place]) -> None:
    place = copied()
    run = place.json(*FAKE, **with_doubles("other:int8"))
    row = next(row for row in run["rows"] if row["precision"] == "int8")
    assert run["state"] == "completed"
    assert row["verdict"] in {"fail", "inconclusive"}
    required = place.json(*FAKE, "--set", "require=[int8]", code=1, **with_doubles("other:int8"))
    assert required["missing_verdicts"] == ["int8"]


@pytest.mark.slow
def test_answers_that_are_no_numbers_fail_their_branch(copied: Callable[[], Place]) -> None:
    run = copied().json(*FAKE, code=1, **with_doubles("nan:int8"))
    assert [(one["stage"], one["precision"]) for one in run["failures"]] == [("benchmark", "int8")]
    row = next(row for row in run["rows"] if row["precision"] == "int8")
    assert row["verdict"] == "fail" and "not finite" in row["reason"]


def test_a_refused_parity_gate_stops_the_run_with_a_report(copied: Callable[[], Place]) -> None:
    place = copied()
    run = place.json(*SMOKE, "--set", "parity.smallest_spread=1000", code=1)
    assert run["state"] == "failed"
    assert [failure["stage"] for failure in run["failures"]] == ["parity"]
    assert not {s["name"] for s in run["stages"]} & {"engine", "benchmark", "accuracy"}
    assert "parity" in Path(run["report"]).read_text(encoding="utf-8")


def test_too_many_corrupt_images_stop_the_run_with_their_list(place: Place, smoke: tuple[Place, Any]) -> None:
    source = next((smoke[0].store / "phantoms").iterdir())
    folder = place.folder / "data"
    shutil.copytree(source, folder)
    broken = sorted(folder.rglob("*.jpeg"))[:12]
    for file in broken:
        file.chmod(0o644)
        file.write_bytes(file.read_bytes()[:50])
    run = place.json("run", "--profile", "smoke", "--data", str(folder), code=2)
    assert run["failures"][0]["stage"] == "ingest"
    assert broken[0].name in run["failures"][0]["message"]


def _start(place: Place, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=PROJECT,
        env={**place.environment, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # as a shell starts a job, so that a terminal's Ctrl-C can be sent to all of it
    )


def _ctrl_c(running: "subprocess.Popen[str]") -> None:
    os.killpg(running.pid, signal.SIGINT)


def _interrupt(running: "subprocess.Popen[str]") -> None:
    running.send_signal(signal.SIGINT)


def _terminate(running: "subprocess.Popen[str]") -> None:
    running.send_signal(signal.SIGTERM)


def _stopped_in(
    place: Place, stage: str, stop: Callable[["subprocess.Popen[str]"], None], *command: str, **environment: str
) -> None:
    """Start a run, stop it while that stage computes, and see that it ends whole and leaves nobody behind."""
    running = _start(place, *command, **environment)
    deadline = time.monotonic() + 240
    while not list(place.store.glob(f"tmp/{stage}-*")):
        assert running.poll() is None, f"{stage} was never seen: {running.communicate()[1][-2000:]}"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)
    began = time.monotonic()
    stop(running)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, f"{stage}: {errors[-2000:]}"
    assert time.monotonic() - began < 30
    assert "Traceback" not in errors
    assert "goes on from there" in errors
    assert place.processes() == {}
    assert list(place.store.glob("tmp/*")) == []


def test_ctrl_c_ends_everything_and_the_next_run_goes_on(copied: Callable[[], Place]) -> None:
    place = copied()
    (trained,) = place.json("store", "ls", "train")
    (place.store / "actions" / trained["key"]).unlink()
    _stopped_in(place, "train", _ctrl_c, *SMOKE)
    assert place.json("store", "verify")["new_damage"] == []
    run = place.json(*SMOKE)
    assert run["state"] == "completed"
    assert _executed(run) == {("train", None, None)}  # from there to the very same weights


@pytest.mark.slow
def test_a_run_may_be_stopped_in_any_stage_and_goes_on_from_there(place: Place) -> None:
    """One run, stopped once in each stage in turn; what was finished before is never computed again."""
    stages = (
        *("ingest", "split", "tensors", "calibration", "train", "export", "parity"),
        *("variant", "engine", "benchmark", "accuracy", "compare", "report"),
    )
    finished: set[str] = set()
    for stage, stop in zip(stages, itertools.cycle((_ctrl_c, _interrupt, _terminate)), strict=False):
        _stopped_in(place, stage, stop, *FAKE, **with_doubles())
        assert place.json("store", "verify")["new_damage"] == []
        kept = {record["key"] for record in place.json("store", "ls")}
        assert finished <= kept
        finished = kept
    run = place.json(*FAKE, **with_doubles())
    assert run["state"] == "completed"
    keys = {s["key"]: s["cached"] for s in run["stages"]}
    assert all(keys[key] for key in finished if key in keys)


@pytest.mark.slow
def test_a_killed_run_frees_its_keys_and_the_next_goes_on_at_once(place: Place) -> None:
    running = _start(place, *FAKE, **with_doubles())
    deadline = time.monotonic() + 240
    while not list(place.store.glob("work/*/state.safetensors")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=60)  # its pipes close only when everybody who holds them is gone
    until(lambda: place.processes() == {}, 60, "the end of its server")
    run = place.json(*FAKE, **with_doubles())
    assert run["state"] == "completed"
    trained = next(s for s in run["stages"] if s["name"] == "train")
    shown = place.json("store", "show", trained["key"])
    assert shown["facts"]["resumed_at_step"] > 0


@pytest.mark.slow
def test_two_runs_at_once_compute_each_key_once(copied: Callable[[], Place]) -> None:
    place = copied()
    shutil.rmtree(place.folder / "prefect")  # both bring up a server, and one of them makes its database
    changed = ("--set", "variant.int8_method=entropy", "--set", "benchmark.seed=1")
    both = [_start(place, *SMOKE, *changed, "--json") for _ in range(2)]
    runs = []
    for running in both:
        text, errors = running.communicate(timeout=600)
        assert running.returncode == 0, errors[-3000:]
        runs.append(json.loads(text))
    executed = [s["key"] for run in runs for s in run["stages"] if not s["cached"]]
    # Within one run TF32 and FP32 may share a key; across runs no key is computed twice.
    assert len(executed) == len(set(executed)) > 10  # graph, engines and scores of int8, and every benchmark
    assert runs[0]["rows"] == runs[1]["rows"]
