"""Estimated time of a weighted node in float32, from its shapes alone: a measured one would change the file's bytes."""

from collections.abc import Mapping, Sequence
from math import prod

import onnx

from cxr_core.graphs.operations import Shape, multiply_adds, shapes_of_one_image

# Multiply-accumulates in the time in which one value is read or written. Depthwise convolutions are bound by values.
_BALANCE = 8


def time_shares(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> dict[str, float]:
    """Each node's share of the estimated time of all ``nodes``, by name; the roofline model of Williams et al. 2009."""
    shapes = shapes_of_one_image(model)
    times = {node.name: _time(node, shapes) for node in nodes}
    whole = sum(times.values()) or 1
    return {name: time / whole for name, time in times.items()}


def _time(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    values = sum(prod(shapes.get(name, ())) for name in (node.input[0], node.input[1], node.output[0]))
    return max(multiply_adds(node, shapes), _BALANCE * values)
