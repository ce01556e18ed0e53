"""Where training runs and how: device, memory, layout, automatic mixed precision, threads.

What an AMD card needs besides stands in ``rocm`` alone.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cxr_core.errors import MachineError
from cxr_core.training import accumulation, rocm

_WORTH_IT = 1.2  # mixed precision must be a fifth faster to be worth its rounding
# Of the memory that a rehearsed step may take: the optimiser's moments and the averaged weights come on top of it.
_SHARE = 0.9
_MEBI = 1 << 20
_log = logging.getLogger("cxr.training")

Step = Callable[[str, int], None]
"""``step(mode, images)``: one training step on scratch weights, with an AMP mode and that many images."""


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


def target(device: torch.device) -> str | None:
    """An AMD card's architecture as the HIP runtime names it, such as gfx1030; None for everything else."""
    if device.type != "cuda" or not torch.version.hip:
        return None
    return str(torch.cuda.get_device_properties(device).gcnArchName)


def prepare(device: torch.device, memory_mebibytes: int | None, cache: Path | None) -> int:
    """Before anything is put on the device: the bytes that training may take of a GPU's memory, all of it unless
    ``memory_mebibytes`` is less; 0 on a CPU, whose memory nobody limits. ``cache`` is where libraries keep what they
    found."""
    if target(device):
        rocm.prepare(cache)
    if device.type != "cuda":
        return 0
    total = int(torch.cuda.get_device_properties(device).total_memory)
    if memory_mebibytes is None or memory_mebibytes * _MEBI >= total:
        return total
    torch.cuda.set_per_process_memory_fraction(memory_mebibytes * _MEBI / total, device)
    return memory_mebibytes * _MEBI


def memory_format(device: torch.device, model: nn.Module) -> torch.memory_format:
    """Channels last, but on AMD cards only where it helps."""
    card = target(device)
    grouped = any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in model.modules())
    if card and not rocm.channels_last(card, grouped):
        return torch.contiguous_format
    return torch.channels_last


def describe(device: torch.device, cache: Path | None) -> dict[str, JsonValue]:
    """What the result may depend on, as the libraries tell it afterwards: device, architecture, memory, versions."""
    facts: dict[str, JsonValue] = {
        "device": device.type,
        "torch": torch.__version__,
        "hip": torch.version.hip,
        "cuda": torch.version.cuda,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device_name"] = properties.name
        facts["architecture"] = f"sm_{properties.major}{properties.minor}"
        facts["memory_mebibytes"] = properties.total_memory // _MEBI
        facts["memory_peak_mebibytes"] = torch.cuda.max_memory_allocated(device) // _MEBI
    if card := target(device):
        miopen: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        facts |= rocm.describe(card, miopen, cache)
    return facts


def observe(model: nn.Module) -> Counter[str]:
    """Filled at the first forward pass: how many convolutions gave their output in which type and memory layout.

    That is what ran, whatever was asked for.
    """
    seen: Counter[str] = Counter()
    hooks: dict[nn.Module, RemovableHandle] = {}

    def note(layer: nn.Module, inputs: object, output: Tensor) -> None:
        seen[f"{str(output.dtype).removeprefix('torch.')} {_layout(output)}"] += 1
        hooks.pop(layer).remove()

    hooks.update({one: one.register_forward_hook(note) for one in model.modules() if isinstance(one, nn.Conv2d)})
    return seen


def _layout(output: Tensor) -> str:
    kinds = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    found = [name for name, kind in kinds.items() if output.is_contiguous(memory_format=kind)]
    return found[0] if len(found) == 1 else "either" if found else "strided"  # one pixel or one channel is both


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


def settle(device: torch.device, amp: str, batch: int, micro_batch: int, limit: int, step: Step) -> tuple[str, int]:
    """The AMP mode and the micro-batch: what was asked for, or what rehearsed steps show to be worth it and to fit.

    Args:
        amp: ``auto``, or the mode asked for.
        micro_batch: the images asked for; 0 takes the largest part of ``batch`` that stays below ``limit`` bytes.
    """

    def fitting(mode: str) -> int:
        return micro_batch or accumulation.largest(batch, lambda size: _fits(device, limit, lambda: step(mode, size)))

    if amp != "auto":
        _warn_of_emulation(device, amp)
        return amp, fitting(amp)
    size = fitting("none")  # full precision takes most
    mode = choose_amp(device, lambda mode: step(mode, size))
    return mode, size if mode == "none" or size == batch else fitting(mode)


def choose_amp(device: torch.device, step: Callable[[str], None]) -> str:
    """The fastest mode by measuring: a 16-bit one is taken only where a step is really a fifth faster.

    Names prove nothing: bf16 on an AVX2 machine is emulated and many times slower than float32.
    """
    modes = modes_of(device)
    if not modes:
        return "none"
    seconds = {mode: _fastest(device, step, mode) for mode in ("none", *modes)}
    best = min(modes, key=lambda mode: seconds[mode])
    return best if seconds[best] * _WORTH_IT < seconds["none"] else "none"


def modes_of(device: torch.device) -> tuple[str, ...]:
    """The 16-bit modes that the device may have arithmetic for; a CPU is asked by measuring."""
    if card := target(device):
        return rocm.architecture(card).amp
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return ()
    return ("bf16",)


def _warn_of_emulation(device: torch.device, amp: str) -> None:
    card = target(device)
    if card and amp != "none" and amp not in modes_of(device):
        family = rocm.architecture(card).family
        _log.warning("train.amp: %s is asked for, but %s (%s) has no arithmetic for it: emulated", amp, card, family)


def _fits(device: torch.device, limit: int, step: Callable[[], None]) -> bool:
    if device.type != "cuda":
        return True
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        step()
    except torch.OutOfMemoryError:
        return False
    return torch.cuda.max_memory_allocated(device) <= _SHARE * limit


def _fastest(device: torch.device, step: Callable[[str], None], mode: str) -> float:
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        step(mode)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best
