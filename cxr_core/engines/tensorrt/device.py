"""The GPU that is computed on: CUDA's first, which ``CUDA_VISIBLE_DEVICES`` chooses. And which others are like it."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from cxr_core.engines.tensorrt.library import checked, cudart
from cxr_core.errors import MachineError
from cxr_core.refs import Frozen

_UUID = re.compile(r"(GPU|MIG)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SLICE = "MIG "  # in the name of a slice, before its size


class Gpu(Frozen):
    """One GPU, or one slice of it: a slice has a name of its own, ``NVIDIA H100 80GB HBM3 MIG 1g.10gb``.

    ``uuid`` as nvidia-smi writes a GPU's.
    """

    name: str
    capability: str
    driver: str
    memory: int
    multiprocessors: int
    uuid: str


def gpu() -> Gpu:
    """The first that is visible.

    Raises:
        MachineError: as ``visible``.
    """
    return visible()[0]


def visible() -> tuple[Gpu, ...]:
    """The GPUs that ``CUDA_VISIBLE_DEVICES`` leaves, at least one; asked without making a context on any.

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
    driver = _driver(runtime)
    return tuple(_gpu(checked(runtime.cudaGetDeviceProperties, number), driver) for number in range(count))


def _gpu(about: Any, driver: str) -> Gpu:
    return Gpu(
        name=str(about.name.decode().rstrip("\0")),
        capability=f"{about.major}.{about.minor}",
        driver=driver,
        memory=int(about.totalGlobalMem),
        multiprocessors=int(about.multiProcessorCount),
        uuid=_uuid(bytes(about.uuid.bytes)),
    )


def alike() -> tuple[str, ...]:
    """UUIDs, as nvidia-smi writes them, of the visible GPUs with the first one's name and capability; it comes first.

    CUDA shows one slice of a GPU that is cut into slices, however many there are, so those are asked of NVML.

    Raises:
        MachineError: as ``gpu``; or slices, and ``CUDA_VISIBLE_DEVICES`` does not name them by UUID.
    """
    known, chosen = visible(), os.environ.get("CUDA_VISIBLE_DEVICES", "")
    here = known[0]
    if _UUID.fullmatch(chosen):
        return (chosen,)
    if _SLICE in here.name:
        return _slices(here.name, chosen)
    return tuple(one.uuid for one in known if (one.name, one.capability) == (here.name, here.capability))


def _slices(name: str, visible: str) -> tuple[str, ...]:
    chosen = [part.strip() for part in visible.split(",") if part.strip()]
    with _nvml() as nvml:
        known = list(_every_slice(nvml)) if nvml and all(part.startswith("MIG-") for part in chosen) else []
    like = [uuid for uuid, named in known if name.endswith(named)]
    found = [uuid for part in chosen or ("",) for uuid in like if uuid.startswith(part)]
    if not found:
        raise MachineError(
            f"which slice {name} is cannot be told (CUDA_VISIBLE_DEVICES is {visible!r}): install nvidia-ml-py, and "
            "name slices by their UUIDs, MIG-..., which nvidia-smi -L shows"
        )
    return tuple(found)


def _every_slice(nvml: Any) -> Iterator[tuple[str, str]]:
    """UUID and name of each slice of each GPU. NVML does not look at ``CUDA_VISIBLE_DEVICES``."""
    for number in range(nvml.nvmlDeviceGetCount()):
        card = nvml.nvmlDeviceGetHandleByIndex(number)
        most = 0
        with suppress(nvml.NVMLError):  # of a card that cannot be cut
            most = nvml.nvmlDeviceGetMaxMigDeviceCount(card)
        for place in range(most):
            with suppress(nvml.NVMLError):  # a place without a slice
                piece = nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, place)
                yield str(nvml.nvmlDeviceGetUUID(piece)), str(nvml.nvmlDeviceGetName(piece))


def _uuid(raw: bytes) -> str:
    text = raw[:16].hex()
    return "-".join(("GPU", text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


@contextmanager
def _nvml() -> Iterator[Any]:
    """NVML, or None where it is not at hand."""
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # noqa: BLE001 - NVMLError cannot be named before its module is there
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _driver(runtime: Any) -> str:
    """The driver's own version; where NVML is not at hand, the newest CUDA version that it runs."""
    with _nvml() as nvml:
        if nvml:
            with suppress(nvml.NVMLError):
                return str(nvml.nvmlSystemGetDriverVersion())
    return f"for CUDA {_dotted(checked(runtime.cudaDriverGetVersion))}"


def _dotted(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
