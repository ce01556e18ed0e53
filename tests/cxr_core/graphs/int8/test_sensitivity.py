from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cxr_core.graphs.answers import Answering
from cxr_core.graphs.int8.calibrators import clips, histograms
from cxr_core.graphs.int8.qdq import activations, named, quantisable, quantised
from cxr_core.graphs.int8.sensitivity import sqnr


def output_of(model: onnx.ModelProto, tensor: str, images: Any) -> Any:
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    del tapped.graph.output[:]
    tapped.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    return Answering(tapped.SerializeToString(), "basic").session.run(None, {"input": images.astype(np.float32)})[0]


def test_one_pass_answers_as_one_build_a_node_would(exported: Path, calibration: Path) -> None:
    model = named(onnx.load(exported))
    images = np.load(calibration)
    nodes = quantisable(model, ())
    chosen = clips(histograms(model, activations(model, nodes), images), "mse")
    found = sqnr(model, quantised(model, chosen, ()), images)
    assert set(found) == {node.name for node in nodes}
    for node in nodes:
        alone = quantised(model, chosen, {other.name for other in nodes} - {node.name})
        exact, low = (output_of(graph, node.output[0], images).astype(np.float64) for graph in (model, alone))
        noise = ((exact - low) ** 2).sum()
        expected = 10 * np.log10((exact**2).sum() / noise) if noise else 120  # a branch of zeros makes no noise
        assert found[node.name] == pytest.approx(expected, abs=0.05), node.name
