"""``cxr bench export``: a run as trtexec's files, which ``cxr bench import`` reads back."""

import json
from pathlib import Path
from typing import Any

import pytest
from cxr_doubles.graphs import write_small

from cxr_core.bench.benchmark import benchmark
from cxr_core.engines.engine import engine
from cxr_core.errors import UsageError
from cxr_core.refs import Precision, Record
from flows.cli import app
from tasks.place import current_store
from tests.cxr_core.store.conftest import content_of
from tests.flows.test_measuring import FAST


def _record(number: int, stage: str, precision: str, out: Path, *names: str) -> Record:
    outputs = {name: current_store().put(out / name, name) for name in names}
    parts = {"stage": stage, "parameters": {"precision": precision, "backend": "openvino"}}
    record = Record(stage=stage, key=f"{number:064x}", parts=parts, outputs=outputs, seconds=1.0)
    current_store().write_action(record.key, content_of(record))
    return record


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run of two real engines that were measured, fp32 and int8."""
    folder = tmp_path_factory.mktemp("exporting")
    records, built = [], {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_STORE", str(folder / "store"))
        for number, precision in enumerate(("fp32", "int8")):
            out = built[precision] = folder / precision
            out.mkdir()
            graph = write_small(folder / f"{precision}.onnx", precision)
            engine(graph=graph, out=out, precision=Precision(precision), backend="openvino", config=FAST.engine)
            benchmark(
                engine=out / "engine", engine_metadata=out / "engine.json", reference=built["fp32"] / "engine",
                reference_metadata=built["fp32"] / "engine.json", out=out, config=FAST.benchmark,
                engine_config=FAST.engine,
            )  # fmt: skip
            records.append(_record(2 * number + 1, "engine", precision, out, "engine", "engine.json"))
            records.append(_record(2 * number + 2, "benchmark", precision, out, "benchmark.json", "times.json"))
        account = {"run_id": "r1", "started": "2026-01-01T00:00:00+00:00",
                   "records": {record.key: record.model_dump(mode="json") for record in records}}  # fmt: skip
        current_store().write_run("r1", account)
    return folder


@pytest.fixture(autouse=True)
def _there(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_STORE", str(store / "store"))


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    app(["bench", *arguments, "--json"], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


def test_a_run_is_written_and_read_back(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (context,) = told(capsys, "export", str(tmp_path / "out"))
    folder = tmp_path / "out" / "openvino"
    assert context == str(folder / "context.yaml")
    assert {path.name for path in folder.iterdir()} == {
        "context.yaml", "fp32.log", "fp32.times.json", "int8.log", "int8.times.json",
    }  # fmt: skip
    found = told(capsys, "import", "--context", context)
    assert found["findings"] == [] and [row["precision"] for row in found["rows"]] == ["fp32", "int8"]
    for row in found["rows"]:
        document = json.loads((store / row["precision"] / "benchmark.json").read_text())
        latency = document["latency"]
        assert found["device"] == document["device"] and row["queries"] == latency["count"]
        assert row["median_ms"] == pytest.approx(latency["median_ms"], rel=1e-5)
        assert row["variation"] == pytest.approx(latency["cv"], rel=1e-3)
        assert row["images_per_second"] == pytest.approx(1000 / latency["mean_ms"], rel=1e-5)
        assert row["engine_bytes"] == json.loads((store / row["precision"] / "engine.json").read_text())["engine_bytes"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="holds something; name a folder that is new or empty"):
        app(["bench", "export", str(tmp_path)], standalone_mode=False)
    with pytest.raises(UsageError, match="run r2"):
        app(["bench", "export", str(tmp_path / "new"), "--run", "r2"], standalone_mode=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
