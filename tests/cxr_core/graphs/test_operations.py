"""The arithmetic of an image, counted in the graph, is what torch counts while it runs the network."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_core.graphs.operations import gflop_per_image


def test_it_is_what_paper_and_pencil_count(tmp_path: Path) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.ones(shape, np.float32), name)

    nodes = [
        helper.make_node("Conv", ["input", "first"], ["a"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Conv", ["a", "depth"], ["b"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2], group=4),
        helper.make_node("Concat", ["b", "b"], ["two"], axis=0),  # as the flip average does
        helper.make_node("GlobalAveragePool", ["two"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "last"], ["output"], transB=1),
    ]
    weights = [constant("first", 4, 1, 3, 3), constant("depth", 4, 1, 3, 3), constant("last", 3, 4)]
    port = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 8, 8])
    answer = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["rows", 3])
    graph = helper.make_graph(nodes, "g", [port], [answer], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "g.onnx")
    products = 8 * 8 * 4 * 9 + 4 * 4 * 4 * 9 + 2 * 4 * 3
    assert gflop_per_image(tmp_path / "g.onnx") == pytest.approx(2 * products / 1e9)


@pytest.mark.slow
@pytest.mark.parametrize("flip_average", [False, True])
def test_it_is_what_torch_counts(flip_average: bool, tmp_path: Path) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from cxr_core.graphs.export import onnx_from_network
    from cxr_core.graphs.files import save_graph
    from cxr_core.training.network import Classifier, create_backbone

    network = Classifier(create_backbone("cxr_small", "none", 0.0), flip_average).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 64, 64))
    save_graph(onnx_from_network(network, 64, 18), tmp_path / "model.onnx")
    assert gflop_per_image(tmp_path / "model.onnx") == pytest.approx(counter.get_total_flops() / 1e9)


def test_every_precision_of_a_network_costs_the_same(graphs: Callable[[str], Path]) -> None:
    fp32 = gflop_per_image(graphs("fp32"))
    assert fp32 and fp32 > 1e-4
    for precision in ("fp16", "bf16", "int8"):
        assert gflop_per_image(graphs(precision)) == pytest.approx(fp32), precision


def test_a_shape_that_cannot_be_found_out_gives_no_count(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 4]) for name in ("input", "weight")]
    answer = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", "what"])
    graph = helper.make_graph([helper.make_node("MatMul", ["input", "free"], ["output"])], "g", ports, [answer])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "g.onnx")
    assert gflop_per_image(tmp_path / "g.onnx") is None
