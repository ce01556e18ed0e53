"""Our Q/DQ placement beside that of NVIDIA's ModelOpt, which is TensorRT's own quantiser of ONNX graphs.

``make test-modelopt`` downloads it. It runs in a process of its own, on the same graph and images, as it comes.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from cxr_core.config import VariantConfig
from cxr_core.graphs.variants import variant
from cxr_core.refs import Precision
from tests.conftest import PROJECT
from tests.cxr_core.graphs.conftest import settled, smooth_images, write_graph

MODELOPT = PROJECT / "build" / "modelopt"
SIZE = 64
THEIRS = """
import sys
import numpy as np
from modelopt.onnx.quantization import quantize
graph, images, out = sys.argv[1:]
data = {"input": np.load(images).astype(np.float32)}
quantize(graph, quantize_mode="int8", calibration_data=data, calibration_method="max", calibration_eps=["cpu"],
         high_precision_dtype="fp32", output_path=out)
"""
# What each of the two quantises and the other does not, and why ours does not follow.
OURS_ALONE = {"Gemm"}  # the classifier: tiny, and the search leaves it in float32 where it hurts
THEIRS_ALONE = {
    "Mul", "ReduceMean", "HardSwish",  # squeeze-excite and activations: rounding without a product to gain
    "MaxPool",
    "Add",  # a shortcut that is a convolution: OpenVINO was no faster with it, TensorRT is not measured
}  # fmt: skip

Placement = dict[str, tuple[str, tuple[int, ...]]]
Placed = Callable[[str], tuple[Placement, Placement]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MODELOPT.exists(), reason="make test-modelopt downloads it"),
]


@pytest.fixture(scope="session")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Placed:
    """Ours and theirs of a timm model, nothing kept back."""

    def both(model: str) -> tuple[Placement, Placement]:
        folder = tmp_path_factory.mktemp(model)
        graph = write_graph(folder / "graph.onnx", settled(model, SIZE, flip=False), SIZE)
        images, theirs = folder / "images.npy", folder / "theirs.onnx"
        np.save(images, smooth_images(16, SIZE, seed=1)[:, None])
        config = VariantConfig(int8_method="minmax", keep_stem=False, keep_squeeze_excite=False)
        variant(graph=graph, calibration=images, out=folder, precision=Precision.INT8, config=config)
        command = [sys.executable, "-c", THEIRS, str(graph), str(images), str(theirs)]
        environment = {**os.environ, "PYTHONPATH": str(MODELOPT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return placement(folder / "variant.onnx"), placement(theirs)

    return both


def placement(path: Path) -> Placement:
    """By a node's first output: its operator, and which of its inputs come through a DequantizeLinear."""
    graph = onnx.load(path).graph
    closed = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return {
        node.output[0]: (node.op_type, tuple(slot for slot, name in enumerate(node.input) if name in closed))
        for node in graph.node
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear")
    }


@pytest.mark.parametrize(
    ("model", "shortcuts"),
    [("tf_efficientnet_b0", 0), ("tf_efficientnet_b4", 0), ("mobilenetv3_small_100", 0), ("resnet18", 3)],
)
def test_both_quantise_the_same_products_and_the_same_side_of_each_sum(
    placed: Placed, model: str, shortcuts: int
) -> None:
    ours, theirs = placed(model)
    assert ours.keys() == theirs.keys()
    differ = [(ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]]
    alone = {op for (op, mine), _ in differ if mine}
    assert alone <= OURS_ALONE
    assert {op for (op, mine), _ in differ if not mine} <= THEIRS_ALONE
    convolutions = [slots for op, slots in ours.values() if op == "Conv"]
    assert convolutions and set(convolutions) == {(0, 1)}
    sums = Counter(theirs[name] for name in ours if ours[name] == ("Add", (1,)))
    assert sums == {("Add", (1,)): sums.total()} and sums
    assert sum(op == "Add" for (op, mine), _ in differ if not mine) == shortcuts
