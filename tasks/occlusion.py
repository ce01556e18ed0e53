"""occlusion: where the answer hangs in images on which a precision disagrees with FP32."""

from cxr_core.config import OcclusionConfig
from cxr_core.refs import Precision, Record
from tasks.stage import Arguments, AsJson, stage


@stage(
    "occlusion",
    core="cxr_core.evaluation.occlusion:occlusion",
    packages=("onnx", "onnxruntime", "numpy", "scipy", "pandas"),
)
def occlusion(
    compared: Record, frozen: Record, variants: dict[Precision, Record], config: OcclusionConfig
) -> Arguments:
    return {
        "comparison": compared.output("comparison.json"),
        "tensors": frozen.output("tensors"),
        "variants": AsJson({precision: record.output("variant.onnx") for precision, record in variants.items()}),
        "config": config,
    }
