"""One failed branch is redone alone: by Retry, by its deployment and in the terminal; however it failed."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Place
from tests.serving import DOUBLES, Served, serving, until, with_doubles

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PROFILE = {"profile_file": str(DOUBLES / "doubles.yaml"), "data": "phantom"}
REDONE = ["accuracy[int8@fake]", "benchmark[int8@fake]", "compare", "engine[int8@fake]", "report"]
REMEASURED = ["benchmark[int8@fake]", "compare", "report"]


@pytest.fixture
def fault(tmp_path: Path) -> Path:
    """What the test double does wrong; a test heals it by emptying the file."""
    file = tmp_path / "fault"
    file.write_text("")
    return file


def _keys(place: Place, run_id: str) -> dict[tuple[str, str | None], str]:
    account = place.json("report", "--run", run_id)
    return {(s["name"], s["precision"]): s["key"] for s in account["stages"] if s["name"] in {"engine", "accuracy"}}


def test_retry_the_deployment_and_the_terminal_redo_the_same_and_nothing_else(
    copied: Callable[[], Place], fault: Path
) -> None:
    place = copied()
    limit = {"overrides": {"engine": {"time_limit_seconds": 20}}}
    with serving(place, **with_doubles(f"@{fault}")) as served:
        # The build never ends and is killed by its limit; is killed as by the OOM killer; is not all timed. One that
        # refuses is retried in the browser's tests.
        for way, redone in {"hang": REDONE, "crash": REDONE, "batch": REMEASURED}.items():
            fault.write_text(f"{way}:int8")
            run_id = served.start("full/full", **PROFILE, **limit, refresh=["int8@fake"])
            assert served.ended(run_id)["type"] == "FAILED", way
            fault.write_text("")
            served.retry(run_id)
            until(lambda run_id=run_id: served.state(run_id)["type"] != "FAILED", 30, "the retry")
            assert served.ended(run_id)["type"] == "COMPLETED", way
            assert served.executed_by_store(run_id) == served.executed_by_prefect(run_id) == redone, way
        keys = _keys(place, run_id)

        by_deployment = served.start("precision-branch/precision-branch", precision="int8", backend="fake")
        assert served.ended(by_deployment)["type"] == "COMPLETED"
        assert served.executed_by_store(by_deployment) == served.executed_by_prefect(by_deployment) == REDONE
        assert _keys(place, by_deployment) == keys

        environment = with_doubles(f"@{fault}")
        in_terminal = place.json("rerun", "--precision", "int8", "--backend", "fake", **environment)
        assert in_terminal["state"] == "completed"
        assert served.executed_by_store(in_terminal["run_id"]) == REDONE
        assert _keys(place, in_terminal["run_id"]) == keys
        assert served.call(f"/flow_runs/{in_terminal['run_id']}")["deployment_id"]


def _hanging_build(served: Served, fault: Path) -> str:
    fault.write_text("hang:int8")
    run_id = served.start("full/full", **PROFILE)
    until(lambda: list(served.place.store.glob("tmp/engine-*")), 300, "the hanging build")
    return run_id


def test_worker_and_run_are_killed_the_run_is_seen_as_crashed_and_retried(
    copied: Callable[[], Place], fault: Path
) -> None:
    place = copied()
    with serving(place, **with_doubles(f"@{fault}")) as served:
        run_id = _hanging_build(served, fault)
        until(lambda: served.state(run_id)["type"] == "RUNNING", 60, "the run")
        for what in ("worker start", "prefect.engine", "flow-run"):
            for process in place.processes(what):
                with suppress(ProcessLookupError):  # it saw the one before die
                    os.kill(process, signal.SIGKILL)
        until(lambda: not place.processes("cxr_core.child"), 60, "the end of the build that nobody waits for")
        assert served.ended(run_id, 300)["type"] == "CRASHED"  # told by its silence
        fault.write_text("")
        served.retry(run_id)
        until(lambda: served.state(run_id)["type"] != "CRASHED", 60, "the retry")
        assert served.ended(run_id)["type"] == "COMPLETED"
        assert place.json("store", "verify")["new_damage"] == []


def test_the_server_is_restarted_in_the_middle_and_the_run_is_retried(copied: Callable[[], Place], fault: Path) -> None:
    place = copied()
    with serving(place, **with_doubles(f"@{fault}")) as served:
        run_id = _hanging_build(served, fault)
    assert place.json("store", "verify")["new_damage"] == []
    fault.write_text("")
    with serving(place, **with_doubles(f"@{fault}")) as served:
        state = served.ended(run_id, 300)
        if state["type"] != "COMPLETED":
            served.retry(run_id)
            until(lambda: served.state(run_id)["type"] != state["type"], 60, "the retry")
        assert served.ended(run_id)["type"] == "COMPLETED"
        assert "engine[int8@fake]" in served.executed_by_store(run_id)


def test_a_clock_that_is_set_back_while_a_branch_is_rerun_costs_nothing(
    copied: Callable[[], Place], tmp_path: Path
) -> None:
    place = copied()
    # Every record seems to have been written an hour before it was, those of this run too.
    (tmp_path / "sitecustomize.py").write_text(
        "from cxr_core.store.actions import Actions\n"
        "real = Actions.written\n"
        "Actions.written = lambda self, key: real(self, key) - 3600\n"
    )
    branch = ("rerun", "--precision", "int8", "--backend", "openvino")
    again = place.json(*branch, PYTHONPATH=str(tmp_path))
    assert again["state"] == "completed"
    done = sorted(stage["name"] for stage in again["stages"] if not stage["cached"])
    assert done == ["accuracy", "benchmark", "compare", "engine", "report"]
