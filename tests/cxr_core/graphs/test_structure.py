from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from cxr_core.graphs.structure import Structure


def structure_of(path: Path) -> Structure:
    graph = onnx.load(path).graph
    for node in graph.node:
        node.ClearField("name")  # nothing here may go by names
    return Structure(graph)


def ops(structure: Structure, places: frozenset[int]) -> list[str]:
    return [structure.nodes[i].op_type for i in sorted(places)]


@pytest.mark.parametrize(
    ("model", "blocks"),
    [
        ("efficientnet_b0", 16),
        ("mobilenetv3_small_100", 9),
        pytest.param("resnet18", 0, marks=pytest.mark.slow),
        pytest.param("tf_efficientnet_b4", 32, marks=pytest.mark.slow),
    ],
)
def test_squeeze_excite_is_found(graph_of: Callable[..., Path], model: str, blocks: int) -> None:
    structure = structure_of(graph_of(model))
    found = ops(structure, structure.squeeze_excite)
    assert found.count("ReduceMean") == blocks
    assert found.count("Conv") == 2 * blocks


def test_an_activation_is_no_gate(graph_of: Callable[..., Path]) -> None:
    structure = structure_of(graph_of("efficientnet_b0"))
    muls = ops(structure, frozenset(range(len(structure.nodes)))).count("Mul")
    # a gate and the activation inside the block; the rest are SiLUs
    assert ops(structure, structure.squeeze_excite).count("Mul") == 2 * 16
    assert muls > 2 * 16


@pytest.mark.parametrize(
    "model", ["efficientnet_b0", "mobilenetv3_small_100", pytest.param("resnet18", marks=pytest.mark.slow)]
)
def test_preprocessing_ends_at_the_first_convolution(graph_of: Callable[..., Path], model: str) -> None:
    structure = structure_of(graph_of(model))
    first = next(i for i, node in enumerate(structure.nodes) if node.op_type == "Conv")
    assert structure.preprocessing == frozenset(range(first))
    assert structure.stem == {first}
    assert {"Div", "Sqrt", "Sub", "Concat"} <= set(ops(structure, structure.preprocessing))


def test_what_follows_the_classifier_is_closing(graph_of: Callable[..., Path]) -> None:
    structure = structure_of(graph_of("efficientnet_b0"))
    assert set(ops(structure, structure.closing)) == {"Reshape", "ReduceMean"}
    last = max(i for i, node in enumerate(structure.nodes) if node.op_type == "Gemm")
    assert min(structure.closing) > last
