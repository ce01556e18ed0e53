"""export: the checkpoint as an ONNX graph that alone suffices to predict, or a graph that the user brings."""

from cxr_core.config import ExportConfig, TensorsConfig
from cxr_core.refs import Record, Ref
from tasks.stage import Arguments, stage

_PACKAGES = ("torch", "timm", "onnx", "onnxscript", "safetensors", "numpy")


@stage("export", core="cxr_core.graphs.export:export", packages=_PACKAGES)
def export(trained: Record, config: ExportConfig) -> Arguments:
    return {"checkpoint": trained.output("checkpoint"), "config": config}


@stage("export", core="cxr_core.graphs.export:adopt", packages=("onnx",))
def adopt_graph(graph: Ref, tensors: TensorsConfig) -> Arguments:
    return {"graph": graph, "tensors": tensors}
