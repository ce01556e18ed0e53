"""Effective precision from OpenVINO's runtime model: each layer's own type and its measured time."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Effective
from cxr_core.engines.effective import TimedLayer, effective_from_layers
from cxr_core.engines.openvino.runner import OpenVINORunner
from cxr_core.refs import Precision

_IMAGES, _CALLS = 8, 3
_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
_DATA = {"Const", "Input", "Output"}
# Shapes and indices are whole numbers in every engine and say nothing about its arithmetic.
_INDICES = {"i32", "i64", "u32", "u64", "boolean"}


def effective_from_engine(engine: Path, *, precision: Precision, config: EngineConfig) -> Effective:
    """See ``Backend.inspect``."""
    with OpenVINORunner(engine, precision=precision, config=config, profiling=True) as runner:
        images = np.random.default_rng(0).integers(0, 256, (_IMAGES, *runner.input_shape[1:])).astype(np.float32)
        for _ in range(_CALLS):
            runner(images)
        return effective_from_layers(timed_layers(runner.runtime_layers()))


def timed_layers(layers: Iterable[Mapping[str, str]]) -> list[TimedLayer]:
    """Layers that can run, from runtime attributes; times in whole microseconds. An unnamed type is ``unknown``.

    OpenVINO calls a layer that took less than one microsecond, or only changed a view, not executed.
    """
    return [
        TimedLayer(
            name=layer["name"],
            kind=layer.get("layerType", "unknown"),
            precision=_NAMES.get(layer.get("runtimePrecision", ""), "unknown"),
            time=float(layer["execTimeMcs"]) if layer.get("execTimeMcs", "").isdigit() else 0.0,
        )
        for layer in layers
        if layer.get("layerType") not in _DATA and layer.get("runtimePrecision") not in _INDICES
    ]
