"""Fifty nightly runs in a row: what the store and Prefect's database grow by in a night."""

import os
import tempfile
from pathlib import Path

from benchmarks.pairs import Growth

_NIGHTS = 50
_REBUILD = 25  # the night on which every engine is built anew


def measure(rounds: int) -> list[Growth]:
    """Profile smoke on phantoms; ``rounds`` is not used, since one series is what is asked for."""
    with tempfile.TemporaryDirectory() as scratch:
        home, root = Path(scratch, "prefect"), Path(scratch, "store")
        os.environ |= {"CXR_STORE": str(root), "CXR_PREFECT_HOME": str(home)}
        from flows import settings

        settings.prepare()
        from flows.servers import own_server

        own_server()()
        from flows.pipeline import pipeline
        from flows.runs import read_summary

        def night(rebuild: str = "nothing") -> float:
            state = pipeline(profile="smoke", data="phantom", rebuild=rebuild, return_state=True)
            summary = read_summary(str(state.state_details.flow_run_id))
            assert summary["state"] == "completed"
            return float(sum(not stage["cached"] for stage in summary["stages"]))

        night()
        store, database = Growth("nights", "store, a night", "MB"), Growth("nights", "database, a night", "MB")
        executed = Growth("nights", "stages computed, a night", "")
        for number in range(1, _NIGHTS + 1):
            before = _size(root), _size(home)
            computed = night("engines" if number == _REBUILD else "nothing")
            for kept, now, then in zip((store, database), (_size(root), _size(home)), before, strict=True):
                kept.steps.append((now - then) / 1e6)
            executed.steps.append(computed)
        return [store, database, executed]


def _size(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
