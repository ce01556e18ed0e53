"""Which GPUs are here, and what each could compute in: for ``cxr doctor``."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cxr_core.bench.trtexec.cards import card_named
from cxr_core.engines.capability import emulated, generation, lacking, too_old
from cxr_core.engines.tensorrt.device import visible
from cxr_core.engines.tensorrt.library import built_for_cuda, tensorrt, version_of
from cxr_core.errors import MachineError
from cxr_core.refs import Precision
from cxr_core.training import rocm

# The card of the experiment that this project starts from, and the precisions that it was said to have run in.
SOURCE_CARD = "Tesla M40"
SOURCE_PRECISIONS = (Precision.INT8, Precision.FP16, Precision.TF32, Precision.FP32)
# The version whose demands are told where none is installed, and the CUDA that it is built for.
_CURRENT = (11, 13)
_NO_HIP = "PyTorch here is not built for ROCm, so training would take the CPU: docs/rocm.md says how to install it"


def gpus(proc: Path = Path("/proc/driver/nvidia/gpus"), kfd: Path = rocm.KFD) -> Any:
    """Every GPU that a driver shows, as ``judged``, as ``amd`` or with ``says``.

    CUDA is asked first, for those that ``CUDA_VISIBLE_DEVICES`` leaves. Where it does not answer, NVIDIA's driver still
    names its cards, and the table of cards knows their capability.
    """
    found = [judged(name, capability) for name, capability in _nvidia(proc)]
    return [*found, *(amd(card) for card in rocm.cards(kfd))]


def amd(card: rocm.Card) -> dict[str, Any]:
    """What training would do on an AMD card, and ``says`` in words."""
    taken_for = rocm.overridden() or card.target
    known, hip, override = rocm.architecture(taken_for), rocm.built_for(), os.environ.get(rocm.OVERRIDE)
    levels = _levels(known.native, known.emulated) if known.targets else {}
    found = {
        "name": f"AMD {card.target}",
        "family": known.family,
        "memory_bytes": card.memory,
        "override": override,
        "taken_for": taken_for,
        "amp": list(known.amp),
        "channels_last": known.channels_last,
        "find_mode": rocm.find_mode(),
        "hip": hip,
        "levels": levels,
    }
    size = f", {card.memory / 2**30:.0f} GiB" if card.memory else ""
    modes = " or ".join(known.amp)
    layout = "channels last unless convolutions are grouped" if known.channels_last else "contiguous tensors"
    parts = [
        f"{known.family}{size}",
        f"taken for {taken_for} by {rocm.OVERRIDE}={override}" if rocm.overridden() else "",
        f"{rocm.OVERRIDE}={override} is not like 10.3.0" if override and not rocm.overridden() else "",
        _levels_told(levels),
        f"trains in fp32, or in {modes} where that is measured to be a fifth faster" if modes else "trains in fp32",
        f"{layout}, MIOpen's find mode {found['find_mode']}, micro-batches if a batch does not fit",
        f"PyTorch here is built for HIP {hip}" if hip else _NO_HIP,
        "there is no TensorRT for it, so its engines are those of the CPU",
    ]
    return {**found, "says": "; ".join(part for part in parts if part)}


def judged(name: str, capability: str | None) -> dict[str, Any]:
    """A card's generation, the level of each precision with the reason why it lacks it (empty where it has it), and
    whether the TensorRT that is installed runs on it, or the current one where none is."""
    if capability is None:
        return {"name": name, "says": "compute capability not known: install the extra 'nvidia' and its driver"}
    reasons = {str(p): lacking(capability, p) for p in Precision}
    native = {p for p, reason in reasons.items() if not reason}
    return {
        "name": name,
        "capability": capability,
        "generation": generation(capability),
        "precisions": reasons,
        "levels": _levels(native, {str(p) for p in Precision if emulated(capability, p)}),
        "tensorrt": too_old(capability, *_tensorrt()),
    }


def _tensorrt() -> tuple[int, int]:
    """Major versions of TensorRT and of the CUDA it is built for."""
    try:
        major, _ = version_of(tensorrt())
    except MachineError:
        return _CURRENT
    return major, built_for_cuda(major)


def _levels(native: Collection[str], by_others: Collection[str]) -> dict[str, str]:
    """As ``Support.level`` of each precision."""
    return {str(p): "native" if p in native else "emulated" if p in by_others else "unsupported" for p in Precision}


def _levels_told(levels: Mapping[str, str]) -> str:
    """``fp32, fp16 natively; bf16 emulated in PyTorch alone; no arithmetic for tf32, fp8``."""
    words = (("native", "{} natively"), ("emulated", "{} emulated in PyTorch alone"),
             ("unsupported", "no arithmetic for {}"))  # fmt: skip
    parts = ((text, [p for p, level in levels.items() if level == wanted]) for wanted, text in words)
    return "; ".join(text.format(", ".join(named)) for text, named in parts if named)


def told(card: dict[str, Any]) -> str:
    """One line."""
    if "says" in card:
        return f"GPU {card['name']}: {card['says']}"
    parts = [_levels_told(card["levels"]), card["tensorrt"]]
    about = f"GPU {card['name']}, compute capability {card['capability']} ({card['generation']})"
    return f"{about}: {'; '.join(part for part in parts if part)}"


def source_experiment() -> dict[str, Any]:
    """What the source experiment's card does with each of the four precisions it was said to have run in."""
    card = card_named(SOURCE_CARD)
    assert card is not None
    found = judged(card.name, card.capability)
    ran = {str(p): "fp32" if found["precisions"][str(p)] else str(p) for p in SOURCE_PRECISIONS}
    return {**found, "ran": ran}


def source_told(found: dict[str, Any]) -> str:
    """The same in words."""
    lacked = "; ".join(f"{p} {found['precisions'][p]}" for p, real in found["ran"].items() if real != p)
    native = ", ".join(p for p, real in found["ran"].items() if real == p)
    return (
        f"The source experiment's {found['name']} ({found['generation']}) runs {native} natively and nothing else: "
        f"{lacked}. Its builder fell back to fp32 without an error, so all {len(found['ran'])} rows were fp32. "
        f"{found['tensorrt']}"
    )


def _nvidia(proc: Path) -> list[tuple[str, str | None]]:
    """Name and compute capability of each."""
    try:
        return [(one.name, one.capability) for one in visible()]
    except MachineError:
        lines = [
            line
            for file in sorted(proc.glob("*/information"))
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    cards = [(name, card_named(name)) for name in names]
    return [(name, card.capability if card else None) for name, card in cards]
