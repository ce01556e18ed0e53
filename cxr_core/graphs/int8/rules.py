"""The rules of an int8 graph that TensorRT and OpenVINO both take, checked on the graph that was written.

From TensorRT's ONNX parser: quantisation is symmetric (zero point 0), per channel for weights alone,
and a DequantizeLinear over an INT32 bias is refused.
"""

from typing import Any

import onnx
from onnx import numpy_helper

from cxr_core.errors import ModelError

QUANTISED = ["Conv", "Gemm"]
LEVELS = 127  # steps of INT8 above zero; symmetric, so -128 is not used
PAIR = ("QuantizeLinear", "DequantizeLinear")


def check_rules(model: onnx.ModelProto) -> None:
    """Something is quantised, all zero points are INT8 0, and every convolution has a weight scale a channel.

    Raises:
        ModelError: names the first node that breaks a rule.
    """
    if not quantised_nodes(model):
        raise nothing_quantised()
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in PAIR:
            _check_zero_point(node, constants.get(node.input[2]) if len(node.input) > 2 else None)
    for node in quantised_nodes(model):
        if node.op_type == "Conv":
            _check_scales(node, _pairs(model), constants)


def quantised_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Nodes whose data and weights both come through a DequantizeLinear."""
    pairs = _pairs(model)
    return [n for n in model.graph.node if n.op_type in QUANTISED and {*n.input[:2]} <= pairs.keys()]


def nothing_quantised() -> ModelError:
    """The refusal of a graph that int8 would leave as it is."""
    return ModelError(
        f"nothing was quantised: the graph has no {' or '.join(QUANTISED)} with constant weights beyond those "
        "that the profile's variant section keeps; leave int8 out"
    )


def _pairs(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {node.output[0]: node for node in model.graph.node if node.op_type in PAIR}


def _check_zero_point(node: onnx.NodeProto, zero: Any) -> None:
    if zero is None or zero.dtype != "int8" or zero.any():
        raise _broken(node, "INT8 with zero point 0", "none" if zero is None else f"{zero.dtype} {zero.flat[0]}")


def _check_scales(node: onnx.NodeProto, pairs: dict[str, onnx.NodeProto], constants: dict[str, Any]) -> None:
    dequantise = pairs[node.input[1]]
    before = pairs.get(dequantise.input[0], dequantise)
    channels, scales = constants[before.input[0]].shape[0], constants[dequantise.input[1]].size
    if scales != channels:
        raise _broken(node, f"{channels} weight scales, one a channel", str(scales))


def _broken(node: onnx.NodeProto, expected: str, found: str) -> ModelError:
    return ModelError(
        f"{node.op_type} {node.name or node.output[0]}: expected {expected}, found {found}; this onnxruntime "
        "quantises otherwise than the one that this was written for: install the pinned version"
    )
