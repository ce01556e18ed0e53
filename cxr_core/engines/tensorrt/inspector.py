"""Effective precision from TensorRT's engine inspector, weighted by its profiler's times.

The inspector's JSON differs by version. 10.x gives each tensor as ``"Format/Datatype": "Row major linear FP32"``; 11
splits it into a format and ``Datatype`` or ``DataType``, whose spelling is ``Float``, ``Half``, ``Int8``. A key or a
word that is neither gives ``unknown``.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Effective
from cxr_core.engines.effective import TimedLayer, effective_from_layers
from cxr_core.engines.tensorrt.runner import TensorRTRunner
from cxr_core.errors import MachineError
from cxr_core.refs import Precision

_CALLS = 3
REFORMAT, FUSED, UNKNOWN, _INDEX = "reformat", "myelin", "unknown", "index"
# Order matters: "BFloat16" and "Float8" contain the names of others.
_WORDS = (
    (re.compile(r"int8", re.IGNORECASE), "int8"),
    (re.compile(r"fp8|float8|e4m3", re.IGNORECASE), "fp8"),
    (re.compile(r"bf16|bfloat16", re.IGNORECASE), "bf16"),
    (re.compile(r"fp16|float16|\bhalf\b", re.IGNORECASE), "fp16"),
    (re.compile(r"fp32|float32|\bfloat\b", re.IGNORECASE), "fp32"),
    (re.compile(r"int32|int64|\bbool", re.IGNORECASE), _INDEX),
)
_TYPE = ("Format/Datatype", "Datatype", "DataType")
_FORMAT = ("Format", *_TYPE)
# Layers that move or round values and compute nothing: their time is a class of its own, neither hidden nor counted
# for a precision.
_MOVING = frozenset({"Reformat", "Shuffle", "Quantize", "Dequantize", "Scale", "Cast", "NoOp"})
_DATA = frozenset({"Constant", "Shape"})


def effective_from_engine(engine: Path, *, precision: Precision, config: EngineConfig) -> Effective:
    """See ``Backend.inspect``. Runs the tuned batch; the first call is not counted.

    Raises:
        MachineError: the plan cannot be opened here, or the inspector's answer is no JSON object.
    """
    with TensorRTRunner(engine, precision=precision, config=config, profiling=True) as runner:
        shape = (runner.tuned_batch, *runner.input_shape[1:])
        images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
        runner(images)
        runner.times.clear()
        for _ in range(_CALLS):
            runner(images)
        layers = _layers(runner.layer_information())
        effective = effective_from_layers(timed_layers(layers, runner.times))
    return effective.model_copy(update={"weights": weight_shares(layers)})


def timed_layers(layers: Sequence[Any], times: Mapping[str, float]) -> list[TimedLayer]:
    """One entry a layer of the inspector that can run, then one for each name that only the profiler knows."""
    known = [_layer(layer, times) for layer in layers]
    named = {layer.name for layer in known} | {_name(layer) for layer in layers}
    others = [TimedLayer(name, UNKNOWN, UNKNOWN, time) for name, time in times.items() if name not in named]
    skipped = {_name(layer) for layer in layers if _kind(layer) in _DATA}
    return [layer for layer in known if layer.precision != _INDEX and layer.name not in skipped] + others


def weight_shares(layers: Sequence[Any]) -> dict[str, float]:
    """Precision to its share of all weights, as they are stored; empty where no layer tells."""
    counts: Counter[str] = Counter()
    for layer in layers:
        weights = layer.get("Weights") if isinstance(layer, Mapping) else None
        if isinstance(weights, Mapping) and isinstance(weights.get("Count"), int):
            counts[_word(weights.get("Type"))] += weights["Count"]
    total = counts.total()
    return {name: round(count / total, 6) for name, count in counts.most_common() if count} if total else {}


def _layers(text: str) -> Sequence[Any]:
    try:
        layers = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise MachineError(f"TensorRT's engine inspector gave no layers in JSON ({error!r}): {text[:80]!r}") from error
    return layers if isinstance(layers, list) else []


def _layer(layer: Any, times: Mapping[str, float]) -> TimedLayer:
    name, kind = _name(layer), _kind(layer)
    told = layer if isinstance(layer, Mapping) else {}
    return TimedLayer(
        name,
        kind,
        _precision(layer, name, kind),
        times.get(name, 0.0),
        inputs=_formats(told.get("Inputs")),
        outputs=_formats(told.get("Outputs")),
        tactic=str(told.get("TacticName", "")),
    )


def _formats(tensors: Any) -> tuple[str, ...]:
    """Of each tensor, what is told of its format and type, as it is told."""
    known = [one for one in tensors if isinstance(one, Mapping)] if isinstance(tensors, list) else []
    return tuple(" ".join(str(one[key]) for key in _FORMAT if key in one) or UNKNOWN for one in known)


def _name(layer: Any) -> str:
    """Built without detail a layer is only its name."""
    return str(layer.get("Name", UNKNOWN)) if isinstance(layer, Mapping) else str(layer)


def _kind(layer: Any) -> str:
    return str(layer.get("LayerType", UNKNOWN)) if isinstance(layer, Mapping) else UNKNOWN


def _precision(layer: Any, name: str, kind: str) -> str:
    """By the first input, the data in every layer that computes: what an int8 convolution puts out may be wider.

    What Myelin fused tells its operations only in ``Metadata``, so it is a class of its own. TF32 is not among the
    formats, which say FP32: only a tactic's name tells.
    """
    if not isinstance(layer, Mapping):
        return UNKNOWN
    if name.startswith(("__myl", "{ForeignNode")) or kind == "Myelin":
        return FUSED
    if kind in _MOVING:
        return REFORMAT
    inputs = layer.get("Inputs")
    first = inputs[0] if isinstance(inputs, list) and inputs else None
    found = _datatype(first) if isinstance(first, Mapping) else UNKNOWN
    return "tf32" if found == "fp32" and "tf32" in str(layer.get("TacticName", "")).lower() else found


def _datatype(tensor: Mapping[str, Any]) -> str:
    for key in _TYPE:
        if key in tensor:
            return _word(tensor[key])
    return UNKNOWN


def _word(text: Any) -> str:
    return next((name for pattern, name in _WORDS if isinstance(text, str) and pattern.search(text)), UNKNOWN)
