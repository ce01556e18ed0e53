"""NVIDIA cards: what each can do at most. Which precisions a capability has at all: ``engines/capability.py``."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from cxr_core.bench.trtexec.logs import Device
from cxr_core.engines.capability import lacking
from cxr_core.refs import Frozen, Precision

Tera = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Card(Frozen):
    """``peak`` in dense tera operations a second, a multiply-add counted as two; ``source`` says whose figure it is."""

    name: str
    capability: Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")]
    peak: dict[Precision, Tera]
    source: str = ""

    def peak_for(self, precision: Precision) -> tuple[Precision, float] | None:
        """The arithmetic that such an engine may run in at its best, and its peak.

        An engine may fall back to any faster or slower kind, so the bound is the highest of the precision asked
        for and those that are wider. None where the narrowest of them that the card has is not stated: FP32's peak
        bounds nothing that tensor cores compute.
        """
        able = [kind for kind in _WIDER[precision] if not lacking(self.capability, kind)]
        if able[-1] not in self.peak:
            return None
        return max(((kind, self.peak[kind]) for kind in able if kind in self.peak), key=lambda pair: pair[1])


_WIDER: Mapping[Precision, tuple[Precision, ...]] = {
    Precision.FP32: (Precision.FP32,),
    Precision.TF32: (Precision.FP32, Precision.TF32),
    Precision.BF16: (Precision.FP32, Precision.TF32, Precision.BF16),
    Precision.FP16: (Precision.FP32, Precision.TF32, Precision.FP16),
    Precision.FP8: (Precision.FP32, Precision.TF32, Precision.FP16, Precision.BF16, Precision.FP8),
    Precision.INT8: (Precision.FP32, Precision.TF32, Precision.FP16, Precision.BF16, Precision.INT8),
}

_P = Precision


def _card(name: str, capability: str, source: str, **peak: float) -> Card:
    return Card(name=name, capability=capability, source=source, peak={_P(kind): value for kind, value in peak.items()})


# fmt: off
# Dense figures at boost clock from NVIDIA's data sheets and architecture white papers; where those print a figure
# "with sparsity", half of it.
CARDS = (
    _card("Tesla M40", "5.2", "3072 cores x 2 x 1.114 GHz", fp32=6.84),
    _card("Tesla M60", "5.2", "2048 cores a GPU x 2 x 1.178 GHz", fp32=4.83),
    _card("Tesla P100-PCIE", "6.0", "Tesla P100 PCIe data sheet", fp32=9.3, fp16=18.7),
    _card("Tesla P100", "6.0", "Pascal GP100 white paper", fp32=10.6, fp16=21.2),
    _card("Tesla P4", "6.1", "Tesla P4 data sheet", fp32=5.5, int8=22.0),
    _card("Tesla P40", "6.1", "Tesla P40 data sheet", fp32=12.0, int8=47.0),
    _card("GeForce GTX 1080 Ti", "6.1", "3584 cores x 2 x 1.582 GHz; int8 four times that", fp32=11.3, int8=45.4),
    _card("Tesla V100", "7.0", "Volta GV100 white paper; int8 four times fp32", fp32=15.7, fp16=125.0, int8=62.8),
    _card("Tesla T4", "7.5", "Tesla T4 data sheet", fp32=8.1, fp16=65.0, int8=130.0),
    _card("GeForce RTX 2080 Ti", "7.5", "Turing white paper", fp32=14.2, fp16=113.8, int8=227.7),
    _card("GeForce RTX 2080", "7.5", "Turing white paper", fp32=10.6, fp16=84.8, int8=169.6),
    _card("A100", "8.0", "A100 data sheet", fp32=19.5, tf32=156.0, fp16=312.0, bf16=312.0, int8=624.0),
    _card("A30", "8.0", "A30 data sheet", fp32=10.3, tf32=82.0, fp16=165.0, bf16=165.0, int8=330.0),
    _card("A10", "8.6", "A10 data sheet", fp32=31.2, tf32=62.5, fp16=125.0, bf16=125.0, int8=250.0),
    _card("A40", "8.6", "A40 data sheet", fp32=37.4, tf32=74.8, fp16=149.7, bf16=149.7, int8=299.3),
    _card("GeForce RTX 3090", "8.6", "GA102 white paper", fp32=35.6, tf32=35.6, fp16=142.0, bf16=71.0, int8=284.0),
    _card("GeForce RTX 3080", "8.6", "GA102 white paper", fp32=29.8, tf32=29.8, fp16=119.0, bf16=59.5, int8=238.0),
    _card("L4", "8.9", "L4 data sheet", fp32=30.3, tf32=60.0, fp16=121.0, bf16=121.0, fp8=242.5, int8=242.5),
    _card("L40S", "8.9", "L40S data sheet", fp32=91.6, tf32=183.0, fp16=362.0, bf16=362.0, fp8=733.0, int8=733.0),
    _card("GeForce RTX 4090", "8.9", "Ada white paper", fp32=82.6, tf32=82.6, fp16=330.3, bf16=165.2, fp8=660.6,
          int8=660.6),
    _card("H100 PCIe", "9.0", "H100 white paper", fp32=51.2, tf32=378.0, fp16=756.0, bf16=756.0, fp8=1513.0,
          int8=1513.0),
    _card("H100", "9.0", "H100 white paper, SXM5", fp32=66.9, tf32=494.7, fp16=989.4, bf16=989.4, fp8=1978.9,
          int8=1978.9),
    _card("H200", "9.0", "H200 data sheet, SXM", fp32=67.0, tf32=494.7, fp16=989.4, bf16=989.4, fp8=1978.9,
          int8=1978.9),
)
# fmt: on

# FP32 cores a multiprocessor by compute capability (CUDA C++ Programming Guide, "Arithmetic Instructions").
_CORES = {
    "5.0": 128, "5.2": 128, "5.3": 128, "6.0": 64, "6.1": 128, "6.2": 128, "7.0": 64, "7.2": 64, "7.5": 64, "8.0": 64,
    "8.6": 128, "8.7": 128, "8.9": 128, "9.0": 128, "10.0": 128, "12.0": 128,
}  # fmt: skip


# Words of a name that make no other card: makers, memory, how it is plugged in. "Ti", "SUPER", "NVL", "Laptop" do.
_SAME_CARD = re.compile(r"nvidia|tesla|geforce|tensor|core|gpu|\d+gi?b|hbm\w*|sxm\d?|pcie")


def card_named(name: str) -> Card | None:
    """The card of a name as trtexec or a person writes it ("NVIDIA Tesla T4", "h100 pcie"), None where unknown."""
    words = _words(name)
    found = [card for card in CARDS if _words(card.name) <= words]
    best = max(found, key=lambda card: len(_words(card.name)), default=None)
    return best if best and all(map(_SAME_CARD.fullmatch, words - _words(best.name))) else None


def _words(name: str) -> set[str]:
    whole = re.sub(r"(\d) +(?=gi?b)", r"\1", name.lower().replace("pcie", " pcie "))
    return {word for word in re.findall(r"[a-z0-9]+", whole) if word not in ("nvidia", "tesla", "geforce")}


def card_of(device: Device) -> Card:
    """The card that a log names: from the table, or from what the log says of it.

    FP32's peak is then multiprocessors x cores x 2 x clock, where the log states them.
    """
    known = card_named(device.name)
    if known is not None and known.capability == device.capability:
        return known
    cores = _CORES.get(device.capability)
    peak = {}
    if cores and device.multiprocessors and device.clock_ghz:
        peak[Precision.FP32] = device.multiprocessors * cores * 2 * device.clock_ghz / 1000
    source = f"{device.multiprocessors} multiprocessors x {cores} cores x 2 x {device.clock_ghz} GHz" if peak else ""
    return Card(name=device.name, capability=device.capability, peak=peak, source=source)
