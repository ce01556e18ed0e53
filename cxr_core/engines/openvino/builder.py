"""ONNX to a compiled OpenVINO blob.

The batch stays dynamic: measured on EfficientNet-B0 at 96 pixels, engines with a fixed batch were not
reliably faster at batch 1 nor at batch 32, and one engine then serves latency, throughput and scoring.
"""

from pathlib import Path

from pydantic import JsonValue

from cxr_core.config import EngineConfig
from cxr_core.engines.openvino.library import library
from cxr_core.engines.openvino.runner import properties
from cxr_core.errors import ModelError
from cxr_core.progress import Progress
from cxr_core.refs import Precision


def engine_from_onnx(
    *, graph: Path, precision: Precision, engine: Path, config: EngineConfig, progress: Progress
) -> dict[str, JsonValue]:
    """Writes the blob; no facts of its own.

    Raises:
        ModelError: OpenVINO cannot read or compile the graph.
    """
    openvino = library()

    core = openvino.Core()
    try:
        progress(0, 3, "reading the graph")
        model = core.read_model(graph)
        progress(1, 3, "compiling")
        compiled = core.compile_model(model, "CPU", properties(precision, config))
        engine.write_bytes(compiled.export_model().getvalue())
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelError(
            f"OpenVINO {openvino.__version__} cannot compile {graph.name} for {precision}: {reason}; "
            "leave this branch out (precisions, backends) or export the graph with another opset"
        ) from error
    return {}
