"""The stage as a whole: what it refuses of a graph, and that a build repeats."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from cxr_doubles.graphs import images, small_model

from cxr_core.config import EngineConfig
from cxr_core.engines.engine import engine
from cxr_core.engines.opening import open_engine
from cxr_core.errors import ModelError, UsageError
from cxr_core.refs import Precision

CONFIG = EngineConfig(threads=1)


Change = Callable[[onnx.ModelProto], None]


def no_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def other_size(model: onnx.ModelProto) -> None:
    onnx.helper.set_model_props(model, {p.key: "64" if p.key == "cxr.size" else p.value for p in model.metadata_props})


def other_name(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "x"


def three_channels(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8


def half_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def ten_classes(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_metadata, r"cxr\.temperature: missing"),
        (other_size, r"expected input float32 \[-1, 1, 64, 64\].*found input float32 \[-1, 1, 32, 32\]"),
        (other_name, "expected input float32.*found x float32"),
        (three_channels, r"found input float32 \[-1, 3, 32, 32\]"),
        (fixed_batch, r"found input float32 \[8, 1, 32, 32\]"),
        (half_input, "found input type 10"),
        (ten_classes, r"output float32 \[-1, 10\]"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused_uncompiled(change: Change, message: str, tmp_path: Path) -> None:
    model, out = small_model(), tmp_path / "out"
    out.mkdir()
    change(model)
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match=message):
        engine(graph=tmp_path / "odd.onnx", out=out, precision=Precision.FP32, backend="fake", config=CONFIG)
    assert not list(out.iterdir())


def test_a_file_that_is_no_onnx_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.onnx").write_bytes(b"no graph at all")
    with pytest.raises(ModelError, match=r"odd\.onnx is not a readable ONNX file"):
        engine(graph=tmp_path / "odd.onnx", out=tmp_path, precision=Precision.FP32, backend="fake", config=CONFIG)


def test_unknown_backend_is_a_usage_error(graphs: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown backend"):
        engine(graph=graphs("fp32"), out=tmp_path, precision=Precision.FP32, backend="gpu", config=CONFIG)


def test_facts_of_the_double_say_fake(graphs: Callable[[str], Path], tmp_path: Path) -> None:
    found = engine(graph=graphs("fp32"), out=tmp_path, precision=Precision.FP16, backend="fake", config=CONFIG)
    assert found["fake"] is True and found["device"] == "FAKE device" and "test double" in found["note"]


def build_twice(name: str, graph: Path, folder: Path) -> tuple[Path, Path]:
    code = (
        "import sys; from pathlib import Path; from cxr_core.engines.engine import engine;"
        "from cxr_core.config import EngineConfig; from cxr_core.refs import Precision;"
        "engine(graph=Path(sys.argv[1]), out=Path(sys.argv[2]), precision=Precision.FP32, backend=sys.argv[3],"
        " config=EngineConfig(threads=1))"
    )
    for out in (folder / "a", folder / "b"):
        out.mkdir()
        subprocess.run([sys.executable, "-c", code, str(graph), str(out), name], check=True)
    return folder / "a", folder / "b"


def test_two_processes_leave_the_same_openvino_bytes(graphs: Callable[[str], Path], tmp_path: Path) -> None:
    first, second = build_twice("openvino", graphs("fp32"), tmp_path)
    assert sorted(p.name for p in first.iterdir()) == ["engine", "engine.json", "layers.json"]
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name


def test_two_onnxruntime_builds_answer_the_same(graphs: Callable[[str], Path], tmp_path: Path) -> None:
    answers = []
    for folder in build_twice("onnxruntime", graphs("fp32"), tmp_path):
        runner, _ = open_engine(folder / "engine", folder / "engine.json", config=CONFIG)
        with runner:
            answers.append(runner(images(8)))
    np.testing.assert_array_equal(*answers)
