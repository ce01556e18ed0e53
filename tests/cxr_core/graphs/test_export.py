import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from cxr_core.config import ExportConfig, TensorsConfig
from cxr_core.errors import ModelError
from cxr_core.graphs.answers import Answering
from cxr_core.graphs.export import adopt, export
from cxr_core.graphs.metadata import read_metadata
from cxr_core.training.checkpoint import load_checkpoint, read_checkpoint

Changed = Callable[[Path, Callable[[onnx.ModelProto], object]], Path]


def test_the_file_says_all_that_prediction_needs(exported: Path, checkpoint: Path) -> None:
    about = read_checkpoint(checkpoint)
    metadata = read_metadata(onnx.load(exported))
    assert metadata.model_dump(exclude={"version"}) == about.model_dump(include=set(type(metadata).model_fields))
    assert metadata.weights_digest.startswith("sha256:")


def test_names_shapes_and_versions(exported: Path) -> None:
    model = onnx.load(exported)
    assert [
        (p.name, [d.dim_param or d.dim_value for d in p.type.tensor_type.shape.dim])
        for p in (*model.graph.input, *model.graph.output)
    ] == [("input", ["batch", 1, 64, 64]), ("output", ["batch", 2])]
    assert model.opset_import[0].version == ExportConfig().opset
    assert not {"BatchNormalization", "Constant", "Identity", "Dropout"} & {n.op_type for n in model.graph.node}


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_answers_as_the_network(exported: Path, checkpoint: Path, batch: int) -> None:
    network, _ = load_checkpoint(checkpoint)
    images = np.random.default_rng(batch).integers(0, 256, (batch, 1, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(Answering(exported)(images, batch), expected, rtol=1e-3, atol=1e-5)


def test_nothing_of_this_machine_is_inside(exported: Path) -> None:
    content = exported.read_bytes()
    for trace in (b"network.py", b"stack_trace", str(Path.cwd()).encode(), b"site-packages"):
        assert trace not in content


def test_another_process_writes_the_same_bytes(exported: Path, checkpoint: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cxr_core.config import ExportConfig; "
        "from cxr_core.graphs.export import export; "
        "export(checkpoint=Path(sys.argv[1]), out=Path(sys.argv[2]), config=ExportConfig())"
    )
    subprocess.run([sys.executable, "-c", code, checkpoint, tmp_path], check=True, capture_output=True)
    assert (tmp_path / "model.onnx").read_bytes() == exported.read_bytes()


def test_a_checkpoint_with_an_impossible_threshold_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes((checkpoint / "weights.safetensors").read_bytes())
    about = read_checkpoint(checkpoint).model_copy(update={"threshold": 1.0})
    (folder / "checkpoint.json").write_text(about.model_dump_json())
    with pytest.raises(ModelError, match="threshold"):
        export(checkpoint=folder, out=tmp_path, config=ExportConfig())
    assert not (tmp_path / "model.onnx").exists()


def test_a_graph_that_is_brought_keeps_its_bytes(exported: Path, tmp_path: Path) -> None:
    facts = adopt(graph=exported, out=tmp_path, tensors=TensorsConfig(size=64))
    assert (tmp_path / "model.onnx").read_bytes() == exported.read_bytes()
    assert facts["threshold"] == 0.45
    assert facts["labels"] == ["NORMAL", "PNEUMONIA"]


def test_a_graph_for_other_images_is_not_taken(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tensors\.size=64"):
        adopt(graph=exported, out=tmp_path, tensors=TensorsConfig(size=96))
    assert not list(tmp_path.iterdir())


def test_a_graph_without_metadata_is_not_taken(exported: Path, changed: Changed, tmp_path: Path) -> None:
    bare = changed(exported, lambda model: model.ClearField("metadata_props"))
    with pytest.raises(ModelError, match=r"cxr\.threshold: missing"):
        adopt(graph=bare, out=tmp_path, tensors=TensorsConfig(size=64))
