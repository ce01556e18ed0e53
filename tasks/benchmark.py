"""benchmark: an engine timed in turns with the reference engine of its backend."""

from cxr_core.config import BenchmarkConfig, EngineConfig
from cxr_core.refs import Precision, Record
from tasks.engine import backend_devices, backend_machine, backend_room
from tasks.stage import Arguments, KeyOnly, stage


@stage(
    "benchmark",
    core="cxr_core.bench.benchmark:benchmark",
    packages=("numpy",),
    rooms=backend_room,
    machine=backend_machine,
    devices=backend_devices,
    shown_every=5.0,  # not more often: it is posted on the cores that are measured
)
def benchmark(
    precision: Precision,
    backend: str,
    built: Record,
    reference: Record,
    frozen: Record,
    config: BenchmarkConfig,
    engine_config: EngineConfig,
) -> Arguments:
    return {
        "engine": built.output("engine"),
        "engine_metadata": built.output("engine.json"),
        "reference": reference.output("engine"),
        "reference_metadata": reference.output("engine.json"),
        "tensors": frozen.output("tensors"),
        "config": config,
        "engine_config": engine_config,
        "precision": KeyOnly(precision),
        "backend": KeyOnly(backend),
    }
