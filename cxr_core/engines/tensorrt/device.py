"""The GPU that is computed on: CUDA's first, which ``CUDA_VISIBLE_DEVICES`` chooses."""

from importlib import import_module
from typing import Any

from cxr_core.engines.tensorrt.library import checked, cudart
from cxr_core.errors import MachineError
from cxr_core.refs import Frozen


class Gpu(Frozen):
    """One GPU, or one slice of it: a slice has a UUID and a name of its own."""

    name: str
    capability: str
    uuid: str
    driver: str
    memory: int
    multiprocessors: int


def gpu() -> Gpu:
    """The GPU, asked through CUDA without making a context on it.

    Raises:
        MachineError: no driver, no GPU, or no ``cuda.bindings``.
    """
    runtime = cudart()
    error, count = runtime.cudaGetDeviceCount()
    if int(error) != 0 or not count:
        name = getattr(error, "name", str(error))
        raise MachineError(
            f"CUDA finds no GPU (cudaGetDeviceCount: {name if int(error) else 'none visible'}); "
            "install NVIDIA's driver, or choose a GPU with CUDA_VISIBLE_DEVICES"
        )
    about = checked(runtime.cudaGetDeviceProperties, 0)
    return Gpu(
        name=about.name.decode().rstrip("\0"),
        capability=f"{about.major}.{about.minor}",
        uuid=_uuid(bytes(about.uuid.bytes)),
        driver=_driver(runtime),
        memory=int(about.totalGlobalMem),
        multiprocessors=int(about.multiProcessorCount),
    )


def _uuid(raw: bytes) -> str:
    """As nvidia-smi writes it."""
    text = raw[:16].hex()
    return "-".join(("GPU", text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _driver(runtime: Any) -> str:
    """The driver's own version; where NVML is not at hand, the newest CUDA version that it runs."""
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return f"for CUDA {_dotted(checked(runtime.cudaDriverGetVersion))}"
    try:
        nvml.nvmlInit()
        try:
            return str(nvml.nvmlSystemGetDriverVersion())
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError:
        return f"for CUDA {_dotted(checked(runtime.cudaDriverGetVersion))}"


def _dotted(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
