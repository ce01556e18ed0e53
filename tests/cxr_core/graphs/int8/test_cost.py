import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxr_core.graphs.int8.cost import time_shares


def test_shares_are_those_of_the_roofline_by_hand() -> None:
    """32 channels of 8 x 8: 2048 values in and out of each node but the last."""
    shapes = {"dense": (32, 32, 3, 3), "depthwise": (32, 1, 3, 3), "head": (2, 2048)}
    nodes = [
        helper.make_node("Conv", ["x", "dense"], ["a"], name="dense", pads=[1] * 4),
        helper.make_node("Conv", ["a", "depthwise"], ["b"], name="depthwise", pads=[1] * 4, group=32),
        helper.make_node("Flatten", ["b"], ["c"], name="flat"),
        helper.make_node("Gemm", ["c", "head"], ["y"], name="head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 32, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()],
    )
    found = time_shares(helper.make_model(graph), [nodes[0], nodes[1], nodes[3]])
    times = {
        "dense": 64 * 32 * 32 * 9,  # bound by its sums
        "depthwise": 8 * (2048 + 288 + 2048),  # by the values it reads and writes
        "head": 8 * (2048 + 4096 + 2),
    }
    assert found == pytest.approx({name: time / sum(times.values()) for name, time in times.items()})
