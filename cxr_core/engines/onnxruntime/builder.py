"""ONNX to the graph that ONNX Runtime's optimiser makes of it for this CPU.

Two builds differ in the names and the order of some nodes that its layout pass adds, not in their answers.
"""

from pathlib import Path

from pydantic import JsonValue

from cxr_core.config import EngineConfig
from cxr_core.engines.onnxruntime.runner import session_options, silenced
from cxr_core.errors import ModelError
from cxr_core.progress import Progress
from cxr_core.refs import Precision

_INT8_KERNELS = ("QLinear", "QGemm", "QAttention", "ConvInteger", "MatMulInteger", "DynamicQuantize")


def engine_from_onnx(
    *, graph: Path, precision: Precision, engine: Path, config: EngineConfig, progress: Progress
) -> dict[str, JsonValue]:
    """Writes the optimised graph; for int8 ``note`` says how many int8 kernels the optimiser made.

    Raises:
        ModelError: ONNX Runtime cannot load the graph.
    """
    runtime = silenced()
    options = session_options(config)
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(engine)
    progress(0, 3, "optimising the graph")
    try:
        runtime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelError(
            f"ONNX Runtime {runtime.__version__} cannot load {graph.name} for {precision}: {reason}; "
            "leave this branch out (precisions, backends) or export the graph with another opset"
        ) from error
    return {"note": _fusion(engine)} if precision is Precision.INT8 else {}


def _fusion(engine: Path) -> str:
    """Read from the optimised graph: pairs around an operator are fused only if its output has one too."""
    import onnx

    nodes = onnx.load(engine, load_external_data=False).graph.node
    fused = sum(node.op_type.startswith(_INT8_KERNELS) for node in nodes)
    if fused:
        return f"{fused} operators were fused into int8 kernels, so answers may differ from the unfused Q/DQ graph's"
    return "no Q/DQ pair was fused here: int8 rounding of the values, fp32 arithmetic"
