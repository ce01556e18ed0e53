"""A served place for tests: the server, its API, and waiting for what it will show."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.conftest import PROJECT, Place

DOUBLES = PROJECT / "tests" / "doubles"
FAKE = ("run", "--profile", str(DOUBLES / "doubles.yaml"), "--data", "phantom")
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def free_port() -> int:
    """A port with a free one beside it, for the reports; outside of Linux's range for outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def until(what: Callable[[], Any], seconds: float, waiting_for: str) -> Any:
    """The first answer that is true. An address that does not answer yet says nothing."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := what():
                return found
        except OSError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"{waiting_for}: not within {seconds:g} s")


@dataclass
class Served:
    """``cxr serve`` at work in a place of its own."""

    place: Place
    process: "subprocess.Popen[str]"
    address: str

    def call(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """One request to the API. A 503 is asked again, as Prefect's own client does: SQLite was busy."""
        request = urllib.request.Request(
            f"{self.address}/api{path}",
            data=json.dumps(body).encode() if body is not None else None,
            headers={"content-type": "application/json"},
            method=method,
        )
        for tries_left in reversed(range(5)):
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    text = response.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                if error.code != 503 or not tries_left:
                    raise
                time.sleep(1)
        return None

    def deployment(self, name: str) -> Any:
        """Such as ``full/full``."""
        return self.call(f"/deployments/name/{name}")

    def start(self, name: str, **parameters: Any) -> str:
        """Start a deployment; returns the flow run's id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.call(f"/deployments/{self.deployment(name)['id']}/create_flow_run", body)["id"])

    def state(self, run_id: str) -> Any:
        return self.call(f"/flow_runs/{run_id}")["state"]

    def ended(self, run_id: str, seconds: float = 600) -> Any:
        """Wait for a run's end; returns its state."""

        def final() -> Any:
            state = self.state(run_id)
            return state if state["type"] in FINAL else None

        return until(final, seconds, f"end of run {run_id}")

    def retry(self, run_id: str) -> None:
        """What the UI's button does."""
        state = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
        assert self.call(f"/flow_runs/{run_id}/set_state", state)["status"] == "ACCEPT"

    def executed_by_prefect(self, run_id: str) -> list[str]:
        """Names of the task runs that the last attempt computed, not answered from the store, as Prefect has it.

        Prefect learns of task states from events, a little after the flow has ended: it gets 30 s to agree
        with the run's own account. Tasks that never ran because one before them failed stay Pending there.
        """
        states = self.call(f"/flow_run_states/?flow_run_id={run_id}")
        began = max(state["timestamp"] for state in states if state["type"] == "RUNNING")
        deadline = time.monotonic() + 30
        while True:
            tasks = self.call("/task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}, "limit": 200})
            # A task may come before its state.
            told = [(task["name"], task["state"]) for task in tasks if task["state"]]
            done = sorted(name for name, state in told if state["name"] == "Completed" and state["timestamp"] > began)
            agreed = len(told) == len(tasks) and done == self.executed_by_store(run_id)
            if agreed or time.monotonic() > deadline:
                return done
            time.sleep(0.5)

    def executed_by_store(self, run_id: str) -> list[str]:
        """The same from the run's own account."""
        account = json.loads((self.place.store / "runs" / run_id / "run.json").read_text(encoding="utf-8"))
        return sorted(_task_name(stage) for stage in account["stages"] if stage["state"] == "Completed")


def _task_name(stage: dict[str, Any]) -> str:
    branch = "@".join(str(stage[name]) for name in ("precision", "backend") if stage[name])
    return f"{stage['name']}[{branch}]" if branch else str(stage["name"])


@contextmanager
def serving(place: Place, *options: str, **environment: str) -> Iterator[Served]:
    """``cxr serve`` until the block ends; then Ctrl-C, which must end all of it."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "serve", "--port", str(port), *options],
        cwd=PROJECT,
        text=True,
        env={**place.environment, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:

        def announced() -> bool:
            assert process.poll() is None, process.communicate()[1][-3000:]
            return (place.folder / "prefect" / "server.json").exists()

        until(announced, 180, "cxr serve")
        yield Served(place, process, f"http://127.0.0.1:{port}")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=90)
    assert process.returncode == 130, errors[-3000:]
    assert place.processes() == {}


def with_doubles(fault: str = "") -> dict[str, str]:
    """The environment in which the test double is found and fails as told; cxr is this checkout's everywhere."""
    return {"PYTHONPATH": f"{DOUBLES}{os.pathsep}{PROJECT}", "CXR_FAKE": fault}
