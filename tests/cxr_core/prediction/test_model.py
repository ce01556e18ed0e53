"""The ONNX file alone suffices, and what is none is refused by name."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image

from cxr_core.errors import ModelError
from cxr_core.graphs.answers import Answering, probabilities
from cxr_core.prediction.model import Model
from tests.cxr_core.prediction.conftest import METADATA, SIZE, chest, graph, probability_of


def test_the_probability_is_the_calibrated_one_and_the_label_is_by_the_threshold() -> None:
    with Model(graph().SerializeToString(), "it") as model:
        for grey in (0, 60, 95, 96, 100, 140, 255):
            found = model.probability(Image.new("L", (40, 60), grey))
            assert found == pytest.approx(probability_of(grey), abs=1e-6)
            assert model.label(found) == ("PNEUMONIA" if found >= 0.4 else "NORMAL")
        assert model.label(0.4) == "PNEUMONIA" and model.label(0.4 - 1e-9) == "NORMAL"


def test_it_is_what_the_run_scores_by(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(graph().SerializeToString())
    pixels = chest(shape=(SIZE, SIZE))
    scored = probabilities(Answering(path)(pixels[None, None], 1), METADATA)[0]
    with Model(path.read_bytes(), "it") as model:
        assert model.probability(Image.fromarray(pixels)) == pytest.approx(float(scored), abs=1e-9)


@pytest.mark.parametrize("content", [b"", b"no graph", graph().SerializeToString()[:-200]])
def test_what_is_no_graph_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"my\.onnx: ONNX Runtime .* cannot open it"):
        Model(content, "my.onnx")


def test_a_graph_without_its_metadata_is_refused_with_what_is_missing() -> None:
    with pytest.raises(ModelError, match=r"(?s)my\.onnx: .*cxr\.threshold: missing"):
        Model(graph(None).SerializeToString(), "my.onnx")


def test_a_graph_for_pictures_of_another_size_than_it_says_is_refused() -> None:
    with pytest.raises(ModelError, match=r"expected input .*32, 32.* found .*48, 48"):
        Model(graph(size=48).SerializeToString(), "my.onnx")


def test_weights_in_another_file_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(np.zeros(2, np.float32).tobytes())
    model = graph()
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "bias")
    bias.ClearField("float_data")
    bias.data_location = TensorProto.EXTERNAL
    for key, value in (("location", str(tmp_path / "secret")), ("offset", "0"), ("length", "8")):
        bias.external_data.append(onnx.StringStringEntryProto(key=key, value=value))
    with pytest.raises(ModelError):
        Model(model.SerializeToString(), "my.onnx")


def test_an_answer_that_is_no_number_is_an_error_and_no_probability() -> None:
    with (
        Model(graph(slope=float("nan")).SerializeToString(), "it") as model,
        pytest.raises(ModelError, match=r"nan.*no numbers"),
    ):
        model.probability(Image.new("L", (40, 40)))
