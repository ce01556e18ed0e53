"""Where training runs and how: device, automatic mixed precision, threads. What differs by vendor stands here."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from pydantic import JsonValue

from cxr_core.errors import MachineError

_WORTH_IT = 1.2  # mixed precision must be a fifth faster to be worth its rounding


def resolve_device(asked: str) -> torch.device:
    """``auto`` takes a GPU where there is one; ``cuda`` means NVIDIA or AMD (ROCm builds answer to it).

    Raises:
        MachineError: a GPU was asked for and this PyTorch sees none.
    """
    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        build = f"HIP {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
        raise MachineError(
            f"train.device: cuda, but PyTorch {torch.__version__} ({build}) sees no GPU here; "
            "use train.device: auto, or install the build for your card"
        )
    return torch.device("cuda" if available and asked != "cpu" else "cpu")


def describe(device: torch.device) -> dict[str, JsonValue]:
    """What the result may depend on: device, architecture and library versions."""
    facts: dict[str, JsonValue] = {
        "device": device.type,
        "torch": torch.__version__,
        "hip": torch.version.hip,
        "cuda": torch.version.cuda,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device_name"] = properties.name
        facts["architecture"] = getattr(properties, "gcnArchName", f"sm_{properties.major}{properties.minor}")
    return facts


def set_threads(threads: int) -> int:
    """Use that many CPU threads (0: all) and deterministic kernels; returns how many it became."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.get_num_threads()


def autocast(device: torch.device, mode: str) -> AbstractContextManager[object]:
    """The context that the forward pass runs in; ``mode`` is none, bf16 or fp16."""
    if mode == "none":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if mode == "bf16" else torch.float16)


def choose_amp(device: torch.device, asked: str, step: Callable[[str], None]) -> str:
    """Settle ``auto`` by measuring: bf16 is taken only where a step is really a fifth faster.

    ``step(mode)`` runs one training step on scratch weights. Names prove nothing: bf16 on an AVX2
    machine is emulated and many times slower than float32.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "none"
    seconds = {mode: _fastest(device, step, mode) for mode in ("none", "bf16")}
    return "bf16" if seconds["bf16"] * _WORTH_IT < seconds["none"] else "none"


def _fastest(device: torch.device, step: Callable[[str], None], mode: str) -> float:
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        step(mode)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best
