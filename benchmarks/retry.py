"""A failed branch retried, and a branch rerun, against an empty flow doing the same on the same server."""

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.pairs import Paired, in_turns
from cxr_core.config import BenchmarkConfig
from tests.conftest import PROJECT, Place
from tests.serving import DOUBLES, Served, serving, until, with_doubles


def measure(rounds: int) -> list[Paired]:
    """The test double fails and is healed; its branch is measured for as long as the profiles do it."""
    with tempfile.TemporaryDirectory() as scratch:
        place, fault = Place(Path(scratch)), Path(scratch, "fault")
        fault.write_text("error:int8", encoding="utf-8")
        with serving(place, **with_doubles(f"@{fault}")) as served:
            _deploy_empty(served)
            profile = {"profile_file": str(DOUBLES / "doubles.yaml"), "data": "phantom"}
            ours = served.start("full/full", **profile, overrides={"benchmark": BenchmarkConfig().model_dump()})
            other = served.start("empty/empty")
            assert {served.ended(run, 900)["type"] for run in (ours, other)} == {"FAILED"}
            retried = _retried(served, ours, other, rounds)
            fault.write_text("", encoding="utf-8")
            return [retried, _rerun(served, rounds)]


def _retried(served: Served, ours: str, other: str, rounds: int) -> Paired:
    """From Retry to the failed task at work. Both runs fail again, so that each round is like the one before."""
    pair = Paired("retry", "failed branch at work after Retry / empty flow's task", "at most 3 s more", "s")
    return in_turns(
        pair,
        lambda: _seconds_to(served, ours, "engine[int8@fake]"),
        lambda: _seconds_to(served, other, "nothing"),
        rounds,
    )


def _rerun(served: Served, rounds: int) -> Paired:
    """A whole rerun of one branch; the other side is what its own stages took, and an empty flow from start to end."""
    pair = Paired("retry", "rerun of one branch / its own stages and an empty flow", "<= 1.1", "s")
    own = 0.0

    def ours() -> float:
        nonlocal own
        took, run_id = _whole(served, "precision-branch/precision-branch", precision="int8", backend="fake")
        account = json.loads((served.place.store / "runs" / run_id / "run.json").read_text(encoding="utf-8"))
        own = sum(float(stage["seconds"]) for stage in account["stages"] if not stage["cached"])
        return took

    ours()
    return in_turns(pair, ours, lambda: own + _whole(served, "empty/empty")[0], rounds)


def _whole(served: Served, deployment: str, **parameters: Any) -> tuple[float, str]:
    """Seconds from the wish to the end, as the server saw it, and the run."""
    asked = time.time()
    run_id = served.start(deployment, **parameters)
    return datetime.fromisoformat(served.ended(run_id, 900)["timestamp"]).timestamp() - asked, run_id


def _deploy_empty(served: Served) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "prefect",
            "--no-prompt",
            "deploy",
            "benchmarks/empty.py:empty",
            "-n",
            "empty",
            "-p",
            "cxr",
        ],
        cwd=PROJECT,
        env={**os.environ, **served.place.environment, "PREFECT_API_URL": f"{served.address}/api"},
        check=True,
        capture_output=True,
    )


def _seconds_to(served: Served, run_id: str, task: str) -> float:
    before = _started(served, run_id, task)
    asked = time.time()
    served.retry(run_id)
    began = until(lambda: (now := _started(served, run_id, task)) != before and now, 180, f"{task} at work")
    served.ended(run_id)
    time.sleep(1)  # the last events of this attempt
    return float(began) - asked


def _started(served: Served, run_id: str, task: str) -> float:
    """When the newest attempt of that task went to work, in seconds since 1970; 0 if it never did."""
    wanted: dict[str, Any] = {"flow_runs": {"id": {"any_": [run_id]}}, "limit": 200}
    tasks = [run for run in served.call("/task_runs/filter", wanted) if run["name"].startswith(task)]
    states = [
        state
        for run in tasks
        for state in served.call(f"/task_run_states/?task_run_id={run['id']}")
        if state["type"] == "RUNNING"
    ]
    return max((datetime.fromisoformat(state["timestamp"]).timestamp() for state in states), default=0.0)
