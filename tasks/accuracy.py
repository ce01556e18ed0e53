"""accuracy: an engine's answers on every image of the test split."""

from cxr_core.config import AccuracyConfig, EngineConfig
from cxr_core.refs import Precision, Record
from tasks.engine import backend_devices, backend_machine, backend_room
from tasks.stage import Arguments, KeyOnly, stage


def model_identity(exported: Record) -> str:
    """What counts as one model for looks at test: the weights, or the graph where it does not name them."""
    return str(exported.facts["weights_digest"] or exported.output("model.onnx").digest)


@stage(
    "accuracy",
    core="cxr_core.engines.scoring:accuracy",
    packages=("numpy", "scipy"),
    rooms=backend_room,
    machine=backend_machine,
    devices=backend_devices,
)
def accuracy(
    precision: Precision,
    backend: str,
    built: Record,
    frozen: Record,
    splitted: Record,
    exported: Record,
    config: AccuracyConfig,
    engine_config: EngineConfig,
) -> Arguments:
    return {
        "engine": built.output("engine"),
        "engine_metadata": built.output("engine.json"),
        "tensors": frozen.output("tensors"),
        "config": config,
        "engine_config": engine_config,
        "precision": KeyOnly(precision),
        "backend": KeyOnly(backend),
        # Engines and tensors imply both; they are named so that looks at test can be counted from the records.
        "test": KeyOnly(splitted.facts["test_digest"]),
        "weights": KeyOnly(model_identity(exported)),
    }
