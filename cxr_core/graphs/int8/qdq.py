"""The Q/DQ graph: which nodes can be quantised, and the writing of the pairs with ONNX Runtime's quantiser."""

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from cxr_core.graphs.int8.rules import LEVELS, QUANTISED, quantised_nodes

_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "AddQDQPairToWeight": True,
    "OpTypesToExcludeOutputQuantization": QUANTISED,
}


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with a name of its own for every node: the quantiser leaves nodes out by name."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    taken: set[str] = set()
    for place, node in enumerate(copied.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}@{place}"
        taken.add(node.name)
    return copied


def quantisable(model: onnx.ModelProto, kept: Collection[str]) -> list[onnx.NodeProto]:
    """The weighted nodes that are not ``kept`` by a rule, in the graph's order."""
    return [node for node in model.graph.node if node.op_type in QUANTISED and node.name not in kept]


def activations(model: onnx.ModelProto, nodes: Collection[onnx.NodeProto]) -> list[str]:
    """The tensors that ``nodes`` read and that are no weights, in the order in which they are first read."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return list(dict.fromkeys(name for node in nodes for name in node.input[:2] if name not in weights))


def quantised(model: onnx.ModelProto, clips: Mapping[str, float], kept: Collection[str]) -> onnx.ModelProto:
    """The graph with a Q/DQ pair before every weighted node but those named in ``kept``.

    Args:
        model: a graph whose nodes are :func:`named`.
        clips: the largest magnitude that each activation keeps.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    ranges = {name: (np.float32(-clip), np.float32(clip)) for name, clip in clips.items()}
    quantiser = QDQQuantizer(
        copied,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=sorted(kept),
        op_types_to_quantize=QUANTISED,
        extra_options=_OPTIONS,
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    return _plain(quantiser.model.model, model)


def rescaled(graph: onnx.ModelProto, clips: Mapping[str, float]) -> onnx.ModelProto:
    """A Q/DQ graph with other clips; the weights, by far the most work, stay as they are."""
    scales = {
        node.input[1]: clips[node.input[0]] for node in graph.graph.node if node.input[0] in clips and _opens(node)
    }
    copied = onnx.ModelProto()
    copied.CopyFrom(graph)
    for tensor in copied.graph.initializer:
        if scales.get(tensor.name):
            scale = float(np.float32(scales[tensor.name])) / LEVELS
            tensor.CopyFrom(onnx.helper.make_tensor(tensor.name, onnx.TensorProto.FLOAT, [], [scale]))
    return copied


def relieved(graph: onnx.ModelProto, left: Collection[str]) -> onnx.ModelProto:
    """A Q/DQ graph whose nodes named in ``left`` compute in float32 from exact values.

    A pair that no quantised node reads any more goes, for its other readers too.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(graph)
    exact = {
        closing.output[0]: opening.input[0]
        for opening in graph.graph.node
        if _opens(opening)
        for closing in graph.graph.node
        if closing.op_type == "DequantizeLinear" and closing.input[0] == opening.output[0]
    }
    needed = {name for node in quantised_nodes(graph) if node.name not in left for name in node.input}
    for node in copied.graph.node:
        for slot, name in enumerate(node.input):
            if name in exact and (node.name in left or name not in needed):
                node.input[slot] = exact[name]
    return _swept(copied)


def _opens(node: onnx.NodeProto) -> bool:
    return bool(node.op_type == "QuantizeLinear")


def _swept(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the pairs that nobody reads, and their constants."""
    for op in ("DequantizeLinear", "QuantizeLinear"):
        read = {name for node in model.graph.node for name in node.input}
        idle = [node for node in model.graph.node if node.op_type == op and node.output[0] not in read]
        for node in idle:
            model.graph.node.remove(node)
    read = {name for node in model.graph.node for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)
    return model


def _plain(quantised: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the quantiser adds: operator sets that no node uses, inferred shapes, its own name and remarks."""
    standard = [entry for entry in quantised.opset_import if entry.domain in ("", "ai.onnx")]
    del quantised.opset_import[:], quantised.graph.value_info[:], quantised.metadata_props[:]
    quantised.opset_import.extend(standard)
    quantised.metadata_props.extend(model.metadata_props)
    quantised.ir_version = model.ir_version
    quantised.producer_name, quantised.producer_version = model.producer_name, model.producer_version
    return quantised
