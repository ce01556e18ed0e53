"""Estimated time of a weighted node in float32, from its shapes alone: a measured one would change the file's bytes."""

from collections.abc import Mapping, Sequence
from math import prod

import onnx

# Multiply-accumulates in the time in which one value is read or written. Depthwise convolutions are bound by values.
_BALANCE = 8


def time_shares(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> dict[str, float]:
    """Each node's share of the estimated time of all ``nodes``, by name; the roofline model of Williams et al. 2009."""
    shapes = _shapes(model)
    times = {node.name: _time(node, shapes) for node in nodes}
    whole = sum(times.values()) or 1
    return {name: time / whole for name, time in times.items()}


def _time(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> float:
    read, weights, written = (prod(shapes.get(name, ())) for name in (node.input[0], node.input[1], node.output[0]))
    channels = shapes.get(node.output[0], (1,))[0] if node.op_type == "Conv" else written
    sums = written * weights / max(1, channels)
    return max(sums, _BALANCE * (read + weights + written))


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor for one image: without the batch, which is the first dimension of all but weights."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {
        value.name: tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim[1:])
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    return found | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
