"""How much noise each node makes when it alone is quantised: one forward pass answers for all of them.

Beside every weighted node of the float32 graph stands its quantised twin, which reads the same exact input. So no
node sees another's noise, and one graph takes the place of one build a node.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from cxr_core.graphs.answers import Answering, Images, rounded
from cxr_core.graphs.files import INPUT
from cxr_core.graphs.int8.rules import PAIR, quantised_nodes

_BATCH = 4
_CLEAN = 120.0  # dB; a node without any noise, such as one whose output is always 0


def sqnr(model: onnx.ModelProto, quantised: onnx.ModelProto, images: Images) -> dict[str, float]:
    """Signal to quantisation noise of each quantised node's output, in dB over all of ``images``, by node name.

    Args:
        model: the float32 graph, its nodes named.
        quantised: the same graph with all Q/DQ pairs; its pairs and quantised nodes are taken as they are.
        images: uint8 ``[n, 1, H, W]``.
    """
    watched, twins = _watched(model, quantised)
    session = Answering(watched.SerializeToString(), "basic").session
    batches = (images[i : i + _BATCH].astype(np.float32) for i in range(0, len(images), _BATCH))
    power = np.sum([np.asarray(session.run(None, {INPUT: batch}), np.float64) for batch in batches], axis=0)
    return {
        node.name: _decibels(signal, noise) for node, (signal, noise) in zip(twins, power.reshape(-1, 2), strict=True)
    }


def _decibels(signal: float, noise: float) -> float:
    # Few digits, so that the order does not hang on the last bits of a sum.
    return rounded(min(_CLEAN, 10 * math.log10(signal / noise))) if signal and noise else _CLEAN


def _watched(model: onnx.ModelProto, quantised: onnx.ModelProto) -> tuple[onnx.ModelProto, Sequence[onnx.NodeProto]]:
    """The float32 graph, all twins beside it, and as outputs the power of each one's signal and noise."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    graph = watched.graph
    there = {tensor.name for tensor in graph.initializer}
    graph.initializer.extend(tensor for tensor in quantised.graph.initializer if tensor.name not in there)
    graph.node.extend(node for node in quantised.graph.node if node.op_type in PAIR)
    del graph.output[:]
    twins = quantised_nodes(quantised)
    for node in twins:
        exact, low = node.output[0], f"{node.output[0]}.int8"
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name, twin.output[0] = f"{node.name}.int8", low
        graph.node.append(twin)
        graph.node.append(helper.make_node("Sub", [exact, low], [f"{low}.error"]))
        for source, target in ((exact, f"{low}.signal"), (f"{low}.error", f"{low}.noise")):
            graph.node.append(helper.make_node("ReduceSumSquare", [source], [target], keepdims=0))
            graph.output.append(helper.make_tensor_value_info(target, TensorProto.FLOAT, []))
    return watched, twins
