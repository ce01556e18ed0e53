"""What differs from CUDA where PyTorch is built for ROCm (HIP). All of it stands here; torch is not needed to read it.

HIP builds answer to ``torch.cuda``, so the training code is one. AMD's own are: how a card and its architecture are
found, which arithmetic an architecture has, where channels last helps, and how MIOpen searches for kernels.
Other sources are in docs/rocm.md. Nothing of this has run on an AMD card.
"""

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

KFD = Path("/sys/class/kfd/kfd/topology/nodes")
OVERRIDE = "HSA_OVERRIDE_GFX_VERSION"

# MIOpen's own default differs by version. HYBRID times solvers once for each convolution and keeps what it found in the
# user database, so that later trainings take the same kernels and round alike.
FIND_MODE = "HYBRID"
_FIND = "MIOPEN_FIND_MODE"
_DATABASE, _KERNELS = "MIOPEN_USER_DB_PATH", "MIOPEN_CUSTOM_CACHE_DIR"
_LAYOUT = ("PYTORCH_MIOPEN_SUGGEST_NHWC", "PYTORCH_MIOPEN_SUGGEST_NHWC_BATCHNORM")

CHANGES_A_RESULT = (OVERRIDE, _FIND, *_LAYOUT, "MIOPEN_DEBUG_CONVOLUTION_DETERMINISTIC")
"""Variables of the environment that choose other kernels, and with them another rounding."""

_LOCAL_HEAPS = (1, 2)  # kinds of memory bank on the card: seen by the host, and not


class Architecture(NamedTuple):
    """``amp`` are the 16-bit modes that training tries, the one to prefer first.

    The hardware computes in ``native`` precisions; libraries give ``emulated`` ones by way of others, and no others.
    """

    family: str
    targets: tuple[str, ...]
    amp: tuple[str, ...]
    channels_last: bool
    native: frozenset[str]
    emulated: frozenset[str]
    source: str


def _row(family: str, targets: str, amp: str, layout: bool, native: str, emulated: str, source: str) -> Architecture:
    have, given = frozenset(native.split()), frozenset(emulated.split())
    return Architecture(family, tuple(targets.split()), tuple(amp.split()), layout, have, given, source)


_HIP = "HIP documentation, Hardware features"
_ROCM = "ROCm documentation, Data types and precision support"
_LLVM = "LLVM's AMDGPU.td"
# PyTorch's own is_bf16_supported() is True for every AMD card, also where bf16 is emulated.
# Channels last: pytorch/pytorch#170947 names CDNA2 to CDNA4, and found it slower on consumer cards.
# fmt: off
ARCHITECTURES = (
    _row("Vega", "gfx900", "fp16", False, "fp32 fp16", "bf16",
         f"packed fp16; bf16 by software: ROCm/legacy-rocm-build#855; no dot products of int8: {_LLVM}"),
    _row("Vega", "gfx906", "fp16", False, "fp32 fp16 int8", "bf16",
         f"packed fp16; bf16 by software: ROCm/legacy-rocm-build#855; v_dot4_i32_i8: {_LLVM}"),
    _row("CDNA1", "gfx908", "bf16 fp16", False, "fp32 fp16 bf16 int8", "", f"{_HIP}; {_ROCM}"),
    # CDNA2's matrix cores flush fp16 denormals to zero, which are gradients' size: bf16 alone is tried.
    _row("CDNA2", "gfx90a", "bf16", True, "fp32 fp16 bf16 int8", "",
         f"{_HIP}; {_ROCM}; PyTorch documentation, Numerical accuracy"),
    _row("CDNA3", "gfx942", "bf16 fp16", True, "fp32 tf32 fp16 bf16 fp8 int8", "", f"{_HIP}; {_ROCM}"),
    _row("CDNA4", "gfx950", "bf16 fp16", True, "fp32 fp16 bf16 fp8 int8", "tf32",
         f"{_ROCM}; {_LLVM}: xf32-insts in gfx942 alone; TF32 by BF16: ROCm/hipBLASLt#1806"),
    _row("RDNA1", "gfx1011 gfx1012", "fp16", False, "fp32 fp16 int8", "bf16", f"{_HIP}; v_dot4_i32_i8: {_LLVM}"),
    _row("RDNA1", "gfx101", "fp16", False, "fp32 fp16", "bf16", f"{_HIP}; no dot products of int8: {_LLVM}"),
    _row("RDNA2", "gfx103", "fp16", False, "fp32 fp16 int8", "bf16", f"{_HIP}; v_dot4_i32_i8: {_LLVM}"),
    _row("RDNA3", "gfx110 gfx115", "bf16 fp16", False, "fp32 fp16 bf16 int8", "",
         f"{_HIP}; AMD's RDNA3 ISA guide, WMMA"),
    _row("RDNA4", "gfx120", "bf16 fp16", False, "fp32 fp16 bf16 fp8 int8", "",
         "AMD's RDNA4 ISA guide, WMMA; whether MIOpen uses it is in doubt (ROCm/rocm-jax#84), hence measured"),
)
# fmt: on
_UNKNOWN = _row("unknown architecture", "", "", False, "fp32", "", "")


def architecture(target: str) -> Architecture:
    """What is known of a target such as ``gfx90a:sramecc+:xnack-``; of one that is not listed, that it runs fp32."""
    return next((one for one in ARCHITECTURES if target.startswith(one.targets)), _UNKNOWN)


class Card(NamedTuple):
    """A GPU as the kernel's driver shows it, which no override changes. ``memory`` in bytes, 0 where it is not told."""

    target: str
    memory: int


def cards(kfd: Path | None = None) -> list[Card]:
    """Every AMD GPU of this machine, read below ``KFD``; torch would take seconds to say the same."""
    found = []
    for node in sorted((kfd or KFD).glob("*/properties")):
        version = _properties(node).get("gfx_target_version", 0)
        if version:  # 0 is the CPU's node
            banks = [_properties(bank) for bank in node.parent.glob("mem_banks/*/properties")]
            local = [bank.get("size_in_bytes", 0) for bank in banks if bank.get("heap_type") in _LOCAL_HEAPS]
            found.append(Card(_target(version // 10000, version // 100 % 100, version % 100), sum(local)))
    return found


def overridden(environment: Mapping[str, str] = os.environ) -> str | None:
    """The target that ``HSA_OVERRIDE_GFX_VERSION`` makes of the card, such as gfx1030 of 10.3.0; None without one."""
    numbers = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", environment.get(OVERRIDE, ""))
    return _target(*(int(number) for number in numbers.groups())) if numbers else None


def built_for() -> str | None:
    """The HIP version that the installed PyTorch is built for, without importing it; None for other builds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    named = re.search(r"^hip\b.*= '(.+)'", text, re.MULTILINE)
    return named[1] if named else None


def changed() -> dict[str, JsonValue]:
    """What the environment sets of ``CHANGES_A_RESULT``; empty on a machine without an AMD card."""
    return {name: os.environ[name] for name in CHANGES_A_RESULT if name in os.environ} if cards() else {}


def find_mode() -> str:
    """How MIOpen is to search: what the user set, else ``FIND_MODE``."""
    return os.environ.get(_FIND, FIND_MODE)


def prepare(cache: Path | None) -> None:
    """Tell MIOpen how to search and where to keep what it finds; what the user has set stays.

    It reads these variables at its first convolution, so this comes before it. MIOpen names its files by target and
    its own version, so one folder serves all, and locks them itself.
    """
    os.environ.setdefault(_FIND, FIND_MODE)
    if cache is not None:
        for name, folder in ((_DATABASE, cache / "database"), (_KERNELS, cache / "kernels")):
            folder.mkdir(parents=True, exist_ok=True)
            os.environ.setdefault(name, str(folder))


def channels_last(target: str, grouped: bool) -> bool:
    """Whether channels last is used, and tells PyTorch so: its builds differ in what they do without being told.

    Never for a network with ``grouped`` convolutions unless the user sets the variable: MIOpen has but slow kernels for
    them in that layout (pytorch/pytorch#187599: training 10 to 17 % slower).
    """
    wanted = architecture(target).channels_last and not grouped
    for name in _LAYOUT:
        os.environ.setdefault(name, str(int(wanted)))
    return os.environ[_LAYOUT[0]].lower() in ("1", "on", "true")


def describe(target: str, miopen: int | None, cache: Path | None) -> dict[str, JsonValue]:
    """For the record. ``target`` is what the HIP runtime calls the card, after an override; the driver's word stands
    beside. Which kernels MIOpen took cannot be asked; that what it found was kept shows in ``kept_bytes``."""
    return {
        "architecture": target,
        "family": architecture(target).family,
        "driver_architectures": [card.target for card in cards()],
        "override": os.environ.get(OVERRIDE),
        "miopen": {
            "version": miopen,
            "find_mode": find_mode(),
            "suggest_nhwc": os.environ.get(_LAYOUT[0]),
            "kept_bytes": kept_bytes(cache),
        },
    }


def kept_bytes(cache: Path | None) -> int:
    """What MIOpen has written into its part of the store."""
    return sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) if cache else 0


def _target(major: int, minor: int, stepping: int) -> str:
    return f"gfx{major}{minor:x}{stepping:x}"


def _properties(file: Path) -> dict[str, int]:
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
