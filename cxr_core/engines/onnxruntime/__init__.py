"""ONNX Runtime on the CPU: the reference, always there."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import JsonValue

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Effective, Runner, Support
from cxr_core.engines.processor import Processor, processor, processors
from cxr_core.progress import Progress
from cxr_core.refs import Precision


def cpu_support(precision: Precision, cpu: Processor) -> Support:
    """What ONNX Runtime's CPU provider runs."""
    if precision is Precision.FP32:
        return Support(level="native")
    if precision is Precision.FP16:
        return Support(
            level="emulated", reason="fp16 runs through casts to fp32: its answers count, its speed does not"
        )
    if precision is Precision.INT8:
        vnni = cpu.has("avx512_vnni", "avx_vnni", "amx_int8", "asimddp")
        return Support(level="native", reason="" if vnni else f"{cpu.name} has no VNNI: int8 sums may saturate")
    return Support(level="unsupported", reason=f"ONNX Runtime's CPU provider has no {precision} kernels")


class OnnxRuntimeBackend:
    """See ``Backend``. An engine is the optimised graph, opened later without optimising again."""

    name = "onnxruntime"
    fake = False

    def support(self, precision: Precision) -> Support:
        """By /proc/cpuinfo; ONNX Runtime itself is not imported."""
        if _version() is None:
            return Support(level="unsupported", reason="onnxruntime is not installed: pip install onnxruntime")
        return cpu_support(precision, processor())

    def device(self) -> str:
        """The CPU's model name."""
        return processor().name

    def environment(self) -> dict[str, JsonValue]:
        """The optimiser picks layouts by instruction set and its fused operators belong to one version."""
        cpu = processor()
        return {"version": _version(), "cpu": cpu.name, "instructions": cpu.flags_digest, "cpus": processors()}

    def devices(self) -> tuple[str, ...]:
        """All work on the CPU is serial."""
        return ("cpu",)

    def build(
        self,
        *,
        graph: Path,
        precision: Precision,
        engine: Path,
        config: EngineConfig,
        progress: Progress,
        cache: Path | None = None,
    ) -> dict[str, JsonValue]:
        """See ``Backend.build``."""
        from cxr_core.engines.onnxruntime.builder import engine_from_onnx

        return engine_from_onnx(graph=graph, precision=precision, engine=engine, config=config, progress=progress)

    def runner(self, engine: Path, *, precision: Precision, config: EngineConfig, profiling: bool = False) -> Runner:
        """See ``Backend.runner``."""
        from cxr_core.engines.onnxruntime.runner import OnnxRuntimeRunner

        return OnnxRuntimeRunner(engine, config=config, profiling=profiling)

    def inspect(self, engine: Path, *, precision: Precision, config: EngineConfig) -> Effective:
        """See ``Backend.inspect``."""
        from cxr_core.engines.onnxruntime.inspector import effective_from_engine

        return effective_from_engine(engine, config=config)

    def peak(self, precision: Precision, *, config: EngineConfig, seconds: float) -> float | None:
        """Not measured: OpenVINO, which computes on the same CPU, does."""
        return None


def _version() -> str | None:
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return None
