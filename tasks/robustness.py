"""robustness: every precision's accuracy on validation images that were made worse."""

from cxr_core.config import RobustnessConfig
from cxr_core.refs import Precision, Record
from tasks.stage import Arguments, AsJson, stage


@stage(
    "robustness",
    core="cxr_core.evaluation.robustness:robustness",
    packages=("onnx", "onnxruntime", "numpy", "scipy", "pandas", "pillow"),
    shown_every=1.0,
)
def robustness(frozen: Record, variants: dict[Precision, Record], config: RobustnessConfig) -> Arguments:
    return {
        "tensors": frozen.output("tensors"),
        "variants": AsJson({precision: record.output("variant.onnx") for precision, record in variants.items()}),
        "config": config,
    }
