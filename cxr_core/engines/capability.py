"""Which arithmetic an NVIDIA GPU has, by compute capability, and from which on TensorRT runs on it.

Each row of the tables has its source.
"""

from typing import NamedTuple

from cxr_core.refs import Precision

Version = tuple[int, int]


class Generation(NamedTuple):
    """``first`` is its oldest compute capability."""

    first: Version
    name: str
    source: str


class Arithmetic(NamedTuple):
    """The ``least`` capability whose hardware computes in a precision at speed, and ``older`` ones that do too.

    ``emulated``: PyTorch gives the same answers on the others, by way of FP32. TensorRT does not.
    """

    least: Version
    older: tuple[str, ...]
    emulated: bool
    source: str


class Demand(NamedTuple):
    """The ``least`` capability on which a major version of TensorRT, built for one of CUDA, runs."""

    tensorrt: int
    cuda: int
    least: Version
    source: str


_GUIDE = "CUDA C++ Programming Guide, Compute Capabilities"

# Oldest first. Ada's 8.9 and Hopper's 9.0 follow Ampere's 8.0 to 8.7; 10.x, 11.0 and 12.x are all Blackwell.
GENERATIONS = (
    Generation((5, 0), "Maxwell", _GUIDE),
    Generation((6, 0), "Pascal", _GUIDE),
    Generation((7, 0), "Volta", _GUIDE),
    Generation((7, 5), "Turing", _GUIDE),
    Generation((8, 0), "Ampere", _GUIDE),
    Generation((8, 9), "Ada Lovelace", _GUIDE),
    Generation((9, 0), "Hopper", _GUIDE),
    Generation((10, 0), "Blackwell", _GUIDE),
)

# fmt: off
ARITHMETIC = {
    Precision.FP32: Arithmetic((1, 0), (), False, "CUDA C++ Programming Guide, Arithmetic Instructions: all"),
    Precision.TF32: Arithmetic((8, 0), (), False, "TensorRT support matrix, Hardware and Precision"),
    # 6.1 has it too, at a 64th of FP32's speed.
    Precision.FP16: Arithmetic((7, 0), ("5.3", "6.0", "6.2"), True,
                               "CUDA C++ Programming Guide, Arithmetic Instructions; cuda_fp16.hpp (FP32 before 5.3)"),
    Precision.BF16: Arithmetic((8, 0), (), True,
                               "TensorRT support matrix; cuda_bf16.hpp (FP32 before 8.0); "
                               "torch.cuda.is_bf16_supported(including_emulation)"),
    Precision.FP8: Arithmetic((8, 9), (), False, "TensorRT support matrix, Hardware and Precision"),
    Precision.INT8: Arithmetic((7, 0), ("6.1",), False,
                               "TensorRT 8 support matrix, Hardware and Precision; CUDA C++ Programming Guide, dp4a"),
}

DEMANDS = (
    Demand(10, 12, (7, 0), "TensorRT 10.1 support matrix: SM 7.0 or higher"),
    Demand(10, 13, (7, 5), "CUDA 13 release notes: Maxwell, Pascal and Volta removed"),
    Demand(11, 13, (7, 5), "TensorRT 11.4 prerequisites: Turing or newer"),
)
# fmt: on


def capability_of(text: str) -> Version:
    """``(8, 9)`` of ``"8.9"``."""
    major, minor = text.split(".")
    return int(major), int(minor)


def generation(capability: str) -> str:
    """The generation's name; ``unknown`` before Maxwell."""
    names = [one.name for one in GENERATIONS if one.first <= capability_of(capability)]
    return names[-1] if names else "unknown"


def lacking(capability: str, precision: Precision) -> str:
    """Why a card of that compute capability cannot compute in a precision; empty where it can."""
    least, older = ARITHMETIC[precision].least, ARITHMETIC[precision].older
    if capability_of(capability) >= least or capability in older:
        return ""
    needed = ", ".join((*older, f"{least[0]}.{least[1]} or newer"))
    return f"needs compute capability {needed}; this one is {capability}"


def emulated(capability: str, precision: Precision) -> bool:
    """Whether PyTorch computes in it by way of FP32 on a card of that compute capability."""
    return bool(lacking(capability, precision)) and ARITHMETIC[precision].emulated


def too_old(capability: str, tensorrt: int, cuda: int) -> str:
    """Why TensorRT of that major version, built for that major version of CUDA, does not run on the card.

    Empty where it runs.
    """
    least = next(one.least for one in DEMANDS if (one.tensorrt, one.cuda) == (tensorrt, cuda))
    if capability_of(capability) >= least:
        return ""
    return (
        f"TensorRT {tensorrt} for CUDA {cuda} needs compute capability {least[0]}.{least[1]} or newer; "
        f"this GPU has {capability} ({generation(capability)})"
    )
