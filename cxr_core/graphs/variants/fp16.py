"""fp16: float16 wherever the values fit, found by measuring them on the calibration images."""

from pathlib import Path

from onnx import ModelProto, TensorProto
from pydantic import JsonValue

from cxr_core.config import VariantConfig
from cxr_core.graphs.answers import Images
from cxr_core.graphs.lowering import lowerable, tensor_types
from cxr_core.graphs.ranges import largest_values
from cxr_core.graphs.variants.sixteen import write_sixteen
from cxr_core.graphs.variants.source import Source
from cxr_core.progress import Progress

_ROOM = 65504 / 4  # the largest float16, less room for images that calibration has not seen


def lowered(source: Source, written: Path, config: VariantConfig, progress: Progress) -> dict[str, JsonValue]:
    """Write the float16 graph; nodes with values too large for float16 stay in float32."""
    progress(0, 3, "measuring how large the values become")
    able = lowerable(source.model, TensorProto.FLOAT16)
    large = too_large(source.model, able, source.images)
    facts = write_sixteen(source, source.model, able - large, TensorProto.FLOAT16, written, progress)
    return {**facts, "kept_for_range": len(large)}


def too_large(model: ModelProto, able: frozenset[int], images: Images) -> frozenset[int]:
    """The nodes among ``able`` that read or make a value, or hold a weight, which float16 may not hold."""
    types = tensor_types(model)
    nodes = {i: model.graph.node[i] for i in able}
    touched = {name for node in nodes.values() for name in (*node.input, *node.output)}
    names = sorted(name for name in touched if types.get(name) == TensorProto.FLOAT)
    hot = {name for name, value in largest_values(model, names, images).items() if not value < _ROOM}
    return frozenset(i for i, node in nodes.items() if hot & {*node.input, *node.output})
