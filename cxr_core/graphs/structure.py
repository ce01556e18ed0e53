"""What the nodes of a graph are for, found by how they hang together and never by their names."""

from collections.abc import Iterator
from functools import cached_property

import onnx

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_POOLS = frozenset({"GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"})
_LONGEST_GATE = 16  # nodes; a squeeze-excite gate has about six


class Structure:
    """Nodes are named by their place in ``graph.node``, which ONNX keeps in topological order."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes: list[onnx.NodeProto] = list(graph.node)
        self._given = frozenset(port.name for port in graph.input) - {tensor.name for tensor in graph.initializer}
        self.producer = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}

    def feeding(self, index: int) -> Iterator[int]:
        """The nodes whose outputs node ``index`` reads."""
        return (self.producer[name] for name in self.nodes[index].input if name in self.producer)

    @cached_property
    def preprocessing(self) -> frozenset[int]:
        """Nodes before which no weighted operator comes: from the input up to the network's first convolution."""
        network: set[int] = set()
        for i, node in enumerate(self.nodes):
            if node.op_type in WEIGHTED or any(before in network for before in self.feeding(i)):
                network.add(i)
        return frozenset(range(len(self.nodes))) - network

    @cached_property
    def closing(self) -> frozenset[int]:
        """Nodes after which no weighted operator comes: what is done with the logits."""
        before: set[int] = set()
        for i in reversed(range(len(self.nodes))):
            if self.nodes[i].op_type in WEIGHTED or i in before:
                before.add(i)
                before.update(self.feeding(i))
        return frozenset(range(len(self.nodes))) - before

    @cached_property
    def stem(self) -> frozenset[int]:
        """The weighted nodes that read preprocessing alone: the network's first convolution."""
        return frozenset(
            i
            for i, node in enumerate(self.nodes)
            if node.op_type in WEIGHTED and all(before in self.preprocessing for before in self.feeding(i))
        )

    @cached_property
    def squeeze_excite(self) -> frozenset[int]:
        """Nodes of every squeeze-excite block: the pool, all up to the gate, and the gating Mul."""
        found: set[int] = set()
        for i, node in enumerate(self.nodes):
            if node.op_type == "Mul":
                for gated, gate in (node.input, reversed(node.input)):
                    if block := self._gate(gated, gate):
                        found |= block | {i}
        return frozenset(found)

    def _gate(self, gated: str, gate: str) -> set[int]:
        """The nodes that make ``gate`` out of a pool over ``gated``; empty where it is made any other way."""
        waiting, seen, pools = [gate], set[int](), 0
        while waiting:
            name = waiting.pop()
            index = self.producer.get(name)
            if name == gated or name in self._given or len(seen) > _LONGEST_GATE:
                return set()
            if index is None or index in seen:
                continue
            seen.add(index)
            node = self.nodes[index]
            if node.op_type in _POOLS and node.input[0] == gated:
                pools += 1
            else:
                waiting.extend(filter(None, node.input))
        weighted = any(self.nodes[i].op_type in WEIGHTED for i in seen)
        return seen if pools and weighted else set()
