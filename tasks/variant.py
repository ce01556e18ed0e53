"""variant: the graph lowered to one precision. The exported graph passes the gate before anything is lowered."""

from cxr_core.config import VariantConfig
from cxr_core.refs import Precision, Record
from tasks.stage import Arguments, stage


@stage("variant", core="cxr_core.graphs.variants:variant", packages=("onnx", "onnxruntime", "numpy", "scipy"))
def variant(precision: Precision, exported: Record, calibrated: Record, config: VariantConfig) -> Arguments:
    return {
        "graph": exported.output("model.onnx"),
        "calibration": calibrated.output("calibration.npy"),
        # One graph serves both; they differ by a flag of the builder.
        "precision": Precision.FP32 if precision is Precision.TF32 else precision,
        "config": config,
        "held_back": calibrated.output("held_back.npy") if precision is Precision.INT8 else None,
    }
