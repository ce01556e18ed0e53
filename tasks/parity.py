"""parity: the gate between PyTorch and ONNX."""

from cxr_core.config import ParityConfig
from cxr_core.refs import Record
from tasks.stage import Arguments, stage

_PACKAGES = ("onnx", "onnxruntime", "numpy", "scipy")


@stage(
    "parity", core="cxr_core.graphs.parity:parity", packages=("torch", "timm", "onnx", "onnxruntime", "numpy", "scipy")
)
def parity(trained: Record, exported: Record, frozen: Record, config: ParityConfig) -> Arguments:
    return {
        "checkpoint": trained.output("checkpoint"),
        "graph": exported.output("model.onnx"),
        "tensors": frozen.output("tensors"),
        "config": config,
    }


@stage("parity", core="cxr_core.graphs.parity:parity_of_adopted", packages=_PACKAGES)
def parity_of_adopted(exported: Record, frozen: Record, config: ParityConfig) -> Arguments:
    return {"graph": exported.output("model.onnx"), "tensors": frozen.output("tensors"), "config": config}
