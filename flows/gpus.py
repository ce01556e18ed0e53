"""Which GPUs are here, and what each could compute in: for ``cxr doctor``."""

import os
from pathlib import Path
from typing import Any

from cxr_core.bench.trtexec.cards import card_named
from cxr_core.engines.capability import generation, lacking, too_old
from cxr_core.engines.tensorrt.device import gpu
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

    CUDA is asked first. Where it does not answer, NVIDIA's driver still names its cards, and the table of cards knows
    their capability.
    """
    found = [judged(name, capability) for name, capability in _nvidia(proc)]
    return [*found, *(amd(card) for card in rocm.cards(kfd))]


def amd(card: rocm.Card) -> dict[str, Any]:
    """What training would do on an AMD card, and ``says`` in words."""
    taken_for = rocm.overridden() or card.target
    known, hip, override = rocm.architecture(taken_for), rocm.built_for(), os.environ.get(rocm.OVERRIDE)
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
    }
    size = f", {card.memory / 2**30:.0f} GiB" if card.memory else ""
    modes = " or ".join(known.amp)
    layout = "channels last unless convolutions are grouped" if known.channels_last else "contiguous tensors"
    parts = [
        f"{known.family}{size}",
        f"taken for {taken_for} by {rocm.OVERRIDE}={override}" if rocm.overridden() else "",
        f"{rocm.OVERRIDE}={override} is not like 10.3.0" if override and not rocm.overridden() else "",
        f"trains in fp32, or in {modes} where that is measured to be a fifth faster" if modes else "trains in fp32",
        f"{layout}, MIOpen's find mode {found['find_mode']}, micro-batches if a batch does not fit",
        f"PyTorch here is built for HIP {hip}" if hip else _NO_HIP,
        "there is no TensorRT for it, so its engines are those of the CPU",
    ]
    return {**found, "says": "; ".join(part for part in parts if part)}


def judged(name: str, capability: str | None) -> dict[str, Any]:
    """A card's generation, each precision with the reason why it lacks it (empty where it has it), and TensorRT."""
    if capability is None:
        return {"name": name, "says": "compute capability not known: install the extra 'nvidia' and its driver"}
    return {
        "name": name,
        "capability": capability,
        "generation": generation(capability),
        "precisions": {str(p): lacking(capability, p) for p in Precision},
        "tensorrt": too_old(capability, *_CURRENT),
    }


def told(card: dict[str, Any]) -> str:
    """One line."""
    if "says" in card:
        return f"GPU {card['name']}: {card['says']}"
    having = ", ".join(p for p, reason in card["precisions"].items() if not reason)
    without = ", ".join(p for p, reason in card["precisions"].items() if reason)
    parts = [f"{having} natively", f"no arithmetic for {without}" if without else "", card["tensorrt"]]
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
    try:
        here = gpu()
    except MachineError:
        return [(name, _capability(name)) for name in _named(proc)]
    return [(here.name, here.capability)]


def _named(proc: Path) -> list[str]:
    lines = [
        line for file in sorted(proc.glob("*/information")) for line in file.read_text(encoding="utf-8").splitlines()
    ]
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]


def _capability(name: str) -> str | None:
    known = card_named(name)
    return known.capability if known else None
