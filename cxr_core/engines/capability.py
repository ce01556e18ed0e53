"""Which arithmetic an NVIDIA GPU has, by compute capability, and from which on TensorRT runs on it.

Sources: CUDA C++ Programming Guide ("Arithmetic Instructions", half precision, dp4a), TensorRT support matrix
("Hardware and Precision"), TensorRT 10.1 support matrix (SM 7.0 or higher), TensorRT 11.4 prerequisites (Turing or
newer), CUDA 13 release notes (Maxwell, Pascal and Volta removed).
"""

from cxr_core.refs import Precision

Version = tuple[int, int]

# First compute capability of each generation, oldest first (CUDA C++ Programming Guide, "Compute Capabilities").
# Ada's 8.9 and Hopper's 9.0 follow Ampere's 8.0 to 8.7; 10.x, 11.0 and 12.x are all Blackwell.
GENERATIONS: tuple[tuple[Version, str], ...] = (
    ((5, 0), "Maxwell"),
    ((6, 0), "Pascal"),
    ((7, 0), "Volta"),
    ((7, 5), "Turing"),
    ((8, 0), "Ampere"),
    ((8, 9), "Ada Lovelace"),
    ((9, 0), "Hopper"),
    ((10, 0), "Blackwell"),
)

# The least capability with arithmetic of a precision, and older ones that have it too. FP32 every one has.
_LEAST: dict[Precision, Version] = {
    Precision.FP16: (7, 0),
    Precision.INT8: (7, 0),
    Precision.TF32: (8, 0),
    Precision.BF16: (8, 0),
    Precision.FP8: (8, 9),
}
_OLDER = {Precision.FP16: ("5.3", "6.0", "6.2"), Precision.INT8: ("6.1",)}

_TURING: Version = (7, 5)
_VOLTA: Version = (7, 0)


def capability_of(text: str) -> Version:
    """``(8, 9)`` of ``"8.9"``."""
    major, minor = text.split(".")
    return int(major), int(minor)


def generation(capability: str) -> str:
    """The generation's name; ``unknown`` before Maxwell."""
    names = [name for first, name in GENERATIONS if first <= capability_of(capability)]
    return names[-1] if names else "unknown"


def lacking(capability: str, precision: Precision) -> str:
    """Why a card of that compute capability cannot compute in a precision; empty where it can."""
    least, older = _LEAST.get(precision), _OLDER.get(precision, ())
    if least is None or capability_of(capability) >= least or capability in older:
        return ""
    needed = ", ".join((*older, f"{least[0]}.{least[1]} or newer"))
    return f"needs compute capability {needed}; this one is {capability}"


def too_old(capability: str, tensorrt: int, cuda: int) -> str:
    """Why TensorRT of that major version, built for that major version of CUDA, does not run on the card.

    10 for CUDA 12 runs from Volta on, 10 for CUDA 13 and 11 from Turing on. Empty where it runs.
    """
    least = _VOLTA if (tensorrt, cuda) == (10, 12) else _TURING
    if capability_of(capability) >= least:
        return ""
    return (
        f"TensorRT {tensorrt} for CUDA {cuda} needs compute capability {least[0]}.{least[1]} or newer; "
        f"this GPU has {capability} ({generation(capability)})"
    )
