"""``cxr bench``: one engine of a run measured once more, beside the run's own record."""

import json
import tempfile
from pathlib import Path
from typing import Any

from cxr_core.child import run_child
from cxr_core.config import Profile
from cxr_core.engines import registry
from cxr_core.errors import UsageError
from cxr_core.refs import Precision, Record
from flows.runs import newest_with, read_summary
from flows.showing import output, progress_bars, say
from tasks.place import current_store
from tasks.progress import Reporter


def bench_once(run_id: str, precision: Precision, backend: str) -> dict[str, Any]:
    """Measure in turns with the backend's FP32 engine, as the run did.

    Raises:
        UsageError: the run has no such engine.
        MachineError: the engine was built for another machine.
        BranchError: the measurement is not valid.
    """
    run_id, records = newest_with("engine", run_id)
    profile = Profile.model_validate(read_summary(run_id)["settings"])
    engine, reference = (_engine(records, wanted, backend, run_id) for wanted in (precision, Precision.FP32))
    store = current_store()
    label, device = f"benchmark {precision}@{backend}", registry.backend(backend).device_lock()
    with (
        store.lease(label),
        tempfile.TemporaryDirectory(dir=store.root / "tmp") as scratch,
        progress_bars(),
        Reporter(label) as reporter,
    ):
        out = Path(scratch, "out")
        out.mkdir()
        run_child(
            "cxr_core.bench.benchmark:benchmark",
            {
                **_paths(engine, "engine", Path(scratch, "a")),
                **_paths(reference, "reference", Path(scratch, "b")),
                "config": profile.benchmark.model_dump(mode="json"),
                "engine_config": profile.engine.model_dump(mode="json"),
                "out": str(out),
            },
            purpose=label,
            log=Path(scratch, "log"),
            device=device,
            progress=reporter.progress,
            waiting=lambda who: say(f"waiting for {device}, held by {who}"),
        )
        measured: dict[str, Any] = json.loads((out / "benchmark.json").read_text(encoding="utf-8"))
    return {name: value for name, value in measured.items() if name != "latencies_ms"}


def print_benchmark(measured: dict[str, Any]) -> None:
    """In words, each figure with its count."""
    output.print_json(data=measured)


def _engine(records: list[Record], precision: Precision, backend: str, run_id: str) -> Record:
    for record in records:
        parameters = record.parts["parameters"]
        if (
            record.stage == "engine"
            and isinstance(parameters, dict)
            and (parameters.get("precision"), parameters.get("backend")) == (precision, backend)
        ):
            return record
    raise UsageError(f"run {run_id} has no engine {precision}@{backend}; `cxr report` shows what it has")


def _paths(record: Record, name: str, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    store = current_store()
    return {
        name: str(store.checkout(record.output("engine"), folder)),
        f"{name}_metadata": str(store.checkout(record.output("engine.json"), folder)),
    }
