from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxr_core.errors import ModelError
from cxr_core.graphs.files import open_graph

Changed = Callable[[Path, Callable[[onnx.ModelProto], object]], Path]


def rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "images"
    for node in model.graph.node:
        node.input[:] = ["images" if name == "input" else name for name in node.input]


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "logits"
    for node in model.graph.node:
        node.output[:] = ["logits" if name == "output" else name for name in node.output]


def fix_batch(model: onnx.ModelProto) -> None:
    for port in (model.graph.input[0], model.graph.output[0]):
        port.type.tensor_type.shape.dim[0].Clear()
        port.type.tensor_type.shape.dim[0].dim_value = 1


def second_output(model: onnx.ModelProto) -> None:
    made = model.graph.node[0].output[0]
    model.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, ["batch", 1, 64, 64]))


def weights_outside(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if len(t.raw_data) > 1000)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")


def half_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float16), "half"))


def quantised(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "scale"))
    model.graph.initializer.append(numpy_helper.from_array(np.int8(0), "zero"))
    model.graph.node.append(helper.make_node("QuantizeLinear", ["output", "scale", "zero"], ["unused"]))


def foreign_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node.append(helper.make_node("Gelu", ["output"], ["unused"], domain="com.microsoft"))


def other_size_in_metadata(model: onnx.ModelProto) -> None:
    next(p for p in model.metadata_props if p.key == "cxr.size").value = "96"


def newer_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 11


def new_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 24


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[-1].op_type = "Perhaps"


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            rename_input,
            r"expected input FLOAT\[batch, 1, H, H\].*found images FLOAT\[batch, 1, 64, 64\].*input_names",
        ),
        (rename_output, "found .* -> logits"),
        (fix_batch, r"found input FLOAT\[1, 1, 64, 64\].*dynamic_shapes"),
        (second_output, r"found input .* -> output FLOAT\[batch, 2\], div"),
        (weights_outside, "in another file.*save_as_external_data=False"),
        (half_weight, "already lowered .FLOAT16"),
        (quantised, "already lowered .QuantizeLinear"),
        (foreign_operator, "operators of com.microsoft"),
        (other_size_in_metadata, "cxr.size is 96, but the graph's input is 64"),
        (newer_ir, "IR version 11.*at most 10"),
        (new_opset, "opset 24; expected 13 to 23"),
        (unknown_operator, "not valid ONNX.*Perhaps"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused(
    exported: Path, changed: Changed, edit: Callable[[onnx.ModelProto], object], told: str
) -> None:
    with pytest.raises(ModelError, match=f"(?s){told}"):
        open_graph(changed(exported, edit))


def test_a_graph_of_three_channels_is_refused(tmp_path: Path) -> None:
    ports = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8]),
        helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 3, 8, 8]),
    ]
    graph = helper.make_graph([helper.make_node("Relu", ["input"], ["output"])], "g", ports[:1], ports[1:])
    path = tmp_path / "rgb.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    with pytest.raises(ModelError, match=r"found input FLOAT\[batch, 3, 8, 8\]"):
        open_graph(path)


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0 a picture", b"", b"PK\x03\x04"])
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx is not"):
        open_graph(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no ONNX file at .*absent"):
        open_graph(tmp_path / "absent.onnx")


def test_what_is_exported_keeps_the_contract(exported: Path) -> None:
    model, metadata = open_graph(exported)
    assert metadata.size == 64
    assert model.ir_version <= 10
