"""``cxr bench``: engines of a run or of the store measured once more; no record changes by it."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from cxr_core.bench.ab import AbResult
from cxr_core.bench.load import LoadResult
from cxr_core.bench.sweep import SweepResult
from cxr_core.child import run_child
from cxr_core.config import Profile
from cxr_core.engines import registry
from cxr_core.errors import UsageError
from cxr_core.refs import Precision, Record
from cxr_core.store.why import parameter
from flows.naming import account_of
from flows.runs import newest_with, read_summary
from flows.showing import progress_bars, say
from tasks.place import current_store
from tasks.progress import Reporter


def bench_once(run_id: str, branch: str) -> dict[str, Any]:
    """An engine in turns with its backend's FP32 engine, as the run did.

    Raises, as the others here do:
        UsageError: the run has no such engine.
        MachineError: the engine was built for another machine.
        BranchError: the measurement is not valid.
    """
    run_id, profile = _run(run_id)
    reference = f"{Precision.FP32}@{branch.partition('@')[2]}"
    engines = {"engine": engine_record(branch, run_id), "reference": engine_record(reference, run_id)}
    return _measured("cxr_core.bench.benchmark:benchmark", engines, profile, branch, stored=True)


def bench_load(run_id: str, branch: str, rate: float, seconds: float) -> LoadResult:
    """An engine under Poisson arrivals of single images, ``rate`` a second for ``seconds``."""
    run_id, profile = _run(run_id)
    engines, wish = {"engine": engine_record(branch, run_id)}, {"rate": rate, "seconds": seconds}
    return LoadResult.model_validate(_measured("cxr_core.bench.load:load", engines, profile, branch, wish))


def bench_sweep(run_id: str, branch: str) -> SweepResult:
    """An engine over the batches of the run's profile."""
    run_id, profile = _run(run_id)
    engines = {"engine": engine_record(branch, run_id)}
    return SweepResult.model_validate(_measured("cxr_core.bench.sweep:sweep", engines, profile, branch))


def bench_ab(run_id: str, first: str, second: str) -> AbResult:
    """Two engines in turns; each a branch of the run, a release or a digest of the store."""
    run_id, profile = _run(run_id)
    engines = {"engine": engine_record(first, run_id), "other": engine_record(second, run_id)}
    return AbResult.model_validate(_measured("cxr_core.bench.ab:ab", engines, profile, f"{first} against {second}"))


def engine_record(name: str, run_id: str) -> Record:
    """The record of the stage that built an engine.

    Raises:
        UsageError: no such thing, or it is no engine.
    """
    record = account_of(name, run_id)[0].record
    if record.stage != "engine":
        raise UsageError(
            f"{name} is no engine, stage {record.stage} made it; name a branch such as int8@openvino, or an engine's "
            "digest (cxr store ls --stage engine --json)"
        )
    return record


def _run(run_id: str) -> tuple[str, Profile]:
    run_id = newest_with("engine", run_id)[0]
    return run_id, Profile.model_validate(read_summary(run_id)["settings"])


def _measured(
    function: str,
    engines: Mapping[str, Record],
    profile: Profile,
    what: str,
    wish: Mapping[str, JsonValue] | None = None,
    stored: bool = False,
) -> dict[str, JsonValue]:
    """What the core function returns of these engines, in a child that holds their device alone."""
    store, label = current_store(), f"benchmark {what}"
    devices = registry.backend(str(parameter(engines["engine"].parts, "backend"))).devices()
    with (
        store.lease(label),
        tempfile.TemporaryDirectory(dir=store.root / "tmp") as scratch,
        progress_bars(),
        Reporter(label) as reporter,
    ):
        paths: dict[str, JsonValue] = {}
        for name, record in engines.items():
            paths |= _paths(record, name, Path(scratch, name))
        if stored:
            Path(scratch, "out").mkdir()
            paths["out"] = str(Path(scratch, "out"))
        return run_child(
            function,
            {
                **paths,
                **(wish or {}),
                "config": profile.benchmark.model_dump(mode="json"),
                "engine_config": profile.engine.model_dump(mode="json"),
            },
            purpose=label,
            log=Path(scratch, "log"),
            devices=devices,
            progress=reporter.progress,
            waiting=lambda who: say(f"waiting for {' or '.join(devices)}, held by {who}"),
        ).facts


def _paths(record: Record, name: str, folder: Path) -> dict[str, JsonValue]:
    folder.mkdir()
    store = current_store()
    return {
        name: str(store.checkout(record.output("engine"), folder)),
        f"{name}_metadata": str(store.checkout(record.output("engine.json"), folder)),
    }
