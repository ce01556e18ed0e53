"""TensorRT on an NVIDIA GPU: the target. Versions 10.12 to 11.x, strongly typed, from one code path."""

from pathlib import Path

from pydantic import JsonValue

from cxr_core.config import EngineConfig
from cxr_core.engines.capability import lacking, too_old
from cxr_core.engines.contract import Effective, Runner, Support
from cxr_core.engines.tensorrt.device import Gpu, alike, gpu
from cxr_core.engines.tensorrt.library import built_for_cuda, cudart, tensorrt, version_of
from cxr_core.errors import MachineError
from cxr_core.progress import Progress
from cxr_core.refs import Precision


class TensorRTBackend:
    """See ``Backend``. An engine is a serialised plan, tied to TensorRT's version and the GPU it was built on."""

    name = "tensorrt"
    fake = False

    def support(self, precision: Precision) -> Support:
        """By the installed version and the GPU's compute capability."""
        try:
            found = tensorrt()
            cudart()
            here = gpu()
            alike()
        except MachineError as error:
            return Support(level="unsupported", reason=str(error))
        return gpu_support(precision, here, version_of(found)[0])

    def device(self) -> str:
        """The GPU's name."""
        here = _gpu()
        return here.name if here else "no NVIDIA device"

    def devices(self) -> tuple[str, ...]:
        """UUIDs of the GPUs, or slices, that are like the first: work on one is serial, on several parallel."""
        try:
            return alike()
        except MachineError:
            return ("no-gpu",)

    def environment(self) -> dict[str, JsonValue]:
        """A plan is tied to TensorRT's version, the GPU's model and its capability; a driver changes how fast it is."""
        try:
            found, here = tensorrt(), gpu()
        except MachineError:
            return {"version": None, "device": None, "capability": None, "driver": None}
        return {
            "version": found.__version__,
            "device": here.name,
            "capability": here.capability,
            "driver": here.driver,
        }

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
        """See ``Backend.build``. ``cache`` holds TensorRT's timing caches."""
        from cxr_core.engines.tensorrt.builder import engine_from_onnx

        return engine_from_onnx(
            graph=graph, precision=precision, engine=engine, config=config, progress=progress, cache=cache
        )

    def runner(self, engine: Path, *, precision: Precision, config: EngineConfig, profiling: bool = False) -> Runner:
        """See ``Backend.runner``."""
        from cxr_core.engines.tensorrt.runner import TensorRTRunner

        return TensorRTRunner(engine, precision=precision, config=config, profiling=profiling)

    def inspect(self, engine: Path, *, precision: Precision, config: EngineConfig) -> Effective:
        """See ``Backend.inspect``."""
        from cxr_core.engines.tensorrt.inspector import effective_from_engine

        return effective_from_engine(engine, precision=precision, config=config)

    def peak(self, precision: Precision, *, config: EngineConfig, seconds: float) -> float | None:
        """Not measured: the table of cards (``bench/trtexec/cards.py``) has the vendor's."""
        return None


def gpu_support(precision: Precision, here: Gpu, major: int) -> Support:
    """What TensorRT of that major version runs on that GPU."""
    reason = too_old(here.capability, major, built_for_cuda(major)) or lacking(here.capability, precision)
    if not reason and precision is Precision.FP8:
        reason = "no fp8 graph is made by this version of cxr"
    if reason:
        return Support(level="unsupported", reason=f"{here.name}: {reason}")
    return Support(level="native")


def _gpu() -> Gpu | None:
    try:
        return gpu()
    except MachineError:
        return None
