"""What a lowered graph would answer, computed where no kernel for its precision exists.

ONNX Runtime has no bfloat16 kernels on a CPU and computes float16 in float32, leaving out casts that
cancel. Here every value that a lowered node reads or makes is rounded to the precision and back,
which is how a matrix unit works that multiplies in 16 bits, sums in 32 and stores 16.
"""

import onnx
from onnx import TensorProto, helper, numpy_helper

from cxr_core.graphs.lowering import lowered_weights, tensor_types


def emulated(model: onnx.ModelProto, low: frozenset[int], kind: int) -> onnx.ModelProto:
    """The float32 graph with weights and values of the nodes ``low`` rounded to ``kind``.

    Must be run without any optimisation, or the pairs of casts are taken out again.
    """
    rounding = _Rounding(model, kind)
    for index, node in enumerate(model.graph.node):
        rounding.add(node, index in low)
    return rounding.result


class _Rounding:
    """The emulating graph as far as it is written."""

    def __init__(self, model: onnx.ModelProto, kind: int) -> None:
        self.kind = kind
        self.types = tensor_types(model)
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.done: set[str] = set()
        self.result = onnx.ModelProto()
        self.result.CopyFrom(model)
        del self.result.graph.node[:], self.result.graph.value_info[:]

    def add(self, source: onnx.NodeProto, is_low: bool) -> None:
        node = onnx.NodeProto()
        node.CopyFrom(source)
        made = []
        if is_low:
            node.input[:] = [self._rounded(name) for name in node.input]
            made = [name for name in node.output if self._is_float(name)]
            node.output[:] = [f"{name}.exact" if name in made else name for name in node.output]
        self.result.graph.node.append(node)
        for name in made:
            self._casts(f"{name}.exact", name)

    def _rounded(self, name: str) -> str:
        if not self._is_float(name):
            return name
        target = f"{name}.rounded"
        if name not in self.done:
            self.done.add(name)
            if name in self.weights:
                low, _ = lowered_weights(self.weights[name], self.kind)
                self.result.graph.initializer.append(
                    numpy_helper.from_array(numpy_helper.to_array(low).astype("float32"), target)
                )
            else:
                self._casts(name, target)
        return target

    def _casts(self, source: str, target: str) -> None:
        self.result.graph.node.append(helper.make_node("Cast", [source], [f"{target}.low"], to=self.kind))
        self.result.graph.node.append(helper.make_node("Cast", [f"{target}.low"], [target], to=TensorProto.FLOAT))

    def _is_float(self, name: str) -> bool:
        return bool(self.types.get(name) == TensorProto.FLOAT)
