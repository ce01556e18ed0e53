"""A run whose parts are placed on two machines: own stores, own workers, nothing in common but server and mirror."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cxr_core.store import Store
from tests.conftest import PROJECT, Place
from tests.serving import DOUBLES, Served, serving, until, with_doubles

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PROFILE = {"profile_file": str(DOUBLES / "doubles.yaml"), "data": "phantom", "backends": ["openvino", "fake"]}
BEATS = {"PREFECT_WORKER_HEARTBEAT_SECONDS": "2"}  # a worker that is gone counts as such after three of them
REDONE = ["accuracy[int8@fake]", "benchmark[int8@fake]", "engine[int8@fake]"]


@contextmanager
def working(place: Place, served: Served, pool: str, **environment: str) -> Iterator[None]:
    """``cxr worker`` until the block ends; then Ctrl-C, which must end all of it."""
    log = place.folder / "worker.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "worker", pool, "--api", served.address],
            cwd=PROJECT,
            env={**place.environment, **environment},
            stdout=sink,
            stderr=sink,
        )

    def online() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        found = served.call("/work_pools/filter", {"work_pools": {"name": {"any_": [pool]}}})
        return bool(found) and any(
            w["status"] == "ONLINE" for w in served.call(f"/work_pools/{pool}/workers/filter", {})
        )

    try:
        until(online, 120, "the second machine")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(90)
    until(lambda: place.processes() == {}, 30, "the end of all processes of the second machine")


def _account(place: Place, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place.store / "runs" / run_id / "run.json").read_text())
    return found


def _part(served: Served, run_id: str, what: str) -> Any:
    """The newest flow run of a part of that run."""
    parts = served.call(
        "/flow_runs/filter", {"flows": {"name": {"any_": ["part"]}}, "sort": "EXPECTED_START_TIME_DESC"}
    )
    return next(p for p in parts if p["parameters"].get("run") == run_id and p["parameters"].get("what") == what)


def _graphs(place: Place) -> set[str]:
    """The digests of the exported graphs that the records of a store name."""
    return {r.output("model.onnx").digest for r in Store.open(place.store).records() if r.stage == "export"}


@pytest.fixture
def machines(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Place, Place, Served, dict[str, str], Path]]:
    """A served machine, another one, what both know of each other, and a file with the test double's faults."""
    (fault := tmp_path / "fault").write_text("")
    shared = {"CXR_MIRROR": f"file://{tmp_path}/mirror", **with_doubles(f"@{fault}")}
    # Where training is its own part, this machine has it from before.
    here = Place(tmp_path / "here") if "two_other" in request.node.name else request.getfixturevalue("copied")()
    there = Place(tmp_path / "there")
    there.folder.mkdir()
    with serving(here, **shared) as served:
        yield here, there, served, shared, fault
    for place in (here, there):
        assert place.json("store", "verify")["new_damage"] == []


def test_training_here_engines_there_and_a_failed_branch_redone_on_its_pool(
    machines: tuple[Place, Place, Served, dict[str, str], Path],
) -> None:
    here, there, served, shared, fault = machines
    placed = {**PROFILE, "overrides": {"placement": {"train": "cxr", "engines": "nvidia"}}}
    unknown = served.start("full/full", **placed)
    assert "no machine has joined work pool nvidia" in served.ended(unknown)["message"]

    with working(there, served, "nvidia", **shared):
        workers = here.json("serve", "--status")["workers"]
        assert sorted((w["name"].partition("@")[0], w["status"]) for w in workers) == [
            ("cxr-local", "online"),
            ("nvidia", "online"),
        ]
        fault.write_text("error:int8")
        run_id = served.start("full/full", **placed)
        state = served.ended(run_id)
        assert (state["type"], "engine int8@fake" in state["message"]) == ("FAILED", True), state["message"]
        account, part = _account(here, run_id), _part(served, run_id, "engines")
        assert part["work_pool_name"] == "nvidia"
        measured = {f"{row['precision']}@{row['backend']}" for row in account["rows"] if row["engine_digest"]}
        assert measured == {"fp32@openvino", "int8@openvino", "fp32@fake"}

        # Where it was computed: training's tasks are the run's own, those of engines the other machine's.
        mine, theirs = ({row["name"] for row in _rows(served, one)} for one in (run_id, part["id"]))
        assert {"train", "export", "parity", "compare", "report"} <= mine
        assert {"engine[int8@openvino]", "benchmark[int8@openvino]", "accuracy[int8@openvino]"} <= theirs
        assert not any("@" in name for name in mine)
        assert "train" not in theirs
        assert [run.run_id for run in Store.open(there.store).runs()] == [part["id"]]
        assert len(_graphs(here)) == 1
        assert _graphs(here) == _graphs(there)
        whole = here.json("report", "--run", "latest")
        assert (whole["run_id"], whole["lost"]) == (run_id, [])

        fault.write_text("")
        again = served.start("precision-branch/precision-branch", precision="int8", backend="fake", run=run_id)
        assert served.ended(again)["type"] == "COMPLETED", served.state(again)["message"]
        redone = _part(served, again, "engines")
        assert redone["work_pool_name"] == "nvidia"
        assert _completed(there, redone["id"]) == REDONE
        assert [name for name in served.executed_by_store(again) if name not in REDONE] == ["compare", "report"]
        assert all(row["engine_digest"] for row in _account(here, again)["rows"])
        assert _graphs(here) == _graphs(there)


def test_training_and_engines_on_two_other_machines_and_a_pool_that_nobody_works_for(
    machines: tuple[Place, Place, Served, dict[str, str], Path],
) -> None:
    here, there, served, shared, _ = machines
    placed = {**PROFILE, "overrides": {"placement": {"train": "rocm", "engines": "nvidia"}}}
    third = Place(there.folder.with_name("third"))
    third.folder.mkdir()
    with working(there, served, "rocm", **shared, **BEATS), working(third, served, "nvidia", **shared, **BEATS):
        run_id = served.start("full/full", **placed)
        assert served.ended(run_id)["type"] == "COMPLETED", served.state(run_id)["message"]
        trained, built = (_part(served, run_id, what) for what in ("train", "engines"))
        assert [part["work_pool_name"] for part in (trained, built)] == ["rocm", "nvidia"]
        assert {"train", "export", "parity"} <= set(_completed(there, trained["id"]))
        assert {f"engine[{p}@openvino]" for p in ("fp32", "int8")} <= set(_completed(third, built["id"]))
        mine = {row["name"] for row in _rows(served, run_id)}
        assert {"compare", "report"} <= mine
        assert mine.isdisjoint(_completed(there, trained["id"]) + _completed(third, built["id"]))
        assert _account(here, run_id)["data"]["folder"].startswith(str(there.store))
        assert len(_graphs(there)) == 1
        assert _graphs(here) == _graphs(there) == _graphs(third)
        for place, own in ((there, trained), (third, built)):  # what came for a part is no run of its machine
            assert [run.run_id for run in Store.open(place.store).runs()] == [own["id"]]
        assert here.json("report", "--run", run_id)["lost"] == []

        foreign = {"what": "train", "run": run_id, "settings": {}, "parameters": {}, "code": "0" * 64}
        refused = served.start("part/rocm", **foreign, started=datetime.now(UTC).isoformat(), age=0)
        assert "bring both machines to the same commit" in served.ended(refused)["message"]

    # Nobody works for the pool any more: said in the run, and Retry goes on once somebody does.
    alone = served.start("full/full", **placed)
    state = served.ended(alone, 400)
    assert (state["type"], "which has no worker" in state["message"]) == ("FAILED", True), state["message"]
    assert "cxr worker rocm --api" in state["message"]
    assert served.state(_part(served, alone, "train")["id"])["type"] == "CANCELLED"
    with working(there, served, "rocm", **shared), working(third, served, "nvidia", **shared):
        served.retry(alone)
        until(lambda: served.state(alone)["type"] != "FAILED", 30, "the retry")
        assert served.ended(alone)["type"] == "COMPLETED", served.state(alone)["message"]
        assert _completed(there, _part(served, alone, "train")["id"]) == []
        assert _completed(third, _part(served, alone, "engines")["id"]) == []
    assert third.json("store", "verify")["new_damage"] == []


def _rows(served: Served, run_id: str) -> Any:
    return served.call("/task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}, "limit": 200})


def _completed(place: Place, run_id: str) -> list[str]:
    """What a part computed and did not find in its store."""
    rows = [row for row in _account(place, run_id)["stages"] if row["state"] == "Completed"]
    branches = ["@".join(row[name] for name in ("precision", "backend") if row[name]) for row in rows]
    return sorted(
        f"{row['name']}[{branch}]" if branch else row["name"] for row, branch in zip(rows, branches, strict=True)
    )
