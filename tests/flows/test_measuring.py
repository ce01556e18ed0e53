"""``cxr bench`` under a rate, over batches, and A against B: what a person and a script get, on real engines."""

import json
from pathlib import Path
from typing import Any

import pytest
from cxr_doubles.graphs import write_small
from jsonschema import Draft202012Validator

from cxr_core.bench.ab import AbResult
from cxr_core.bench.inputs import batches
from cxr_core.bench.load import LoadResult, load_of
from cxr_core.bench.open_loop import poisson_arrivals, serve
from cxr_core.bench.subject import Subject
from cxr_core.bench.sweep import SweepResult
from cxr_core.bench.warmup import Warmup
from cxr_core.config import BenchmarkConfig, EngineConfig, Profile
from cxr_core.engines.engine import engine
from cxr_core.errors import UsageError
from cxr_core.refs import Precision, Record
from flows.cli import app
from flows.measured import print_ab, print_load, print_sweep
from flows.measuring import engine_record
from tasks.place import current_store
from tests.conftest import PROJECT
from tests.cxr_core.bench.virtual import Sleeper, VirtualClock
from tests.cxr_core.store.conftest import content_of

FAST = Profile(
    name="fast",
    engine=EngineConfig(threads=1, batches=(1, 2, 4)),
    benchmark=BenchmarkConfig(
        warmup_seconds=0.02, warmup_longest_seconds=0.2, round_seconds=0.04, rounds=4, iterations=4, median_width=100,
        throughput_batch=4,
    ),
)  # fmt: skip


def _record(folder: Path, number: int, precision: str) -> Record:
    graph = write_small(folder / f"{precision}.onnx", precision)
    out = folder / precision
    out.mkdir()
    engine(graph=graph, out=out, precision=Precision(precision), backend="openvino", config=FAST.engine)
    outputs = {name: current_store().put(out / name, name) for name in ("engine", "engine.json")}
    parts = {"stage": "engine", "parameters": {"precision": precision, "backend": "openvino"}}
    record = Record(stage="engine", key=f"{number:064x}", parts=parts, outputs=outputs, seconds=1.0)
    current_store().write_action(record.key, content_of(record))
    return record


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run of two real engines, fp32 and int8."""
    folder = tmp_path_factory.mktemp("measuring")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_STORE", str(folder / "store"))
        records = [_record(folder, number, precision) for number, precision in enumerate(("fp32", "int8"), 1)]
        account = {
            "run_id": "r1", "started": "2026-01-01T00:00:00+00:00", "settings": FAST.model_dump(mode="json"),
            "records": {record.key: record.model_dump(mode="json") for record in records},
        }  # fmt: skip
        current_store().write_run("r1", account)
    return folder / "store"


@pytest.fixture(autouse=True)
def _there(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_STORE", str(store))
    monkeypatch.setenv("CXR_DEVICE_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))


def told(schema: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    app(["bench", *arguments, "--json"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    Draft202012Validator(json.loads((PROJECT / "docs" / "schemas" / f"{schema}.schema.json").read_text())).validate(
        document
    )
    return document


@pytest.mark.slow
def test_under_a_rate(capsys: pytest.CaptureFixture[str]) -> None:
    found = told("bench-rate", capsys, "--rate", "100", "--seconds", "0.3", "--precision", "int8")
    assert found["engine"]["precision"] == "int8" and found["load"]["rate"] == 100 and found["load"]["arrivals"] > 5
    print_load(LoadResult.model_validate(found))
    shown = capsys.readouterr().out
    assert "int8@openvino sha256:" in shown and "from falling due" in shown
    assert ("lower bounds" in shown) == bool(found["load"]["unserved"])


def test_overload_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    clock = VirtualClock()
    runner = Sleeper(clock, lambda call, batch: 0.1)
    served = serve(runner, batches(1, 8, 8, 0), poisson_arrivals(50, 2, 0), 4, clock)
    about = Subject(backend="x", precision=Precision.FP32, device="d", engine_digest="sha256:" + "0" * 64, fake=True)
    warmup = Warmup(seconds=1.0, windows=3, spread=1.2, stable=False)
    print_load(LoadResult(engine=about, load=load_of(served, 50, 2, 0), warmup=warmup, reason="not steady"))
    shown = capsys.readouterr().out
    assert "FAKE, a test double: fp32@x" in shown and "overloaded: " in shown and "were given up" in shown
    assert "lower bounds" in shown and "doubtful: not steady" in shown


@pytest.mark.slow
def test_over_batches(capsys: pytest.CaptureFixture[str]) -> None:
    found = told("bench-sweep", capsys, "--sweep")
    assert [one["batch"] for one in found["batches"]] == [1, 2, 4]
    print_sweep(SweepResult.model_validate(found))
    shown = capsys.readouterr().out
    assert "images/s [95 %]" in shown and "knee" in shown and "4 rounds" in shown


def test_a_against_b_by_branch_and_by_digest(capsys: pytest.CaptureFixture[str]) -> None:
    digest = engine_record("int8@openvino", "r1").output("engine").digest
    found = told("bench-ab", capsys, "--ab", "fp32@openvino", digest[:20])
    assert [found[side]["engine"]["precision"] for side in "ab"] == ["fp32", "int8"]
    assert found["b"]["engine"]["engine_digest"] == digest and found["verdict"] in ("faster", "slower", "inconclusive")
    result = AbResult.model_validate(found)
    print_ab(result)
    assert "drift of the machine over 4 rounds" in capsys.readouterr().out
    print_ab(result.model_copy(update={"b": result.a}))
    assert "A and B are the same engine" in capsys.readouterr().out


@pytest.mark.slow
def test_against_the_reference_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    app(["bench", "--precision", "int8", "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert found["precision"] == "int8" and found["ratio"]["latency"]["rounds"] >= 4 and found["warmup"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rate", "5", "--sweep"], "three different measurements"),
        (["--precision", "bf16", "--sweep"], "has no engine bf16@openvino"),
        (["--ab", "fp32@openvino", "fp16@onnxruntime"], "has no engine fp16@onnxruntime"),
        (["--ab", "fp32@openvino", "sha256:1234567"], "1234567"),
        (["--run", "r2", "--sweep"], "r2"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        app(["bench", *arguments], standalone_mode=False)
