"""Bring your own: weights enter after training, a graph after export, and what does not fit is refused by name."""

from pathlib import Path
from typing import Any

import pytest

from cxr_core.refs import Ref
from cxr_core.store import Store
from tests.conftest import SMOKE, Place


def _output(place: Place, stage: str, name: str, folder: Path) -> Path:
    row = place.json("store", "ls", stage)[0]
    ref = next(Ref.model_validate(ref) for ref in row["outputs"] if ref["name"] == name)
    return Store.open(place.store).checkout(ref, folder)


@pytest.mark.slow
def test_our_own_weights_brought_back_give_the_same_graph(smoke: tuple[Place, dict[str, Any]], tmp_path: Path) -> None:
    place, first = smoke
    weights = _output(place, "train", "checkpoint", tmp_path) / "weights.safetensors"
    run = place.json(*SMOKE, "--weights", str(weights), "--set", "precisions=[fp32]", "--backend", "onnxruntime")
    assert run["state"] == "completed"
    before = next(row for row in first["rows"] if (row["precision"], row["backend"]) == ("fp32", "onnxruntime"))
    assert run["rows"][0]["accuracy"] == before["accuracy"]
    assert run["looks_at_test"] == 1


def test_a_graph_enters_after_export(smoke: tuple[Place, dict[str, Any]], tmp_path: Path) -> None:
    place, _ = smoke
    graph = _output(place, "export", "model.onnx", tmp_path)
    run = place.json(*SMOKE, "--onnx", str(graph), "--set", "precisions=[fp32]", "--backend", "onnxruntime")
    assert run["state"] == "completed"
    assert "train" not in {stage["name"] for stage in run["stages"]}
    assert run["looks_at_test"] == 1


@pytest.mark.parametrize(
    ("option", "content", "says"),
    [
        pytest.param("--weights", b"not weights", "cannot be read as weights", marks=pytest.mark.slow),
        ("--onnx", b"not a graph", "ONNX"),
    ],
)
def test_what_does_not_fit_ends_the_run_with_2_and_is_named(
    smoke: tuple[Place, dict[str, Any]], tmp_path: Path, option: str, content: bytes, says: str
) -> None:
    file = tmp_path / ("w.safetensors" if option == "--weights" else "g.onnx")
    file.write_bytes(content)
    run = smoke[0].json(*SMOKE, option, str(file), code=2)
    assert says in run["failures"][0]["message"]


@pytest.mark.slow
def test_weights_of_another_model_are_refused(smoke: tuple[Place, dict[str, Any]], tmp_path: Path) -> None:
    place, _ = smoke
    weights = _output(place, "train", "checkpoint", tmp_path) / "weights.safetensors"
    run = place.json(*SMOKE, "--weights", str(weights), "--model", "resnet10t", code=2)
    assert "--model" in run["failures"][0]["message"]
