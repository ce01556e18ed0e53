"""A run with nothing to do against an empty Prefect flow with as many tasks, in one process on one server."""

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pairs import Paired, in_turns, seconds


def measure(rounds: int) -> list[Paired]:
    """Profile smoke on phantoms, computed once before; the folder's fingerprint is reported apart and taken off."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"CXR_STORE": str(Path(scratch, "store")), "CXR_PREFECT_HOME": str(Path(scratch, "prefect"))}
        from flows import settings

        settings.prepare()
        from flows.servers import own_server

        own_server()()
        from prefect import flow, task
        from prefect.task_runners import ThreadPoolTaskRunner

        from flows.pipeline import pipeline
        from flows.runs import read_summary

        def run() -> dict[str, Any]:
            state = pipeline(profile="smoke", data="phantom", return_state=True)
            return read_summary(str(state.state_details.flow_run_id))

        first = run()
        count = len(first["stages"])

        @task
        def nothing() -> None:
            return None

        @flow(task_runner=ThreadPoolTaskRunner(max_workers=32))
        def empty() -> None:
            for future in [nothing.submit() for _ in range(count)]:
                future.wait()

        def cached() -> float:
            summary: dict[str, Any] = {}
            took = seconds(lambda: summary.update(run()))
            assert all(stage["cached"] for stage in summary["stages"]), "not a cached run"
            return took - float(summary["data"]["fingerprint"]["seconds"])

        pair = Paired("cached_run", f"cached run, {count} stages / empty flow, {count} tasks", "<= 1.5", "s")
        return [in_turns(pair, cached, lambda: seconds(empty), rounds)]
