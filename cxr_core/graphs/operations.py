"""How much arithmetic an image costs, counted in the graph."""

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]


def gflop_per_image(graph: Path) -> float | None:
    """Billions of operations for one image, a multiply-add counted as two; None where a shape cannot be found out.

    Convolutions and matrix products only, as the graph writes them: everything else is small beside them, and leaving
    it out errs on the side of the engine. Lowered to other precisions the count stays the same.
    """
    import onnx

    model = onnx.load(graph)
    shapes = shapes_of_one_image(model)
    total = 0
    for node in model.graph.node:
        if node.op_type in _COUNTS:
            products = multiply_adds(node, shapes)
            if not products:
                return None
            total += products
    return 2 * total / 1e9


def shapes_of_one_image(model: "onnx.ModelProto") -> dict[str, Shape]:
    """Shape of every tensor for a batch of one; 0 for a dimension that cannot be found out."""
    import onnx

    single = onnx.ModelProto()
    single.CopyFrom(model)
    for value in single.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    found = {
        value.name: tuple(d.dim_value if d.HasField("dim_value") else 0 for d in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return found | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def multiply_adds(node: "onnx.NodeProto", shapes: Mapping[str, Shape]) -> int:
    """Those of a convolution or matrix product; 0 where a shape is not known.

    Raises:
        KeyError: another kind of node.
    """
    return _COUNTS[node.op_type](shapes, node.input[1], node.output[0])


def _convolution(shapes: Mapping[str, Shape], weight: str, target: str) -> int:
    """Each output value is a sum over the kernel and its group's channels."""
    return prod(shapes.get(target, (0,))) * prod(shapes.get(weight, (0,))[1:] or (0,))


def _product(shapes: Mapping[str, Shape], weight: str, target: str) -> int:
    """[..., m, k] x [..., k, n]; ``Gemm`` transposed or not: every weight is used once for each row of the output."""
    weights = shapes.get(weight, (0,))
    rows = prod(shapes.get(target, (0,))[:-1])
    return rows * prod(weights[-2:]) if len(weights) >= 2 else 0


_COUNTS: Mapping[str, Callable[[Mapping[str, Shape], str, str], int]] = {
    "Conv": _convolution,
    "Gemm": _product,
    "MatMul": _product,
}
