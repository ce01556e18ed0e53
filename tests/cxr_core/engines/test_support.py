"""What a CPU can do is read from its flags; every machine named here is a real one."""

from pathlib import Path

import pytest

from cxr_core.config import EngineConfig
from cxr_core.engines import onnxruntime, openvino
from cxr_core.engines.processor import Processor, processor, thread_count
from cxr_core.engines.registry import backend
from cxr_core.errors import MachineError
from cxr_core.refs import Precision

HASWELL = Processor(name="Haswell", flags=("avx", "avx2", "f16c", "fma"))
CASCADE_LAKE = Processor(name="Cascade Lake", flags=("avx2", "avx512_vnni", "avx512f"))
SAPPHIRE_RAPIDS = Processor(
    name="Sapphire Rapids", flags=("amx_bf16", "amx_int8", "avx512_bf16", "avx512_fp16", "avx512_vnni")
)
GRAVITON = Processor(name="Graviton 3", flags=("asimd", "asimddp", "asimdhp", "i8mm"))


@pytest.mark.parametrize(
    ("cpu", "runs"),
    [
        (HASWELL, {"fp32", "int8"}),
        (CASCADE_LAKE, {"fp32", "int8"}),
        (SAPPHIRE_RAPIDS, {"fp32", "fp16", "bf16", "int8"}),
        (GRAVITON, {"fp32", "fp16", "int8"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_openvino(cpu: Processor, runs: set[str]) -> None:
    found = {p: openvino.cpu_support(p, cpu) for p in Precision}
    assert {p for p, support in found.items() if support.level == "native"} == runs
    assert all(support.reason for support in found.values() if support.level == "unsupported")
    assert "avx512_fp16" in openvino.cpu_support(Precision.FP16, HASWELL).reason


def test_int8_without_a_dot_product_says_so() -> None:
    for room in (openvino, onnxruntime):
        assert "Haswell has no" in room.cpu_support(Precision.INT8, HASWELL).reason
        assert room.cpu_support(Precision.INT8, CASCADE_LAKE).reason == ""


def test_onnxruntime_knows_three_precisions_on_every_cpu() -> None:
    levels = {p.value: onnxruntime.cpu_support(p, SAPPHIRE_RAPIDS).level for p in Precision}
    assert levels == {
        "fp32": "native", "int8": "native", "fp16": "emulated",
        "tf32": "unsupported", "bf16": "unsupported", "fp8": "unsupported",
    }  # fmt: skip


def test_cpuinfo_is_read_and_only_arithmetic_flags_kept(tmp_path: Path) -> None:
    (tmp_path / "x86").write_text(
        "processor\t: 0\nmodel name\t: Intel(R)  Xeon(R) @ 2GHz\nflags\t\t: fpu avx2 avx512_bf16 ibrs_enhanced fma\n\n"
    )
    (tmp_path / "arm").write_text("processor : 0\nFeatures : fp asimd asimdhp crc32\n")
    cpu = processor(tmp_path / "x86")
    assert cpu.name == "Intel(R) Xeon(R) @ 2GHz" and cpu.flags == ("avx2", "avx512_bf16", "fma")
    assert cpu.has("amx_bf16", "avx512_bf16") and not cpu.has("amx_bf16")
    assert processor(tmp_path / "arm").flags == ("asimd", "asimdhp")
    assert processor(tmp_path / "missing").flags == () and processor(tmp_path / "missing").name
    assert cpu.flags_digest != HASWELL.flags_digest


def test_threads_are_those_of_the_config_or_all_that_this_process_may_use() -> None:
    import os

    assert thread_count(EngineConfig(threads=3)) == 3
    assert thread_count(EngineConfig()) == len(os.sched_getaffinity(0))


def test_tensorrt_says_what_is_missing_and_builds_nothing(tmp_path: Path) -> None:
    room = backend("tensorrt")
    for precision in Precision:
        support = room.support(precision)
        assert support.level == "unsupported" and "tensorrt" in support.reason
    with pytest.raises(MachineError, match=r"tensorrt cannot be imported .*install the extra 'nvidia'"):
        room.build(
            graph=tmp_path / "graph.onnx", precision=Precision.INT8, engine=tmp_path / "engine",
            config=EngineConfig(), progress=lambda *_: None,
        )  # fmt: skip
    for call in (room.runner, room.inspect):
        with pytest.raises(MachineError, match="tensorrt"):
            call(tmp_path / "engine", precision=Precision.INT8, config=EngineConfig())
    assert not list(tmp_path.iterdir())
