"""What ``cxr doctor`` says of GPUs is right from Maxwell to Blackwell, for AMD, and where there is none."""

from pathlib import Path

import pytest

from cxr_core.bench.trtexec.cards import CARDS
from cxr_core.config import load_profile
from cxr_core.engines.capability import ARITHMETIC, DEMANDS, GENERATIONS, generation
from cxr_core.engines.registry import backend
from cxr_core.refs import Precision
from cxr_core.training import rocm
from flows.gpus import gpus, judged, source_experiment, source_told, told
from flows.inputs import unsupported
from flows.settings import PROFILES
from tests.amd import topology
from tests.conftest import Place
from tests.nvidia import children, doubled

NOWHERE = Path("/nowhere")


@pytest.mark.parametrize(
    ("capability", "name", "runs", "emulated", "tensorrt"),
    [
        ("5.0", "Maxwell", "fp32", "fp16 bf16", False),
        ("5.2", "Maxwell", "fp32", "fp16 bf16", False),
        ("6.0", "Pascal", "fp32 fp16", "bf16", False),
        ("6.1", "Pascal", "fp32 int8", "fp16 bf16", False),
        ("7.0", "Volta", "fp32 fp16 int8", "bf16", False),
        ("7.5", "Turing", "fp32 fp16 int8", "bf16", True),
        ("8.0", "Ampere", "fp32 tf32 fp16 bf16 int8", "", True),
        ("8.6", "Ampere", "fp32 tf32 fp16 bf16 int8", "", True),
        ("8.9", "Ada Lovelace", "fp32 tf32 fp16 bf16 fp8 int8", "", True),
        ("9.0", "Hopper", "fp32 tf32 fp16 bf16 fp8 int8", "", True),
        ("10.0", "Blackwell", "fp32 tf32 fp16 bf16 fp8 int8", "", True),
        ("12.0", "Blackwell", "fp32 tf32 fp16 bf16 fp8 int8", "", True),
    ],
)
def test_every_generation(capability: str, name: str, runs: str, emulated: str, tensorrt: bool) -> None:
    found = judged("a card", capability)
    assert found["generation"] == name
    assert [p for p, reason in found["precisions"].items() if not reason] == runs.split()
    assert [p for p, level in found["levels"].items() if level == "native"] == runs.split()
    assert [p for p, level in found["levels"].items() if level == "emulated"] == emulated.split()
    assert (found["tensorrt"] == "") == tensorrt
    line = told(found)
    assert (f"; {', '.join(emulated.split())} emulated in PyTorch alone" in line) == bool(emulated)
    assert f"{capability} ({name})" in line and ("needs compute capability 7.5" in line) != tensorrt


def test_every_card_of_the_table_is_of_a_generation_and_has_peaks_only_for_what_it_can() -> None:
    for card in CARDS:
        assert generation(card.capability) != "unknown"
        reasons = judged(card.name, card.capability)["precisions"]
        assert not [p for p in card.peak if reasons[str(p)]], card.name
    assert generation("3.5") == "unknown"


def test_every_row_of_every_table_has_its_source() -> None:
    for row in (*GENERATIONS, *ARITHMETIC.values(), *DEMANDS, *CARDS, *rocm.ARCHITECTURES):
        assert row.source, row
    assert set(ARITHMETIC) == set(Precision)


def test_the_source_experiments_card_ran_all_four_in_fp32() -> None:
    found = source_experiment()
    assert found["ran"] == {"int8": "fp32", "fp16": "fp32", "tf32": "fp32", "fp32": "fp32"}
    line = source_told(found)
    assert "Tesla M40 (Maxwell) runs fp32 natively and nothing else: int8 needs compute capability 6.1" in line
    assert "all 4 rows were fp32. TensorRT 11 for CUDA 13 needs compute capability 7.5 or newer" in line


def test_cards_are_found_through_cuda_through_the_driver_or_not_at_all(tmp_path: Path) -> None:
    assert gpus(NOWHERE, NOWHERE) == []
    for number, name in enumerate(("Tesla M40 24GB", "Some Card 9000")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "information").write_text(f"Model: \t\t {name}\nIRQ:   65\n")
    named = gpus(tmp_path, NOWHERE)
    assert [(card["name"], card.get("capability")) for card in named] == [
        ("Tesla M40 24GB", "5.2"), ("Some Card 9000", None),
    ]  # fmt: skip
    assert "compute capability not known" in told(named[1])
    with doubled("name:RTX 5090", "capability:12.0", "devices:2", "second:L4"):
        assert [card["name"] for card in gpus(tmp_path, NOWHERE)] == ["FAKE RTX 5090", "FAKE L4"]


@pytest.mark.parametrize(("version", "runs"), [("10.12.0.36", True), ("11.4.0.106", False)])
def test_a_card_is_judged_by_the_tensorrt_that_is_installed(version: str, runs: bool) -> None:
    with doubled("capability:7.0", f"version:{version}"):
        (card,) = gpus(NOWHERE, NOWHERE)
        supported = backend("tensorrt").support(Precision.FP16)
    assert (card["tensorrt"] == "", supported.level == "native") == (runs, runs)


def test_an_amd_card_trains_and_has_no_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*rocm.CHANGES_A_RESULT, "MIOPEN_USER_DB_PATH"):
        monkeypatch.delenv(name, raising=False)
    topology(tmp_path, 0, 100300, 90010)
    rx, mi = gpus(NOWHERE, tmp_path)
    assert told(rx).split("; ") == [
        "GPU AMD gfx1030: RDNA2, 16 GiB",
        "fp32, fp16, int8 natively",
        "bf16 emulated in PyTorch alone",
        "no arithmetic for tf32, fp8",
        "trains in fp32, or in fp16 where that is measured to be a fifth faster",
        "contiguous tensors, MIOpen's find mode HYBRID, micro-batches if a batch does not fit",
        "PyTorch here is not built for ROCm, so training would take the CPU: docs/rocm.md says how to install it",
        "there is no TensorRT for it, so its engines are those of the CPU",
    ]
    assert (mi["name"], mi["amp"], mi["channels_last"]) == ("AMD gfx90a", ["bf16"], True)


def test_an_override_is_told_and_a_misspelt_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topology(tmp_path, 100301)
    monkeypatch.setenv("HSA_OVERRIDE_GFX_VERSION", "11.0.0")
    (found,) = gpus(NOWHERE, tmp_path)
    assert "taken for gfx1100 by HSA_OVERRIDE_GFX_VERSION=11.0.0; fp32, fp16, bf16, int8 natively;" in told(found)
    assert "trains in fp32, or in bf16 or fp16" in told(found)
    monkeypatch.setenv("HSA_OVERRIDE_GFX_VERSION", "gfx1100")
    (found,) = gpus(NOWHERE, tmp_path)
    assert "HSA_OVERRIDE_GFX_VERSION=gfx1100 is not like 10.3.0" in told(found) and found["taken_for"] == "gfx1031"


def test_what_cannot_run_is_known_before_anything_runs() -> None:
    chosen = load_profile(PROFILES / "paper.yaml")
    with doubled("name:M40", "capability:5.2"):
        said = [text for text in unsupported(chosen) if text.startswith("tensorrt")]
    assert len(said) == 1 and said[0].startswith("tensorrt cannot run fp32, tf32, fp16, bf16, int8 here: FAKE M40: Ten")
    with doubled("name:T4", "capability:7.5"):
        said = [text for text in unsupported(chosen) if text.startswith("tensorrt")]
    assert said == [
        "tensorrt cannot run tf32, bf16 here: FAKE T4: needs compute capability 8.0 or newer; this one is 7.5"
    ]


def test_doctor_shows_the_card_in_one_screen(place: Place) -> None:
    done = place.cxr("doctor", **children("name:Tesla T4", "capability:7.5"))
    assert "GPU FAKE Tesla T4, compute capability 7.5 (Turing): fp32, fp16, int8 natively" in done.stdout
    assert "tensorrt tf32, bf16: FAKE Tesla T4: needs compute capability 8.0" in done.stdout
    assert "The source experiment's Tesla M40" in done.stdout
    assert len(done.stdout.splitlines()) <= 40
