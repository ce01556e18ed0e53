"""TensorRT and CUDA themselves, imported only when asked for, and every CUDA call checked."""

import importlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cxr_core.errors import MachineError

OLDEST, NEWEST = (10, 12), 11
INSTALL = (
    "on a machine with an NVIDIA GPU of compute capability 7.5 or newer, install the extra 'nvidia' with "
    "NVIDIA's own package index added, as its TensorRT installation guide for pip describes"
)
_OUT_OF_MEMORY = "cudaErrorMemoryAllocation"


def tensorrt() -> Any:
    """The module ``tensorrt`` of a version that this room knows.

    Bindings without their libraries fail with ImportError, broken libraries with OSError.

    Raises:
        MachineError: not importable, or of a version outside 10.12 to 11.x.
    """
    try:
        found = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise MachineError(f"tensorrt cannot be imported ({error}); {INSTALL}") from error
    here = version_of(found)
    if not (here >= OLDEST and here[0] <= NEWEST):
        raise MachineError(
            f"tensorrt {found.__version__} is installed; versions {OLDEST[0]}.{OLDEST[1]} to {NEWEST}.x are known: "
            "install one of those"
        )
    return found


def version_of(found: Any) -> tuple[int, int]:
    """``(11, 4)`` of a module that says ``11.4.0.106``."""
    major, minor = str(found.__version__).split(".")[:2]
    return int(major), int(minor)


def built_for_cuda(major: int) -> int:
    """The major version of CUDA that the installed TensorRT was built for; 13 from TensorRT 11 on.

    Only the names of its packages tell. Where there are none (a container's own build) 12 is taken, the lower demand:
    what the builder then refuses it says itself.
    """
    if major > 10:
        return 13
    try:
        version("tensorrt-cu13-bindings")
    except PackageNotFoundError:
        return 12
    return 13


def cudart() -> Any:
    """The module ``cuda.bindings.runtime``.

    Raises:
        MachineError: not importable.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError) as error:
        raise MachineError(f"cuda.bindings cannot be imported ({error}); {INSTALL}") from error


def checked(call: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """What a CUDA call returned besides its error code: nothing, one value, or a tuple of them.

    ``cuda.bindings`` never raises: the first element of what it returns is the error.

    Raises:
        MachineError: the call failed; the message names call and error.
    """
    error, *values = call(*arguments)
    if int(error) != 0:
        name = getattr(error, "name", str(error))
        mend = (
            "the GPU has no room left: end other processes on it, or lower engine.batches"
            if name == _OUT_OF_MEMORY
            else "nvidia-smi shows whether driver and GPU are well"
        )
        raise MachineError(f"{call.__name__} failed with {name} ({int(error)}); {mend}")
    return values[0] if len(values) == 1 else (tuple(values) or None)
