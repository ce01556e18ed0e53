"""int8: explicit Q/DQ pairs, as a strongly typed TensorRT network wants them.

Symmetric with zero points 0, one scale a channel for weights and one a tensor for activations, float
biases, and of a residual sum only the skip branch quantised, so that convolution and sum can still be
fused. Only convolutions and the classifier are quantised; preprocessing has neither.
"""

from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from pydantic import JsonValue

from cxr_core.config import VariantConfig
from cxr_core.graphs.answers import Answering, Images, shift
from cxr_core.graphs.files import INPUT, save_graph
from cxr_core.graphs.metadata import write_metadata
from cxr_core.graphs.structure import Structure
from cxr_core.graphs.variants.rules import QUANTISED, check_rules, quantised_nodes
from cxr_core.graphs.variants.source import BATCH, Source
from cxr_core.progress import Progress

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


def lowered(source: Source, written: Path, config: VariantConfig, progress: Progress) -> dict[str, JsonValue]:
    """Calibrate on all images and write the Q/DQ graph.

    Raises:
        ModelError: nothing in the graph can be quantised, or the result breaks the rules above.
    """
    model = named(source.model)
    kept = kept_nodes(model, config)
    quantised = _quantised(model, kept, source.images, config, written, progress)
    write_metadata(quantised, source.metadata)
    check_rules(quantised)
    save_graph(quantised, written)
    progress(1, 1, "checking the answers")
    return _facts(source, quantised, kept, written)


def kept_nodes(model: onnx.ModelProto, config: VariantConfig) -> dict[str, list[str]]:
    """Names of the weighted nodes that stay in float32, by the reason why.

    The stem costs little and hurts much: its input spans the widest range, it moved the answers more
    than any other convolution, and OpenVINO 2026.4 answers otherwise than written where it is quantised.
    """
    structure = Structure(model.graph)
    reasons = {
        "squeeze_excite": structure.squeeze_excite if config.keep_squeeze_excite else (),
        "stem": structure.stem if config.keep_stem else (),
    }
    return {
        reason: [structure.nodes[i].name for i in sorted(places) if structure.nodes[i].op_type in QUANTISED]
        for reason, places in reasons.items()
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


def _quantised(
    model: onnx.ModelProto,
    kept: dict[str, list[str]],
    images: Images,
    config: VariantConfig,
    scratch: Path,
    progress: Progress,
) -> onnx.ModelProto:
    quantize_static(
        model,
        scratch,
        _Reader(images, progress),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=QUANTISED,
        nodes_to_exclude=[name for names in kept.values() for name in names],
        per_channel=True,
        reduce_range=False,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=_METHODS[config.int8_method],
        calibration_providers=["CPUExecutionProvider"],
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,
            "OpTypesToExcludeOutputQuantization": QUANTISED,
            "CalibStridedMinMax": 1,  # ranges batch by batch: the histogram methods would keep every activation
        },
    )
    return _plain(onnx.load(scratch), model)


def _plain(quantised: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the quantiser adds: operator sets that no node uses, inferred shapes, its own name."""
    standard = [entry for entry in quantised.opset_import if entry.domain in ("", "ai.onnx")]
    del quantised.opset_import[:], quantised.graph.value_info[:]
    quantised.opset_import.extend(standard)
    quantised.ir_version = model.ir_version
    quantised.producer_name, quantised.producer_version = model.producer_name, model.producer_version
    return quantised


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration images as the float32 graph takes them, in batches."""

    def __init__(self, images: Images, progress: Progress) -> None:
        self.images, self.progress = images, progress
        self.set_range(0, len(self))

    def __len__(self) -> int:
        return -(-len(self.images) // BATCH)

    def set_range(self, start_index: int, end_index: int) -> None:
        self.waiting = iter(range(start_index, end_index))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.waiting, None)
        if batch is None:
            return None
        self.progress(batch, len(self), "calibrating")
        return {INPUT: self.images[batch * BATCH : (batch + 1) * BATCH].astype("float32")}


def _facts(
    source: Source, quantised: onnx.ModelProto, kept: dict[str, list[str]], written: Path
) -> dict[str, JsonValue]:
    ops = [node.op_type for node in quantised.graph.node]
    total, lowered_count = len(source.model.graph.node), len(quantised_nodes(quantised))
    answers = Answering(written, "basic")(source.sample, BATCH)
    return {
        "nodes": {"total": total, "lowered": lowered_count, "kept": total - lowered_count},
        "kept_weighted": {reason: len(names) for reason, names in kept.items()},
        "quantise": ops.count("QuantizeLinear"),
        "dequantise": ops.count("DequantizeLinear"),
        "calibration_images": len(source.images),
        "check": {
            "how": "unfused: onnxruntime computes the Q/DQ graph as written",
            **shift(answers, source.answers(), source.metadata),
        },
    }
