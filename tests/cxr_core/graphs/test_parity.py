import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from safetensors.numpy import load_file, save_file

from cxr_core.config import ParityConfig
from cxr_core.errors import DataError, ModelError, RefusedError
from cxr_core.graphs.metadata import read_metadata, write_metadata
from cxr_core.graphs.parity import parity, parity_of_adopted

Changed = Callable[[Path, Callable[[onnx.ModelProto], object]], Path]
CONFIG = ParityConfig(images=18)


def gate(checkpoint: Path, graph: Path, tensors: Path, out: Path, config: ParityConfig = CONFIG) -> dict[str, Any]:
    return parity(checkpoint=checkpoint, graph=graph, tensors=tensors, out=out, config=config)


def with_weights(checkpoint: Path, folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    shutil.copytree(checkpoint, folder)
    weights = load_file(folder / "weights.safetensors")
    edit(weights)
    save_file(weights, folder / "weights.safetensors")
    return folder


def edit_weight(model: onnx.ModelProto, op: str, slot: int, edit: Callable[[Any], Any]) -> None:
    """Change what the last node of that kind reads there."""
    node = next(n for n in reversed(model.graph.node) if n.op_type == op)
    tensor = next(t for t in model.graph.initializer if t.name == node.input[slot])
    changed = np.asarray(edit(numpy_helper.to_array(tensor).copy()), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(changed, "changed"))
    node.input[slot] = "changed"


def test_the_exported_graph_passes(checkpoint: Path, exported: Path, tensors: Path, tmp_path: Path) -> None:
    facts = gate(checkpoint, exported, tensors, tmp_path)
    assert facts["applicable"] is True
    assert facts["tolerance_used"] < 0.2
    assert facts["spread"] > 0.01
    written = json.loads((tmp_path / "parity.json").read_text())
    assert [(p["images"], p["batch"], p["count"] % p["batch"]) for p in written["probes"]] == [
        ("validation", 1, 0),
        ("validation", 2, 0),
        ("validation", 17, 0),
        ("random", 17, 0),
    ]


def test_one_changed_weight_is_seen(
    checkpoint: Path, exported: Path, tensors: Path, changed: Changed, tmp_path: Path
) -> None:
    def edit(weights: Any) -> Any:
        weights.flat[0] *= 1.2
        return weights

    wrong = changed(exported, lambda model: edit_weight(model, "Conv", 1, edit))
    with pytest.raises(RefusedError, match=r"(?s)validation, batch 1:.*times the tolerance.*batch 17.*export again"):
        gate(checkpoint, wrong, tensors, tmp_path)
    assert not (tmp_path / "parity.json").exists()


def test_one_changed_node_is_seen(
    checkpoint: Path, exported: Path, tensors: Path, changed: Changed, tmp_path: Path
) -> None:
    def edit(model: onnx.ModelProto) -> None:
        next(n for n in reversed(model.graph.node) if n.op_type == "Relu").op_type = "Identity"

    with pytest.raises(RefusedError, match="times the tolerance"):
        gate(checkpoint, changed(exported, edit), tensors, tmp_path)


def test_another_decision_is_seen_however_wide_the_tolerance(
    checkpoint: Path, exported: Path, tensors: Path, changed: Changed, tmp_path: Path
) -> None:
    moved = changed(exported, lambda model: edit_weight(model, "Gemm", 2, lambda bias: bias - [0, 3]))
    with pytest.raises(RefusedError, match=r"[1-9]\d* of \d+ decisions differ"):
        gate(checkpoint, moved, tensors, tmp_path, CONFIG.model_copy(update={"atol": 1e6}))


def test_outputs_that_hardly_differ_are_refused(
    checkpoint: Path, exported: Path, tensors: Path, tmp_path: Path, changed: Changed
) -> None:
    def flatten(weights: dict[str, Any]) -> None:
        weights["head.fc.weight"] *= np.float32(1e-6)

    flat = with_weights(checkpoint, tmp_path / "flat", flatten)
    # any graph would pass here: this one has lost a convolution's weights
    wrong = changed(exported, lambda model: edit_weight(model, "Gemm", 1, np.zeros_like))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RefusedError, match=r"spread by .* expected at least 0\.001.*untrained"):
        gate(flat, wrong, tensors, out)
    assert gate(flat, wrong, tensors, out, CONFIG.model_copy(update={"smallest_spread": 1e-12}))["other_decisions"] == 0


def test_weights_that_are_no_numbers_are_refused(
    checkpoint: Path, exported: Path, tensors: Path, tmp_path: Path
) -> None:
    broken = with_weights(checkpoint, tmp_path / "broken", lambda w: w["head.fc.weight"].fill(np.nan))
    with pytest.raises(RefusedError, match="not all finite"):
        gate(broken, exported, tensors, tmp_path)


def test_a_graph_that_answers_no_numbers_is_refused(
    checkpoint: Path, exported: Path, tensors: Path, changed: Changed, tmp_path: Path
) -> None:
    wrong = changed(exported, lambda model: edit_weight(model, "Gemm", 2, lambda bias: bias * np.nan))
    with pytest.raises(RefusedError, match=r"max .difference. None"):
        gate(checkpoint, wrong, tensors, tmp_path)


def test_an_untrained_checkpoint_is_refused(checkpoint: Path, exported: Path, tensors: Path, tmp_path: Path) -> None:
    folder = tmp_path / "untrained"
    shutil.copytree(checkpoint, folder)
    about = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps(about | {"trained": False}))
    with pytest.raises(RefusedError, match="untrained"):
        gate(folder, exported, tensors, tmp_path)


def test_a_graph_of_other_weights_is_named_as_such(
    checkpoint: Path, exported: Path, tensors: Path, changed: Changed, tmp_path: Path
) -> None:
    def edit(model: onnx.ModelProto) -> None:
        write_metadata(model, read_metadata(model).model_copy(update={"weights_digest": "sha256:" + "0" * 64}))

    with pytest.raises(ModelError, match=r"cxr\.weights_digest.*other weights"):
        gate(checkpoint, changed(exported, edit), tensors, tmp_path)


def test_tensors_of_another_size_are_refused(checkpoint: Path, exported: Path, tmp_path: Path, tensors: Path) -> None:
    other = tmp_path / "tensors"
    shutil.copytree(tensors, other)
    np.save(other / "images.npy", np.zeros((30, 32, 32), np.uint8))
    with pytest.raises(ModelError, match=r"64 x 64.*tensors\.size=64"):
        gate(checkpoint, exported, other, tmp_path)


def test_no_validation_images_no_gate(checkpoint: Path, exported: Path, tensors: Path, tmp_path: Path) -> None:
    other = tmp_path / "tensors"
    shutil.copytree(tensors, other)
    index = other / "index.csv"
    index.write_text(index.read_text().replace("val", "test"))
    with pytest.raises(DataError, match="val"):
        gate(checkpoint, exported, other, tmp_path)


def test_real_radiographs_pass(
    checkpoint: Path, exported: Path, tensors: Path, tmp_path: Path, radiographs: np.ndarray[Any, np.dtype[np.uint8]]
) -> None:
    other = tmp_path / "tensors"
    shutil.copytree(tensors, other)
    np.save(other / "images.npy", radiographs[:30])
    facts = gate(checkpoint, exported, other, tmp_path)
    assert facts["tolerance_used"] < 0.2


def test_a_graph_that_was_brought_is_checked_against_itself(exported: Path, tensors: Path, tmp_path: Path) -> None:
    facts = parity_of_adopted(graph=exported, tensors=tensors, out=tmp_path, config=CONFIG)
    assert facts["applicable"] is False
    assert json.loads((tmp_path / "parity.json").read_text())["reference"].startswith("the graph itself")


def test_a_graph_whose_answer_depends_on_its_neighbours_is_refused(
    exported: Path, tensors: Path, changed: Changed, tmp_path: Path
) -> None:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "alone"
        model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "over_batch"))
        model.graph.node.append(helper.make_node("ReduceMean", ["alone", "over_batch"], ["crowd"]))
        model.graph.node.append(helper.make_node("Add", ["alone", "crowd"], ["output"]))

    with pytest.raises(RefusedError, match="validation, batch 2"):
        parity_of_adopted(graph=changed(exported, edit), tensors=tensors, out=tmp_path, config=CONFIG)


def test_a_graph_that_answers_always_the_same_is_refused(
    exported: Path, tensors: Path, changed: Changed, tmp_path: Path
) -> None:
    flat = changed(exported, lambda model: edit_weight(model, "Gemm", 1, np.zeros_like))
    with pytest.raises(RefusedError, match="spread"):
        parity_of_adopted(graph=flat, tensors=tensors, out=tmp_path, config=CONFIG)
