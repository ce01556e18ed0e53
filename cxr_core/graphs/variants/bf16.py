"""bf16: bfloat16 has the range of float32, so only its short fraction can hurt."""

from pathlib import Path

import onnx
from onnx import TensorProto
from pydantic import JsonValue

from cxr_core.config import VariantConfig
from cxr_core.errors import ModelError
from cxr_core.graphs.files import opset_of
from cxr_core.graphs.lowering import lowerable
from cxr_core.graphs.metadata import write_metadata
from cxr_core.graphs.variants.sixteen import write_sixteen
from cxr_core.graphs.variants.source import Source
from cxr_core.progress import Progress

OPSET = 22  # the first in which convolutions and pools take bfloat16


def lowered(source: Source, written: Path, config: VariantConfig, progress: Progress) -> dict[str, JsonValue]:
    """Write the bfloat16 graph.

    Raises:
        ModelError: the graph cannot be converted to the operator set that bfloat16 needs.
    """
    progress(0, 3, f"converting to opset {OPSET}")
    model = raised_to(source.model, OPSET)
    write_metadata(model, source.metadata)
    return write_sixteen(source, model, lowerable(model, TensorProto.BFLOAT16), TensorProto.BFLOAT16, written, progress)


def raised_to(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same graph in a newer operator set; one that is as new already is copied."""
    raised = onnx.ModelProto()
    try:
        raised.CopyFrom(model if opset_of(model) >= opset else onnx.version_converter.convert_version(model, opset))
    except RuntimeError as error:
        raise ModelError(
            f"the graph cannot go from opset {opset_of(model)} to {opset}, which bfloat16 needs ({error}); "
            "leave bf16 out, or export with a newer opset"
        ) from error
    raised.ir_version = model.ir_version
    return raised
