"""The whole flow on phantoms: what a run gives, what a second one costs, and what one changed thing redoes."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxr_core.bench.percentiles import least_count
from tests.conftest import SMOKE, Place

Smoke = tuple[Place, dict[str, Any]]
STAGES = {
    "ingest",
    "split",
    "tensors",
    "calibration",
    "train",
    "export",
    "parity",
    "variant",
    "engine",
    "benchmark",
    "accuracy",
    "compare",
    "report",
}


def _executed(run: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
    return sorted((s["name"], s["precision"], s["backend"]) for s in run["stages"] if not s["cached"])


def test_the_run_gives_what_it_promises(smoke: Smoke) -> None:
    place, run = smoke
    assert run["state"] == "completed"
    assert run["data"]["source"] == "phantom"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", run["data"]["digest"])
    assert {stage["name"] for stage in run["stages"]} == STAGES
    assert not any(stage["cached"] for stage in run["stages"])
    assert all(re.fullmatch(r"[0-9a-f]{64}", stage["key"]) for stage in run["stages"])
    assert run["looks_at_test"] == 1
    assert Path(run["report"]).is_file()
    assert str(place.store) in run["report"]


def test_every_branch_has_a_row_with_its_figures(smoke: Smoke) -> None:
    _, run = smoke
    rows = {(row["precision"], row["backend"]): row for row in run["rows"]}
    assert set(rows) == {(p, b) for p in ("fp32", "fp16", "bf16", "int8") for b in ("openvino", "onnxruntime")}
    for row in rows.values():
        assert row["verdict"] in {"pass", "fail", "inconclusive", "unsupported"}
        assert row["reason"]
        if row["verdict"] == "unsupported":
            assert row["accuracy"] is None
            assert row["images_per_second"] is None
        else:
            assert 0 <= row["accuracy_interval"][0] <= row["accuracy"] <= row["accuracy_interval"][1] <= 1
            assert row["images_per_second"] is None or row["images_per_second"] > 0
            assert row["engine_digest"].startswith("sha256:")
            latency = row["latency_ms"]  # how many queries a smoke run makes is the machine's matter
            assert (latency["p99"] is None) == (latency["count"] < least_count(99))
    assert rows["fp32", "onnxruntime"]["verdict"] == "pass"
    assert rows["bf16", "onnxruntime"]["verdict"] == "unsupported"
    assert rows["fp32", "openvino"]["effective_precision"] == "fp32"
    assert "int8" in rows["int8", "openvino"]["effective_precision"]


def test_the_report_says_phantom_and_needs_no_network(smoke: Smoke) -> None:
    _, run = smoke
    html = Path(run["report"]).read_text(encoding="utf-8")
    assert "PHANTOM" in html.upper()
    assert not re.search(r"""(?:src|href)=["']https?://""", html)
    report = json.loads(Path(run["report"]).with_name("report.json").read_text(encoding="utf-8"))
    assert report["rows"] == run["rows"]


def test_a_second_run_executes_nothing(smoke: Smoke) -> None:
    place, first = smoke
    second = place.json(*SMOKE)
    assert _executed(second) == []
    assert [s["key"] for s in second["stages"]] == [s["key"] for s in first["stages"]]
    assert second["rows"] == first["rows"]
    assert second["run_id"] != first["run_id"]


def test_a_changed_budget_redoes_only_what_depends_on_it(smoke: Smoke) -> None:
    place, _ = smoke
    run = place.json(*SMOKE, "--set", "compare.prevalence=0.2")
    assert _executed(run) == [("compare", None, None), ("report", None, None)]
    why = place.json("store", "why", "compare")
    assert [(d["field"], d["earlier"], d["later"]) for d in why] == [("parameters.config.prevalence", 0.1, 0.2)]


def test_rerun_redoes_one_branch_alone(smoke: Smoke, copied: Callable[[], Place]) -> None:
    place, first = copied(), smoke[1]
    place.json(*SMOKE)
    run = place.json("rerun", "--precision", "int8", "--backend", "openvino")
    redone = {stage for stage, precision, backend in _executed(run) if (precision, backend) == ("int8", "openvino")}
    others = {entry for entry in _executed(run) if entry[1:] != ("int8", "openvino")}
    assert redone == {"engine", "benchmark", "accuracy"}
    assert others <= {("compare", None, None), ("report", None, None)}
    old = place.json("report", "--run", first["run_id"])
    assert old["rows"] == first["rows"]


@pytest.mark.slow
def test_a_deleted_blob_is_a_miss_and_only_its_stage_is_redone(copied: Callable[[], Place]) -> None:
    place = copied()
    shown = place.json("store", "ls", "export")
    digest = next(ref["digest"] for ref in shown[0]["outputs"] if ref["name"] == "model.onnx")
    Path(place.json("store", "path", digest)["path"]).unlink()
    run = place.json(*SMOKE)
    assert _executed(run) == [("export", None, None)]


def test_a_flipped_bit_is_found_by_verify_and_the_next_run_heals(copied: Callable[[], Place]) -> None:
    place = copied()
    (exported,) = place.json("store", "ls", "export")
    others = {ref["digest"] for ref in exported["outputs"]}  # a graph that is lowered to fp32 is the exported one
    outputs = [ref for shown in place.json("store", "ls", "variant") for ref in shown["outputs"]]
    digest = next(ref["digest"] for ref in outputs if ref["name"] == "variant.onnx" and ref["digest"] not in others)
    blob = Path(place.json("store", "path", digest)["path"])
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    found = place.json("store", "verify", code=1)
    assert [damage["what"] for damage in found["new_damage"]] == [digest]
    assert place.json("store", "verify", code=0)["new_damage"] == []
    run = place.json(*SMOKE)
    assert {stage for stage, _, _ in _executed(run)} == {"variant"}
    assert run["state"] == "completed"


@pytest.mark.slow
def test_losing_prefects_database_loses_no_artifact(copied: Callable[[], Place]) -> None:
    import shutil

    place = copied()
    shutil.rmtree(place.folder / "prefect")
    assert _executed(place.json(*SMOKE)) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json",),
        (),
    ],
)
def test_predict_labels_judged_images_and_refuses_others(
    smoke: Smoke, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    place, _ = smoke
    image = next((place.store / "phantoms").rglob("test/PNEUMONIA/*.jpeg"))
    (tmp_path / "good.jpeg").write_bytes(image.read_bytes())
    (tmp_path / "torn.jpeg").write_bytes(image.read_bytes()[:200])
    (tmp_path / "notes.txt").write_text("not an image")
    done = place.cxr("predict", str(tmp_path), *arguments, code=1)  # for the torn one
    if not arguments:
        assert "no medical device" in done.stdout
        return
    found = json.loads(done.stdout)
    assert [Path(row["file"]).name for row in found["predictions"]] == ["good.jpeg"]
    assert found["predictions"][0]["label"] in {"NORMAL", "PNEUMONIA"}
    assert 0 <= found["predictions"][0]["probability"] <= 1
    assert [Path(row["file"]).name for row in found["errors"]] == ["torn.jpeg"]


def test_predict_gives_the_probability_that_the_run_scored(smoke: Smoke) -> None:
    import csv

    place, _ = smoke
    shown = place.json("store", "ls", "accuracy")
    row = next(r for r in shown if (r["precision"], r["backend"]) == ("fp32", "onnxruntime"))
    digest = next(ref["digest"] for ref in row["outputs"] if ref["name"] == "scores.csv")
    with Path(place.json("store", "path", digest)["path"]).open(newline="") as file:
        scores = list(csv.DictReader(file))[:5]
    folder = next((place.store / "phantoms").iterdir())
    found = place.json("predict", *(str(folder / score["file"]) for score in scores))
    for score, prediction in zip(scores, found["predictions"], strict=True):
        assert prediction["probability"] == pytest.approx(float(score["probability"]), abs=2e-6)
