"""Changing a written Q/DQ graph gives what ONNX Runtime's quantiser would have written, and costs no second writing."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cxr_core.graphs.int8.calibrators import clips, histograms
from cxr_core.graphs.int8.qdq import activations, named, quantisable, quantised, relieved, rescaled
from cxr_core.graphs.int8.rules import quantised_nodes


@pytest.fixture(scope="module")
def given(exported: Path, calibration: Path) -> tuple[onnx.ModelProto, dict[str, dict[str, float]], list[str]]:
    """A graph, the clips of its activations by two calibrators, and the names of its weighted nodes."""
    model = named(onnx.load(exported))
    nodes = quantisable(model, ())
    seen = histograms(model, activations(model, nodes), np.load(calibration)[:4])
    return model, {method: clips(seen, method) for method in ("minmax", "mse")}, [node.name for node in nodes]


def parts(model: onnx.ModelProto) -> tuple[list[bytes], list[bytes]]:
    return tuple(sorted(one.SerializeToString(deterministic=True) for one in of)  # type: ignore[return-value]
                 for of in (model.graph.node, model.graph.initializer))  # fmt: skip


def test_other_clips(given: tuple[onnx.ModelProto, dict[str, dict[str, float]], list[str]]) -> None:
    model, by_method, _ = given
    found = rescaled(quantised(model, by_method["minmax"], ()), by_method["mse"])
    assert parts(found) == parts(quantised(model, by_method["mse"], ()))


def test_nodes_left_out(given: tuple[onnx.ModelProto, dict[str, dict[str, float]], list[str]]) -> None:
    model, by_method, names = given
    left = set(names[::3])
    found = relieved(quantised(model, by_method["mse"], ()), left)
    assert parts(found) == parts(quantised(model, by_method["mse"], left))
    assert {node.name for node in quantised_nodes(found)} == set(names) - left
    onnx.checker.check_model(found, full_check=True)


def test_a_left_node_reads_exact_values_although_its_sibling_reads_quantised_ones() -> None:
    """As in a residual network, where the first convolution of a block and its shortcut read one tensor."""
    weights = np.random.default_rng(0).normal(0, 1, (2, 4, 4, 1, 1)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Relu", ["input"], ["x"], name="relu"),
            onnx.helper.make_node("Conv", ["x", "w0"], ["a"], name="one"),
            onnx.helper.make_node("Conv", ["x", "w1"], ["b"], name="other"),
            onnx.helper.make_node("Add", ["a", "b"], ["output"], name="sum"),
        ],
        "block",
        [onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch", 4, 8, 8])],
        [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["batch", 4, 8, 8])],
        [numpy_helper.from_array(values, f"w{n}") for n, values in enumerate(weights)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    whole = quantised(model, {"x": 1.0}, ())
    inputs = {node.name: node.input[0] for node in relieved(whole, {"one"}).graph.node}
    assert inputs["one"] == "x" != inputs["other"]
    assert [node.op_type for node in relieved(whole, {"one", "other"}).graph.node] == ["Relu", "Conv", "Conv", "Add"]
