"""int8: explicit Q/DQ pairs, as a strongly typed TensorRT network wants them.

Symmetric with zero points 0, one scale a channel for weights and one a tensor for activations, float
biases, and of a residual sum only the skip branch quantised, so that convolution and sum can still be
fused. Only convolutions and the classifier are quantised; preprocessing has neither.
"""

from collections.abc import Collection
from pathlib import Path

import onnx
from pydantic import JsonValue

from cxr_core.config import VariantConfig
from cxr_core.graphs.answers import Answering, shift
from cxr_core.graphs.calibration import FEWEST
from cxr_core.graphs.files import save_graph
from cxr_core.graphs.int8.calibrators import clips, histograms, thinned_histograms
from cxr_core.graphs.int8.found import Found
from cxr_core.graphs.int8.qdq import activations, named, quantisable, quantised
from cxr_core.graphs.int8.rules import QUANTISED, check_rules, nothing_quantised, quantised_nodes
from cxr_core.graphs.int8.search import Budget, search
from cxr_core.graphs.metadata import write_metadata
from cxr_core.graphs.ranges import largest_values
from cxr_core.graphs.structure import Structure
from cxr_core.graphs.variants.source import BATCH, Source
from cxr_core.progress import Progress

_FEW = "It was judged on {} held-back images only, which is too few to tell one graph from another with any certainty."


def lowered(source: Source, written: Path, config: VariantConfig, progress: Progress) -> dict[str, JsonValue]:
    """Calibrate on all images and write the Q/DQ graph; a search also judges on the held-back patients.

    Raises:
        ModelError: nothing in the graph can be quantised, or the result breaks the rules above.
        UsageError, DataError: a search without held-back images, or with too few or foreign ones.
    """
    model = named(source.model)
    kept = kept_nodes(model, config)
    by_rule = [name for names in kept.values() for name in names]
    if not quantisable(model, by_rule):
        raise nothing_quantised()
    told: dict[str, JsonValue] = {}
    if config.int8_method == "search":
        graph, found = _searched(source, model, by_rule, config, progress)
        kept["budget"] = [node.node for node in found.sensitivity if node.left]
        if found.images < FEWEST:
            found = found.model_copy(update={"note": _FEW.format(found.images)})
        told["search"] = found.model_dump(mode="json")
    else:
        graph = _plain(source, model, by_rule, config, progress)
    write_metadata(graph, source.metadata)
    check_rules(graph)
    save_graph(graph, written)
    progress(1, 1, "checking the answers")
    return {**_facts(source, graph, kept, written), **told}


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


def _plain(
    source: Source, model: onnx.ModelProto, kept: Collection[str], config: VariantConfig, progress: Progress
) -> onnx.ModelProto:
    """Everything quantised, by one calibrator."""
    tensors = activations(model, quantisable(model, kept))
    if config.int8_method == "minmax":  # needs no histogram
        progress(0, 1, "calibrating")
        return quantised(model, largest_values(model, tensors, source.images), kept)
    return quantised(model, clips(histograms(model, tensors, source.images, progress), config.int8_method), kept)


def _searched(
    source: Source, model: onnx.ModelProto, kept: Collection[str], config: VariantConfig, progress: Progress
) -> tuple[onnx.ModelProto, Found]:
    """As much quantised as the budget allows."""
    held_back = source.held_back()
    budget = Budget(
        images=held_back,
        expected=Answering(source.path)(held_back, BATCH),
        metadata=source.metadata,
        shift=config.int8_shift,
        flips=config.int8_flips,
    )
    tensors = activations(model, quantisable(model, kept))
    # Every second image, every fourth, ...: whatever order they are in, of each kind as large a share as in all; for as
    # long as FEWEST are left, that is ceil(images / 2**halvings) of them.
    halvings = ((len(source.images) - 1) // (FEWEST - 1)).bit_length() - 1
    seen = thinned_histograms(model, tensors, source.images, halvings, progress)
    return search(model, kept, seen, source.sample, budget, progress)


def _facts(source: Source, graph: onnx.ModelProto, kept: dict[str, list[str]], written: Path) -> dict[str, JsonValue]:
    ops = [node.op_type for node in graph.graph.node]
    total, lowered_count = len(source.model.graph.node), len(quantised_nodes(graph))
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
