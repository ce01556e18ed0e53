"""TensorRT on an NVIDIA GPU: the target. The room says what is missing; it builds nothing yet."""

from importlib import import_module
from pathlib import Path

from pydantic import JsonValue

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Effective, Runner, Support
from cxr_core.progress import Progress
from cxr_core.refs import Precision

_INSTALL = (
    "on a machine with an NVIDIA GPU of compute capability 7.5 or newer, install the extra 'nvidia' with "
    "NVIDIA's own package index added, as its TensorRT installation guide for pip describes"
)


def missing() -> str:
    """Why TensorRT cannot be used here, and how to mend that; its bindings fail with ImportError or OSError."""
    try:
        found = import_module("tensorrt")
    except (ImportError, OSError) as error:
        return f"tensorrt cannot be imported ({error}); {_INSTALL}"
    return f"tensorrt {getattr(found, '__version__', '?')} is here, but this version of cxr does not build with it yet"


class TensorRTBackend:
    """See ``Backend``. Every precision is ``unsupported`` with the reason; nothing pretends to be built."""

    name = "tensorrt"
    fake = False

    def support(self, precision: Precision) -> Support:
        """Unsupported, with what is missing."""
        return Support(level="unsupported", reason=missing())

    def device(self) -> str:
        """No device is opened here."""
        return "no NVIDIA device"

    def environment(self) -> dict[str, JsonValue]:
        """Nothing runs, so nothing changes a result."""
        return {"version": None}

    def build(
        self, *, graph: Path, precision: Precision, engine: Path, config: EngineConfig, progress: Progress
    ) -> dict[str, JsonValue]:
        """Raises MachineError."""
        from cxr_core.engines.tensorrt.builder import engine_from_onnx

        return engine_from_onnx(graph=graph, precision=precision, engine=engine, config=config, progress=progress)

    def runner(self, engine: Path, *, precision: Precision, config: EngineConfig, profiling: bool = False) -> Runner:
        """Raises MachineError."""
        from cxr_core.engines.tensorrt.runner import TensorRTRunner

        return TensorRTRunner(engine, precision=precision, config=config, profiling=profiling)

    def inspect(self, engine: Path, *, precision: Precision, config: EngineConfig) -> Effective:
        """Raises MachineError."""
        from cxr_core.engines.tensorrt.inspector import effective_from_engine

        return effective_from_engine(engine, precision=precision, config=config)
