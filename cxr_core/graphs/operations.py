"""How much arithmetic an image costs, counted in the graph."""

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

Shape = tuple[int, ...]


def gflop_per_image(graph: Path) -> float | None:
    """Billions of operations for one image, a multiply-add counted as two; None where a shape cannot be found out.

    Convolutions and matrix products only, as the graph writes them: everything else is small beside them, and leaving
    it out errs on the side of the engine. Lowered to other precisions the count stays the same.
    """
    import onnx

    model = onnx.load(graph)
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, Shape] = {
        value.name: tuple(d.dim_value if d.HasField("dim_value") else 0 for d in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    total = 0
    for node in inferred.node:
        if count := _COUNTS.get(node.op_type):
            products = count(shapes, node.input[0], node.input[1], node.output[0])
            if not products:
                return None
            total += products
    return 2 * total / 1e9


def _convolution(shapes: Mapping[str, Shape], source: str, weight: str, target: str) -> int:
    """Each output value is a sum over the kernel and its group's channels."""
    return prod(shapes.get(target, (0,))) * prod(shapes.get(weight, (0,))[1:] or (0,))


def _product(shapes: Mapping[str, Shape], source: str, weight: str, target: str) -> int:
    """[..., m, k] x [..., k, n]; ``Gemm`` transposed or not: every weight is used once for each row of the output."""
    weights = shapes.get(weight, (0,))
    rows = prod(shapes.get(target, (0,))[:-1])
    return rows * prod(weights[-2:]) if len(weights) >= 2 else 0


_COUNTS: Mapping[str, Callable[[Mapping[str, Shape], str, str, str], int]] = {
    "Conv": _convolution,
    "Gemm": _product,
    "MatMul": _product,
}
