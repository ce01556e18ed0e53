"""A graph lowered to float16 or bfloat16: which nodes, where the casts go, and what became of the weights.

Input and output stay float32, and so do the first nodes up to the network's first convolution, what
is done with the logits at the end, and operators whose sums or exponentials need the range.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cxr_core.errors import ModelError
from cxr_core.graphs.files import OUTPUT, opset_of
from cxr_core.graphs.structure import Structure

SENSITIVE = frozenset(
    {
        "CumSum",
        "Exp",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "Log",
        "LogSoftmax",
        "LpNormalization",
        "Pow",
        "Range",
        "ReduceL2",
        "ReduceLogSumExp",
        "ReduceSum",
        "ReduceSumSquare",
        "Softmax",
        "Softplus",
    }
)
_NEVER = frozenset({"Cast", "Constant"})  # a cast in the source was put there on purpose
_SUFFIX = {TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}


@dataclass(frozen=True)
class WeightLosses:
    """Values that became infinite and values that became zero when the weights were lowered."""

    overflow: int
    underflow: int


def lowerable(model: onnx.ModelProto, kind: int) -> frozenset[int]:
    """Places in ``graph.node`` of the nodes that may compute in ``kind`` (a ``TensorProto`` data type).

    Raises:
        ModelError: the graph holds control flow, whose inner graphs are not lowered.
    """
    structure = Structure(model.graph)
    branching = [n.op_type for n in structure.nodes for a in n.attribute if a.type in (a.GRAPH, a.GRAPHS)]
    if branching:
        raise ModelError(
            f"the graph holds control flow ({branching[0]}), which cannot be lowered; "
            "export the network traced, for one fixed image size"
        )
    types = tensor_types(model)
    fixed = structure.preprocessing | structure.closing
    return frozenset(
        i
        for i, node in enumerate(structure.nodes)
        if i not in fixed
        and node.op_type not in SENSITIVE | _NEVER
        and TensorProto.FLOAT in [types.get(name) for name in node.output]
        and all(_takes(node, slot, kind, model) for slot in (0, -1))
    )


def lower(model: onnx.ModelProto, low: frozenset[int], kind: int) -> tuple[onnx.ModelProto, WeightLosses]:
    """The graph with the nodes ``low`` computing in ``kind``; one cast for each tensor that crosses over."""
    rewriting = _Rewriting(model, low, kind)
    for index in range(len(model.graph.node)):
        rewriting.add(index)
    return rewriting.finished()


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """Data type of every tensor in the graph, by name."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def lowered_weights(tensor: onnx.TensorProto, kind: int) -> tuple[onnx.TensorProto, WeightLosses]:
    """A float32 weight in ``kind``, rounded to nearest even."""
    exact = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        low = exact.astype(helper.tensor_dtype_to_np_dtype(kind))
    back = low.astype(np.float32)
    losses = WeightLosses(int((np.isinf(back) & np.isfinite(exact)).sum()), int(((back == 0) & (exact != 0)).sum()))
    return numpy_helper.from_array(low, f"{tensor.name}.{_SUFFIX[kind]}"), losses


def _takes(node: onnx.NodeProto, slot: int, kind: int, model: onnx.ModelProto) -> bool:
    """Whether the operator accepts ``kind`` at that input; -1 stands for its first output."""
    schema = onnx.defs.get_schema(node.op_type, opset_of(model), node.domain)
    ports = schema.outputs if slot < 0 else schema.inputs
    if not ports:
        return False
    port = ports[max(0, min(slot, len(ports) - 1))]
    return f"tensor({helper.tensor_dtype_to_np_dtype(kind).name})" in port.types


class _Rewriting:
    """The new graph as far as it is written. ``names`` says under which name a tensor exists in which type."""

    def __init__(self, model: onnx.ModelProto, low: frozenset[int], kind: int) -> None:
        self.model, self.low, self.kind = model, low, kind
        self.types: Mapping[str, int] = tensor_types(model)
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.names: dict[tuple[str, int], str] = {}
        self.nodes: list[onnx.NodeProto] = []

    def add(self, index: int) -> None:
        node = onnx.NodeProto()
        node.CopyFrom(self.model.graph.node[index])
        is_low = index in self.low
        for slot, name in enumerate(node.input):
            if name and self.types.get(name) == TensorProto.FLOAT:
                wanted = self.kind if is_low and _takes(node, slot, self.kind, self.model) else TensorProto.FLOAT
                node.input[slot] = self._as(name, wanted)
        self.nodes.append(node)
        for slot, name in enumerate(node.output):
            if is_low and self.types.get(name) == TensorProto.FLOAT:
                node.output[slot] = self.names[name, self.kind] = f"{name}.{_SUFFIX[self.kind]}"
                if name == OUTPUT:
                    self._as(name, TensorProto.FLOAT)

    def _as(self, name: str, kind: int) -> str:
        """The name of that tensor in ``kind``; where there is none yet, a cast is written."""
        made_low = (name, self.kind) in self.names
        if (name, kind) not in self.names:
            if kind == TensorProto.FLOAT and not made_low:
                self.names[name, kind] = name
            elif name in self.weights:
                self.names[name, kind] = f"{name}.{_SUFFIX[kind]}"
            else:
                source, target = (self.names[name, self.kind], name) if made_low else (name, f"{name}.{_SUFFIX[kind]}")
                self.nodes.append(helper.make_node("Cast", [source], [target], name=f"{target}/cast", to=kind))
                self.names[name, kind] = target
        return self.names[name, kind]

    def finished(self) -> tuple[onnx.ModelProto, WeightLosses]:
        lowered = onnx.ModelProto()
        lowered.CopyFrom(self.model)
        del lowered.graph.node[:], lowered.graph.initializer[:], lowered.graph.value_info[:]
        lowered.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        overflow = underflow = 0
        for name, tensor in self.weights.items():
            if name in used:
                lowered.graph.initializer.append(tensor)
            if (name, self.kind) in self.names:
                low, losses = lowered_weights(tensor, self.kind)
                overflow, underflow = overflow + losses.overflow, underflow + losses.underflow
                lowered.graph.initializer.append(low)
        return lowered, WeightLosses(overflow, underflow)
