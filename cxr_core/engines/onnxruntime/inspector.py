"""Effective precision from ONNX Runtime's own trace: the types that each kernel was fed, and its time."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Effective
from cxr_core.engines.effective import TimedLayer, effective_from_layers
from cxr_core.engines.onnxruntime.runner import OnnxRuntimeRunner

_IMAGES, _CALLS = 8, 3
_NAMES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}
# Changing a value's type is float arithmetic around the kernels proper, whichever side the narrow type is on.
_CONVERSIONS = {"QuantizeLinear", "DequantizeLinear", "Cast"}
# Shapes and indices are whole numbers in every engine and say nothing about its arithmetic.
_INDICES = {"int32", "int64", "bool"}
_SUFFIX = "_kernel_time"


def effective_from_engine(engine: Path, *, config: EngineConfig) -> Effective:
    """See ``Backend.inspect``."""
    with (
        TemporaryDirectory() as folder,
        OnnxRuntimeRunner(engine, config=config, profiling=True, profile=Path(folder) / "trace") as runner,
    ):
        images = np.random.default_rng(0).integers(0, 256, (_IMAGES, *runner.input_shape[1:])).astype(np.float32)
        for _ in range(_CALLS):
            runner(images)
        events = json.loads(runner.end_profiling().read_text(encoding="utf-8"))
    return effective_from_layers(timed_layers(events))


def timed_layers(events: Iterable[Mapping[str, Any]]) -> list[TimedLayer]:
    """One entry per kernel, times in microseconds summed over the calls."""
    layers: dict[str, TimedLayer] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(_SUFFIX):
            continue
        name, kind, precision = event["name"].removesuffix(_SUFFIX), event["args"]["op_name"], _precision(event["args"])
        if precision not in _INDICES:
            before = layers[name].time if name in layers else 0.0
            layers[name] = TimedLayer(name, kind, precision, before + float(event["dur"]))
    return list(layers.values())


def _precision(arguments: Mapping[str, Any]) -> str:
    """By the first input, which is the data in every kernel that computes; ``unknown`` where none is told."""
    if arguments["op_name"] in _CONVERSIONS:
        return "fp32"
    inputs = arguments.get("input_type_shape") or [{}]
    kind = next(iter(inputs[0]), "")
    return kind if kind in _INDICES else _NAMES.get(kind, "unknown")
