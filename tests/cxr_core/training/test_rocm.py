"""What is AMD's own: asked of a double of the card, for there is none here."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from cxr_core.training import machine, rocm
from cxr_core.training.network import create_backbone
from tests.amd import GIB, GPU, card, topology

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("target", "family", "amp", "channels_last"),
    [
        ("gfx906:sramecc+:xnack-", "Vega", "fp16", False),
        ("gfx908", "CDNA1", "bf16 fp16", False),
        ("gfx90a:sramecc+:xnack-", "CDNA2", "bf16", True),
        ("gfx942", "CDNA3", "bf16 fp16", True),
        ("gfx950", "CDNA4", "bf16 fp16", True),
        ("gfx1010", "RDNA1", "fp16", False),
        ("gfx1030", "RDNA2", "fp16", False),
        ("gfx1036", "RDNA2", "fp16", False),
        ("gfx1100", "RDNA3", "bf16 fp16", False),
        ("gfx1151", "RDNA3", "bf16 fp16", False),
        ("gfx1201", "RDNA4", "bf16 fp16", False),
        ("gfx803", "unknown architecture", "", False),
    ],
)
def test_every_architecture(target: str, family: str, amp: str, channels_last: bool) -> None:
    known = rocm.architecture(target)
    assert (known.family, known.amp, known.channels_last) == (family, tuple(amp.split()), channels_last)


@pytest.mark.parametrize(
    ("target", "native", "emulated"),
    [
        ("gfx900", "fp32 fp16", "bf16"),
        ("gfx906", "fp32 fp16 int8", "bf16"),
        ("gfx908", "fp32 fp16 bf16 int8", ""),
        ("gfx90a", "fp32 fp16 bf16 int8", ""),
        ("gfx942", "fp32 tf32 fp16 bf16 fp8 int8", ""),
        ("gfx950", "fp32 fp16 bf16 fp8 int8", "tf32"),
        ("gfx1010", "fp32 fp16", "bf16"),
        ("gfx1012", "fp32 fp16 int8", "bf16"),
        ("gfx1030", "fp32 fp16 int8", "bf16"),
        ("gfx1100", "fp32 fp16 bf16 int8", ""),
        ("gfx1201", "fp32 fp16 bf16 fp8 int8", ""),
    ],
)
def test_what_each_architecture_computes_in(target: str, native: str, emulated: str) -> None:
    known = rocm.architecture(target)
    assert (known.native, known.emulated) == (set(native.split()), set(emulated.split()))
    assert set(known.amp) <= known.native and not known.native & known.emulated


def test_the_double_answers_by_names_that_torch_has() -> None:
    with card() as made:
        assert all(hasattr(torch._C._CudaDeviceProperties, name) for name in vars(made.properties))


def test_what_torch_says_of_bf16_on_any_amd_card_is_not_believed() -> None:
    with card("gfx1030"):
        assert torch.cuda.is_bf16_supported(including_emulation=False)
        assert machine.modes_of(GPU) == ("fp16",)
    with card("gfx1100"):
        assert machine.modes_of(GPU) == ("bf16", "fp16")
    assert machine.modes_of(CPU) == ("bf16",)


@pytest.mark.parametrize(
    ("target", "bf16", "fp16", "chosen"),
    [
        ("gfx1100", 0.5, 0.4, "fp16"),
        ("gfx1100", 0.4, 0.4, "bf16"),
        ("gfx1100", 0.9, 0.9, "none"),
        ("gfx1030", 0.1, 0.5, "fp16"),
        ("gfx90a", 0.9, 0.1, "none"),
        ("gfx803", 0.1, 0.1, "none"),
    ],
)
def test_a_mode_is_taken_where_it_is_a_fifth_faster(
    target: str, bf16: float, fp16: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"none": 1.0, "bf16": bf16, "fp16": fp16}
    monkeypatch.setattr(machine, "_fastest", lambda device, step, mode: seconds[mode])
    with card(target):
        assert machine.choose_amp(GPU, lambda mode: None) == chosen


def test_a_mode_that_was_asked_for_is_emulated_aloud(caplog: pytest.LogCaptureFixture) -> None:
    with card("gfx1030"), caplog.at_level(logging.WARNING):
        assert machine.settle(GPU, "fp16", 32, 0, 16 * GIB, lambda mode, count: None) == ("fp16", 32)
        assert not caplog.text
        assert machine.settle(GPU, "bf16", 32, 0, 16 * GIB, lambda mode, count: None) == ("bf16", 32)
    assert "bf16 is asked for, but gfx1030 (RDNA2) has no arithmetic for it" in caplog.text


@pytest.mark.parametrize(
    ("per_image", "memory", "limit_mebibytes", "size"),
    [
        (GIB // 4, 16 * GIB, None, 32),
        (GIB // 2, 16 * GIB, None, 16),  # 16 GiB exactly: no room for what comes on top of it
        (GIB, 16 * GIB, None, 8),  # 32 GiB is refused by the allocator, 16 leave no room
        (GIB // 4, 16 * GIB, 4096, 8),
        (GIB // 4, 4 * GIB, 8192, 8),  # more than there is
        (9 * GIB, 16 * GIB, None, 2),
    ],
)
def test_a_batch_that_does_not_fit_is_cut(per_image: int, memory: int, limit_mebibytes: int | None, size: int) -> None:
    with card(memory=memory) as made:
        limit = machine.prepare(GPU, limit_mebibytes, None)
        assert made.limit == limit == min(memory, (limit_mebibytes or 1 << 20) << 20)
        settled = machine.settle(GPU, "none", 32, 0, limit, lambda mode, count: made.take(count * per_image))
    assert settled == ("none", size)


def test_the_micro_batch_is_that_of_the_mode_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_fastest", lambda device, step, mode: {"none": 1.0, "fp16": 0.5}[mode])
    with card() as made:

        def step(mode: str, count: int) -> None:
            made.take(count * (GIB if mode == "none" else GIB // 2))

        assert machine.settle(GPU, "auto", 32, 0, 16 * GIB, step) == ("fp16", 16)
        assert machine.settle(GPU, "auto", 32, 4, 16 * GIB, step) == ("fp16", 4)
    assert machine.settle(CPU, "none", 32, 0, 0, step) == ("none", 32)


def test_channels_last_only_where_it_helps() -> None:
    plain, grouped = (nn.Sequential(nn.Conv2d(4, 4, 3, groups=groups)) for groups in (1, 4))
    layouts = {}
    for target in ("gfx90a", "gfx1030"):
        for name, model in (("plain", plain), ("grouped", grouped)):
            with card(target):
                layouts[target, name] = machine.memory_format(GPU, model) == torch.channels_last
    assert layouts == {
        ("gfx90a", "plain"): True,
        ("gfx90a", "grouped"): False,
        ("gfx1030", "plain"): False,
        ("gfx1030", "grouped"): False,
    }
    with card("gfx1030", PYTORCH_MIOPEN_SUGGEST_NHWC="1"):
        assert machine.memory_format(GPU, grouped) == torch.channels_last
    assert machine.memory_format(CPU, create_backbone("cxr_small", "none", 0.0)) == torch.channels_last


def test_miopen_keeps_what_it_finds_in_the_store_and_the_record_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topology(tmp_path / "nodes", 0, 100301)
    monkeypatch.setattr(rocm, "KFD", tmp_path / "nodes")
    cache = tmp_path / "miopen"
    with card("gfx1030", HSA_OVERRIDE_GFX_VERSION="10.3.0") as made:
        machine.prepare(GPU, None, cache)
        machine.memory_format(GPU, nn.Sequential())
        (cache / "database" / "gfx1030_36.ufdb.txt").write_text("found")
        made.take(5 * GIB)
        facts = machine.describe(GPU, cache)
        assert rocm.changed() == {
            "HSA_OVERRIDE_GFX_VERSION": "10.3.0",
            "MIOPEN_FIND_MODE": "HYBRID",
            "PYTORCH_MIOPEN_SUGGEST_NHWC": "0",
            "PYTORCH_MIOPEN_SUGGEST_NHWC_BATCHNORM": "0",
        }
    expected = {
        "device": "cuda",
        "hip": "10.1.0",
        "cuda": None,
        "device_name": "FAKE Radeon",
        "architecture": "gfx1030",
        "family": "RDNA2",
        "driver_architectures": ["gfx1031"],
        "override": "10.3.0",
        "memory_mebibytes": 16384,
        "memory_peak_mebibytes": 5120,
    }
    assert {name: facts[name] for name in expected} == expected
    assert facts["miopen"] == {
        "version": torch.backends.cudnn.version(),
        "find_mode": "HYBRID",
        "suggest_nhwc": "0",
        "kept_bytes": 5,
    }


def test_what_the_user_has_set_stays(tmp_path: Path) -> None:
    with card(MIOPEN_FIND_MODE="FAST", MIOPEN_USER_DB_PATH="/mine"):
        machine.prepare(GPU, None, tmp_path)
        found = machine.describe(GPU, tmp_path)["miopen"]
        assert isinstance(found, dict)
        assert (found["find_mode"], found["kept_bytes"]) == ("FAST", 0)


def test_the_driver_tells_cards_and_their_memory(tmp_path: Path) -> None:
    topology(tmp_path, 0, 100300, 90010, memory=8 * GIB)
    assert rocm.cards(tmp_path) == [("gfx1030", 8 * GIB), ("gfx90a", 8 * GIB)]
    assert rocm.cards(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("text", "target"),
    [("10.3.0", "gfx1030"), ("9.0.10", "gfx90a"), ("11.0.0", "gfx1100"), ("banana", None), ("", None)],
)
def test_an_override_is_read_as_the_runtime_reads_it(text: str, target: str | None) -> None:
    assert rocm.overridden({rocm.OVERRIDE: text}) == target


def test_what_the_installed_torch_is_built_for_is_read_without_it() -> None:
    assert rocm.built_for() == torch.version.hip


def test_nothing_of_it_concerns_an_nvidia_card() -> None:
    assert machine.target(GPU) is None or torch.version.hip
    assert machine.target(CPU) is None
    with card():
        assert machine.target(CPU) is None
