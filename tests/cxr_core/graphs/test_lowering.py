from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxr_core.errors import ModelError
from cxr_core.graphs.answers import Answering
from cxr_core.graphs.lowering import lower, lowerable, tensor_types
from cxr_core.graphs.rounding import emulated
from cxr_core.graphs.structure import Structure
from cxr_core.graphs.variants.bf16 import raised_to
from cxr_core.graphs.variants.fp16 import too_large

FP16, BF16 = TensorProto.FLOAT16, TensorProto.BFLOAT16


def lowered(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    result, _ = lower(model, lowerable(model, kind), kind)
    onnx.checker.check_model(result, full_check=True)
    return result


def chain(*nodes: onnx.NodeProto, weights: dict[str, Any], size: int = 4) -> onnx.ModelProto:
    """Nodes from ``input`` to ``output``, float32 ``[batch, 1, size, size]`` to whatever comes out."""
    graph = helper.make_graph(
        list(nodes),
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, size, size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1, size, size])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def images(count: int = 2, size: int = 4) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 1, size, size), np.uint8)


@pytest.mark.parametrize(
    ("model", "casts"),
    [
        pytest.param("efficientnet_b0", 2, marks=pytest.mark.slow),
        ("mobilenetv3_small_100", 2),
        pytest.param("resnet18", 2, marks=pytest.mark.slow),
        pytest.param("tf_efficientnet_b4", 2, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("kind", [FP16, BF16])
def test_the_whole_network_is_lowered_and_nothing_before_it(
    graph_of: Callable[..., Path], model: str, casts: int, kind: int
) -> None:
    source = onnx.load(graph_of(model))
    source = raised_to(source, 22) if kind == BF16 else source
    result = lowered(source, kind)
    types = tensor_types(result)
    nodes = list(result.graph.node)
    assert sum(n.op_type == "Cast" for n in nodes) == casts
    assert {p.name: p.type.tensor_type.elem_type for p in (*result.graph.input, *result.graph.output)} == {
        "input": TensorProto.FLOAT,
        "output": TensorProto.FLOAT,
    }
    for node in nodes:
        if node.op_type in ("Conv", "Gemm"):
            assert {types[name] for name in (*node.input, *node.output)} == {kind}
    first = Structure(source.graph).preprocessing
    assert nodes[: len(first)] == list(source.graph.node)[: len(first)]


def test_a_lowered_graph_answers_almost_as_before(graph_of: Callable[..., Path], calibration: Path) -> None:
    source = onnx.load(graph_of("mobilenetv3_small_100"))
    sample = np.load(calibration)[:8]
    exact = Answering(source.SerializeToString())(sample, 8)
    low = Answering(lowered(source, FP16).SerializeToString())(sample, 8)
    assert 0 < np.abs(low - exact).max() < 0.02 * np.abs(exact).max()


def test_an_output_straight_from_a_lowered_node_is_cast_back() -> None:
    model = chain(
        helper.make_node("Conv", ["input", "w"], ["output"]),
        helper.make_node("Conv", ["output", "w"], ["spare"]),
        weights={"w": np.full((1, 1, 1, 1), 0.5, np.float32)},
    )
    result = lowered(model, FP16)
    assert [n.op_type for n in result.graph.node] == ["Cast", "Conv", "Cast", "Conv"]
    answers = Answering(result.SerializeToString())(images(), 2)
    assert answers.dtype == np.float32
    np.testing.assert_array_equal(answers, images() / np.float32(2))


def test_a_sensitive_node_in_between_stays_float32() -> None:
    model = chain(
        helper.make_node("Conv", ["input", "w"], ["a"]),
        helper.make_node("Softmax", ["a"], ["b"]),
        helper.make_node("Relu", ["a"], ["c"]),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["output"]),
        weights={"w": np.full((1, 1, 1, 1), 0.01, np.float32)},
    )
    result = lowered(model, FP16)
    types = tensor_types(result)
    softmax = next(n for n in result.graph.node if n.op_type == "Softmax")
    assert types[softmax.input[0]] == types[softmax.output[0]] == TensorProto.FLOAT
    # in, up to softmax, down again, out: Relu reads the lowered tensor itself
    assert sum(n.op_type == "Cast" for n in result.graph.node) == 4


def test_a_weight_shared_with_a_float32_node_is_there_twice() -> None:
    model = chain(
        helper.make_node("Mul", ["input", "w"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["output"]),
        weights={"w": np.full((1, 1, 1, 1), 0.3, np.float32)},
    )
    result = lowered(model, FP16)
    assert {t.name: t.data_type for t in result.graph.initializer} == {"w": TensorProto.FLOAT, "w.fp16": FP16}


def test_weights_lost_to_the_precision_are_counted() -> None:
    weights = np.array([1e5, 1e-9, 0.0, 1.0], np.float32).reshape(1, 1, 2, 2)
    model = chain(helper.make_node("Conv", ["input", "w"], ["output"], auto_pad="SAME_UPPER"), weights={"w": weights})
    _, fp16 = lower(model, frozenset({0}), FP16)
    assert (fp16.overflow, fp16.underflow) == (1, 1)
    raised = raised_to(model, 22)
    _, bf16 = lower(raised, frozenset({0}), BF16)
    assert (bf16.overflow, bf16.underflow) == (0, 0)


def test_values_too_large_for_float16_keep_their_nodes_in_float32() -> None:
    model = chain(
        helper.make_node("Conv", ["input", "small"], ["a"]),
        helper.make_node("Conv", ["a", "big"], ["b"]),
        helper.make_node("Conv", ["b", "small"], ["c"]),
        helper.make_node("Conv", ["c", "small"], ["output"]),
        weights={"small": np.full((1, 1, 1, 1), 1e-2, np.float32), "big": np.full((1, 1, 1, 1), 1e5, np.float32)},
    )
    able = lowerable(model, FP16)
    assert too_large(model, able, images()) == {1, 2}
    unguarded = Answering(emulated(model, able, FP16).SerializeToString(), "none")(images(), 2)
    guarded = Answering(emulated(model, able - {1, 2}, FP16).SerializeToString(), "none")(images(), 2)
    assert not np.isfinite(unguarded).all()
    assert np.isfinite(guarded).all()


@pytest.mark.parametrize("kind", [FP16, BF16])
def test_emulation_rounds_what_goes_in_and_what_comes_out(kind: int) -> None:
    model = chain(
        helper.make_node("Conv", ["input", "w"], ["output"]), weights={"w": np.full((1, 1, 1, 1), 1 / 3, np.float32)}
    )
    kept = np.float32(images())
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    third = np.float32(np.asarray(1 / 3).astype(dtype))
    expected = (kept.astype(dtype).astype(np.float32) * third).astype(dtype).astype(np.float32)
    found = Answering(emulated(model, frozenset({0}), kind).SerializeToString(), "none")(images(), 2)
    np.testing.assert_array_equal(found, expected)


def test_control_flow_is_refused() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["input"], ["x"])],
        "branch",
        [],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
    )
    model = chain(
        helper.make_node("If", ["yes"], ["output"], then_branch=branch, else_branch=branch),
        weights={"yes": np.array(True)},
    )
    with pytest.raises(ModelError, match=r"control flow \(If\)"):
        lowerable(model, FP16)
