"""Small EfficientNet-like ONNX graphs, made with onnx alone: the first nodes standardise, then comes the network."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

SIZE = 32
METADATA: dict[str, Any] = {
    "cxr.labels": ["NORMAL", "PNEUMONIA"],
    "cxr.size": SIZE,
    "cxr.filter": "bilinear",
    "cxr.temperature": 1.5,
    "cxr.threshold": 0.5,
    "cxr.model": "small",
    "cxr.weights_digest": "sha256:" + "0" * 64,
    "cxr.version": 1,
}
_OPSET = {TensorProto.FLOAT: 18, TensorProto.FLOAT16: 18, TensorProto.BFLOAT16: 22}


class _Graph:
    """Nodes and weights so far. Weights are drawn once in float64, so every precision gets the same ones."""

    def __init__(self, kind: int, seed: int) -> None:
        self.kind, self.random = kind, np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, op: str, inputs: Iterable[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Any, kind: int = TensorProto.FLOAT) -> str:
        values = np.asarray(value)
        raw = values.astype(helper.tensor_dtype_to_np_dtype(kind)).tobytes()
        self.weights.append(helper.make_tensor(name, kind, values.shape, raw, raw=True))
        return name

    def conv(self, source: str, name: str, inputs: int, outputs: int, kernel: int = 1, **more: Any) -> str:
        groups = more.get("group", 1)
        fan_in = inputs // groups * kernel * kernel
        weight = self.random.normal(0, np.sqrt(2 / fan_in), (outputs, inputs // groups, kernel, kernel))
        self.constant(f"{name}.weight", weight, self.kind)
        self.constant(f"{name}.bias", self.random.normal(0, 0.2, outputs), self.kind)
        names = [source, f"{name}.weight", f"{name}.bias"]
        return self.node("Conv", names, name, pads=[kernel // 2] * 4, kernel_shape=[kernel] * 2, **more)

    def silu(self, source: str) -> str:
        return self.node("Mul", [source, self.node("Sigmoid", [source], f"{source}/sigmoid")], f"{source}/silu")


def _standardised(graph: _Graph, size: int) -> str:
    """By mean and spread of the central part, as the product's network does."""
    scaled = graph.node("Div", ["input", graph.constant("full", 255.0)], "scaled")
    bounds = [
        graph.constant(name, [edge] * 2, TensorProto.INT64) for name, edge in (("low", size // 8), ("high", -size // 8))
    ]
    centre = graph.node("Slice", [scaled, *bounds, graph.constant("sides", [2, 3], TensorProto.INT64)], "centre")
    axes = graph.constant("axes", [1, 2, 3], TensorProto.INT64)
    mean = graph.node("ReduceMean", [centre, axes], "mean")
    centred = graph.node("Sub", [centre, mean], "centred")
    square = graph.node("Mul", [centred, centred], "square")
    spread = graph.node("Sqrt", [graph.node("ReduceMean", [square, axes], "variance")], "spread")
    floored = graph.node("Add", [spread, graph.constant("floor", 0.02)], "floored")
    return graph.node("Div", [graph.node("Sub", [scaled, mean], "shifted"), floored], "standard")


def _block(graph: _Graph, source: str, name: str, width: int) -> str:
    wide = graph.silu(graph.conv(source, f"{name}.expand", width, width * 4))
    deep = graph.silu(graph.conv(wide, f"{name}.depth", width * 4, width * 4, 3, group=width * 4))
    pooled = graph.node("GlobalAveragePool", [deep], f"{name}.pool")
    narrow = graph.silu(graph.conv(pooled, f"{name}.reduce", width * 4, 8))
    gate = graph.node("Sigmoid", [graph.conv(narrow, f"{name}.gate", 8, width * 4)], f"{name}.gate/sigmoid")
    gated = graph.node("Mul", [deep, gate], f"{name}.gated")
    return graph.node("Add", [source, graph.conv(gated, f"{name}.project", width * 4, width)], f"{name}.sum")


def _network(graph: _Graph, source: str, width: int, blocks: int) -> str:
    value = graph.silu(graph.conv(source, "stem", 1, width, 3, strides=[2, 2]))
    for number in range(blocks):
        value = _block(graph, value, f"block{number}", width)
    flat = graph.node("Flatten", [graph.node("GlobalAveragePool", [value], "pooled")], "flat")
    graph.constant("head.weight", graph.random.normal(0, 1.5, (2, width)), graph.kind)
    graph.constant("head.bias", graph.random.normal(0, 0.3, 2), graph.kind)
    return graph.node("Gemm", [flat, "head.weight", "head.bias"], "head", transB=1)


def small_model(
    kind: int = TensorProto.FLOAT, *, size: int = SIZE, width: int = 16, blocks: int = 2, seed: int = 0
) -> onnx.ModelProto:
    """The network in ``kind`` arithmetic, float32 at input, output and in the standardisation."""
    graph = _Graph(kind, seed)
    value = _standardised(graph, size)
    if kind != TensorProto.FLOAT:
        value = graph.node("Cast", [value], "lowered", to=kind)
    value = _network(graph, value, width, blocks)
    graph.node(
        *(("Identity", [value], "output") if kind == TensorProto.FLOAT else ("Cast", [value], "output")),
        **({} if kind == TensorProto.FLOAT else {"to": TensorProto.FLOAT}),
    )
    body = helper.make_graph(
        graph.nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, size, size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])],
        graph.weights,
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET[kind])], ir_version=10)
    helper.set_model_props(model, {key: json.dumps(value) for key, value in (METADATA | {"cxr.size": size}).items()})
    onnx.checker.check_model(model, full_check=True)
    return model


def write_small(path: Path, precision: str, **shape: int) -> Path:
    """A graph lowered to that precision; tf32 is the fp32 graph, int8 explicit symmetric Q/DQ.

    ``int8-full`` has Q/DQ pairs on outputs too, which ONNX Runtime needs for its int8 kernels.
    """
    kinds = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
    onnx.save(small_model(kinds.get(precision, TensorProto.FLOAT), **shape), path)
    if precision.startswith("int8"):
        _quantise(path, shape.get("size", SIZE), outputs=precision == "int8-full")
    return path


def images(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Smooth random images, float32 with whole values 0..255, [count, 1, size, size]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8))
    return np.kron(coarse, np.ones((size // 8, size // 8))).astype(np.float32)


class _Reader:
    def __init__(self, size: int) -> None:
        self.batches: Iterator[Any] = iter([{"input": images(16, size, seed)} for seed in range(2)])

    def get_next(self) -> Any:
        return next(self.batches, None)


def _quantise(path: Path, size: int, *, outputs: bool) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(_Reader, CalibrationDataReader):  # type: ignore[misc]
        pass

    source = onnx.load(path)
    quantize_static(
        source,
        path,
        Reader(size),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm"],
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibration_providers=["CPUExecutionProvider"],
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,
            "OpTypesToExcludeOutputQuantization": [] if outputs else ["Conv", "Gemm"],
        },
    )
    model = onnx.load(path)
    helper.set_model_props(model, {p.key: p.value for p in source.metadata_props})
    onnx.save(model, path)
