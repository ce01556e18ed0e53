"""What fp16 and bf16 share: lower, write, and check by an emulation that rounds as the hardware would."""

from pathlib import Path

from onnx import ModelProto
from pydantic import JsonValue

from cxr_core.graphs.answers import Answering, shift
from cxr_core.graphs.files import save_graph
from cxr_core.graphs.lowering import lower
from cxr_core.graphs.rounding import emulated
from cxr_core.graphs.variants.source import BATCH, Source
from cxr_core.progress import Progress


def write_sixteen(
    source: Source, model: ModelProto, low: frozenset[int], kind: int, written: Path, progress: Progress
) -> dict[str, JsonValue]:
    """Write ``model`` with the nodes ``low`` in ``kind`` and return the facts."""
    progress(1, 3, "lowering")
    lowered, losses = lower(model, low, kind)
    save_graph(lowered, written)
    progress(2, 3, "checking the answers")
    rounded = Answering(emulated(model, low, kind).SerializeToString(), "none")(source.sample, BATCH)
    total = len(model.graph.node)
    return {
        "nodes": {
            "total": total,
            "lowered": len(low),
            "kept": total - len(low),
            "casts": len(lowered.graph.node) - total,
        },
        "weights": {"became_infinite": losses.overflow, "became_zero": losses.underflow},
        "check": {
            "how": "emulated: every value rounded, sums in float32",
            **shift(rounded, source.answers(), source.metadata),
        },
    }
