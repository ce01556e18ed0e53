"""OpenVINO on the CPU: the embedded default where there is no NVIDIA GPU."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import JsonValue

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Effective, Runner, Support
from cxr_core.engines.processor import Processor, processor, processors, thread_count
from cxr_core.progress import Progress
from cxr_core.refs import Precision


def cpu_support(precision: Precision, cpu: Processor) -> Support:
    """What OpenVINO runs on that CPU, by its instruction sets alone (amx, avx512; asimdhp is ARM's fp16)."""
    if precision is Precision.FP32:
        return Support(level="native")
    if precision is Precision.INT8:
        vnni = cpu.has("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
        return Support(
            level="native", reason="" if vnni else f"{cpu.name} has no int8 dot product, so int8 gains little"
        )
    wanted = {
        Precision.FP16: ("avx512_fp16", "amx_fp16", "asimdhp"),
        Precision.BF16: ("avx512_bf16", "amx_bf16"),
    }.get(precision)
    if wanted is None:
        return Support(level="unsupported", reason=f"OpenVINO's CPU device has no {precision} arithmetic")
    if cpu.has(*wanted):
        return Support(level="native")
    return Support(level="unsupported", reason=f"{cpu.name} has none of {', '.join(wanted)}")


class OpenVINOBackend:
    """See ``Backend``. An engine is OpenVINO's exported compiled blob: opening it needs no ONNX and no conversion."""

    name = "openvino"
    fake = False

    def support(self, precision: Precision) -> Support:
        """By /proc/cpuinfo; OpenVINO itself is not imported."""
        if _version() is None:
            return Support(level="unsupported", reason="openvino is not installed: pip install openvino")
        return cpu_support(precision, processor())

    def device(self) -> str:
        """The CPU's model name."""
        return processor().name

    def environment(self) -> dict[str, JsonValue]:
        """A blob is tied to OpenVINO's version and to the instruction sets it was compiled for."""
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
        from cxr_core.engines.openvino.builder import engine_from_onnx

        return engine_from_onnx(graph=graph, precision=precision, engine=engine, config=config, progress=progress)

    def runner(self, engine: Path, *, precision: Precision, config: EngineConfig, profiling: bool = False) -> Runner:
        """See ``Backend.runner``."""
        from cxr_core.engines.openvino.runner import OpenVINORunner

        return OpenVINORunner(engine, precision=precision, config=config, profiling=profiling)

    def inspect(self, engine: Path, *, precision: Precision, config: EngineConfig) -> Effective:
        """See ``Backend.inspect``."""
        from cxr_core.engines.openvino.inspector import effective_from_engine

        return effective_from_engine(engine, precision=precision, config=config)

    def peak(self, precision: Precision, *, config: EngineConfig, seconds: float) -> float | None:
        """See ``Backend.peak``."""
        if self.support(precision).level == "unsupported":
            return None
        from cxr_core.engines.openvino.peak import peak_tera

        return peak_tera(precision, thread_count(config), seconds)


def _version() -> str | None:
    try:
        return version("openvino")
    except PackageNotFoundError:
        return None
