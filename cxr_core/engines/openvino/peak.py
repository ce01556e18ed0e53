"""The most that this CPU computes, measured: a short chain of matrix products in one arithmetic."""

from time import perf_counter_ns, process_time_ns
from typing import Any

import numpy as np

from cxr_core.engines.openvino.inspector import timed_layers
from cxr_core.engines.openvino.library import library
from cxr_core.engines.processor import processors
from cxr_core.refs import Precision

# Operands of a product fit a core's second-level cache; the chain makes the first conversion of the input small.
_SIDE, _CHAIN = 768, 6
_HINT = {Precision.FP32: "f32", Precision.BF16: "bf16", Precision.FP16: "f16", Precision.INT8: "f32"}
_PRODUCTS = {"FullyConnected", "MatMul"}


def peak_tera(precision: Precision, threads: int, seconds: float) -> float | None:
    """Tera operations a second of the quickest call in ``seconds``, a multiply-add counted as two.

    A call's time is what this process computed in it, shared by those of the ``threads`` that have a processor:
    beside other load the wall clock showed a seventh of the peak, and what a device can do is not what is left of it.

    None where the products did not really run in that arithmetic: the CPU has none of it, or OpenVINO chose another.
    """
    openvino = library()
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": _HINT[precision],
    }
    compiled = openvino.Core().compile_model(_chain(precision), "CPU", properties)
    request, images = compiled.create_infer_request(), np.random.default_rng(0).normal(0, 1, (_SIDE, _SIDE))
    request.infer({0: images.astype(np.float32)})
    if _arithmetic(compiled) != {precision.value}:
        return None
    best, end = None, perf_counter_ns() + int(seconds * 1e9)
    while best is None or perf_counter_ns() < end:
        start = process_time_ns()
        request.infer()
        taken = (process_time_ns() - start) / min(threads, processors())
        best = taken if best is None else min(best, taken)
    return 2 * _CHAIN * _SIDE**3 / best / 1000


def _chain(precision: Precision) -> Any:
    """Each product keeps the spread of its input, so that nothing overflows."""
    openvino = library()
    from openvino import opset13 as ops

    random, port = np.random.default_rng(0), ops.parameter([_SIDE, _SIDE], np.float32)
    values = port
    for _ in range(_CHAIN):
        weights = ops.constant(random.normal(0, _SIDE**-0.5, (_SIDE, _SIDE)).astype(np.float32))
        if precision is Precision.INT8:
            values, weights = _quantised(ops, values, 4.0, 256), _quantised(ops, weights, 4 * _SIDE**-0.5, 255)
        values = ops.matmul(values, weights, False, True)
    return openvino.Model([values], [port], "peak")


def _quantised(ops: Any, values: Any, bound: float, levels: int) -> Any:
    low, high = (ops.constant(np.float32(edge)) for edge in (-bound, bound))
    return ops.fake_quantize(values, low, high, low, high, levels)


def _arithmetic(compiled: Any) -> set[str]:
    operations = compiled.get_runtime_model().get_ordered_ops()
    layers = [{key: v.astype(str) for key, v in op.get_rt_info().items()} | {"name": "product"} for op in operations]
    return {layer.precision for layer in timed_layers(layers) if layer.kind in _PRODUCTS}
