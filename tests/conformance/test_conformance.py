"""Every name that we use of NVIDIA's libraries exists in the real ones, of the oldest and the newest version alike.

``make test-tensorrt`` downloads the bindings; TensorRT's own libraries are replaced by empty ones that are built here.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.used import Walk, walked
from tests.conftest import PROJECT
from tests.nvidia import NVIDIA

WHEELS = PROJECT / "build" / "tensorrt"
VERSIONS = ("10.12.0.36", "10.16.1.11", "11.4.0.106")
ROOM = sorted((PROJECT / "cxr_core" / "engines" / "tensorrt").glob("*.py"))
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
# The only symbols that the bindings leave undefined in their libraries.
SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRuntime_INTERNAL", "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getBuilderPluginRegistry",
    "getPluginRegistry", "getNvOnnxParserVersion", "initLibNvInferPlugins",
)  # fmt: skip
Api = Callable[[str, str], dict[str, Any]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WHEELS.exists(), reason="make test-tensorrt downloads the bindings"),
]


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Empty libraries of a major version: each function answers null."""
    folder = tmp_path_factory.mktemp("libraries")
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    compiler = shutil.which("gcc") or shutil.which("cc") or pytest.skip("no C compiler")

    def made(major: str) -> Path:
        place = folder / major
        if not place.exists():
            place.mkdir()
            for name in (f"lib{library}.so.{major}" for library in LIBRARIES):
                command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", place / name, source]
                subprocess.run(command, check=True)
        return place

    return made


@pytest.fixture(scope="session")
def api(libraries: Callable[[str], Path]) -> Api:
    """``api("tensorrt_bindings", "11.4.0.106")``: what that package offers, by name."""
    known: dict[tuple[str, str], dict[str, Any]] = {}

    def described(module: str, version: str) -> dict[str, Any]:
        if (module, version) not in known:
            environment = os.environ | {"PYTHONPATH": str(WHEELS / version)}
            if module == "tensorrt_bindings":
                environment["LD_LIBRARY_PATH"] = str(libraries(version.partition(".")[0]))
            command = [sys.executable, Path(__file__).with_name("describe.py"), module]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
            known[module, version] = json.loads(done.stdout)
        return known[module, version]

    return described


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_that_is_used_of_tensorrt_exists(version: str, api: Api) -> None:
    found = api("tensorrt_bindings", version)
    assert found["version"] == version
    uses, problems = walked(ROOM, "tensorrt", found["names"])
    assert problems == []
    assert {
        "Builder", "Builder.build_serialized_network", "BuilderFlag.TF32", "IBuilderConfig.set_timing_cache",
        "IBuilderConfig.progress_monitor", "IExecutionContext.execute_async_v3", "ILogger.Severity.WARNING",
        "ParserError.node_name", "IProgressMonitor.step_complete", "IProfiler.report_layer_time", "ITensor.shape",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED", "ITimingCache.combine", "Runtime.deserialize_cuda_engine",
    } <= uses  # fmt: skip
    assert len(uses) > 50


@pytest.mark.parametrize("version", VERSIONS)
def test_our_callbacks_work_on_the_real_classes_and_a_null_factory_is_told(
    version: str, libraries: Callable[[str], Path]
) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(WHEELS / version), str(WHEELS / "nvml"))),
        "LD_LIBRARY_PATH": str(libraries(version.partition(".")[0])),
    }
    command = [sys.executable, Path(__file__).with_name("callbacks.py"), PROJECT]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert (found["warnings"], found["errors"]) == (1, ["ERROR"])
    assert done.stderr.splitlines() == [f"[TensorRT {one}] {one}" for one in ("INFO", "WARNING", "ERROR")]
    assert found["went_on"] is True and found["told"] == [[1250, 3000, "compiling: phase 1/4"]]
    assert found["times"] == {"layer": 1.5} and found["dims"] == [-1, 1, 32, 32]
    assert [text.split(" here")[0] for text in found["refusals"][:2]] == [
        f"TensorRT {version} cannot start its {what}" for what in ("builder", "runtime")
    ]
    if not Path("/dev/nvidia0").exists():
        assert "CUDA finds no GPU (cudaGetDeviceCount: cudaError" in found["support"]
        assert found["refusals"][2].startswith("cudaMalloc failed with cudaError")
        assert found["watch"].startswith("clocks and other processes were not watched (NVML Shared Library Not Found)")


@pytest.mark.parametrize("version", ["13.0.3", ""])
def test_everything_that_is_used_of_cuda_exists(version: str, api: Api) -> None:
    uses, problems = walked(ROOM, "cuda", api("cuda.bindings.runtime", version)["names"])
    assert problems == [] and len(uses) > 20
    assert {
        "cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal", "cudaDeviceProp.totalGlobalMem",
        "cudaDeviceProp.multiProcessorCount", "cudaDeviceProp.uuid", "cudaUUID_t.bytes",
    } <= uses  # fmt: skip


@pytest.mark.parametrize("line", ["about.uid", "about.uuid.octets", "runtime.cudaGetDeviceProps(0)"])
def test_a_wrong_use_of_cuda_is_found(line: str, api: Api) -> None:
    walk = Walk("cuda", api("cuda.bindings.runtime", "")["names"], "planted").of(ast.parse(line))
    assert walk.problems and all("does not exist" in problem for problem in walk.problems)


def test_everything_that_is_used_of_nvml_exists(api: Api) -> None:
    watching = PROJECT / "cxr_core" / "bench" / "gpu_state.py"
    uses, problems = walked([*ROOM, watching], "pynvml", api("pynvml", "nvml")["names"])
    assert problems == [] and {"nvmlSystemGetDriverVersion", "nvmlDeviceGetComputeRunningProcesses"} <= uses
    assert len(uses) == 22


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("builder.platform_has_fast_fp16", "Builder.platform_has_fast_fp16 does not exist"),
        ("trt.BuilderFlag.FP16", "BuilderFlag.FP16 does not exist"),
        ("settings.set_timing_cache(timing)", "is given 1 arguments"),
        ("settings.set_timing_cache(timing, ignore=False)", "is given 1 arguments and ['ignore']"),
        ("plan.nbytes = 3", "IHostMemory.nbytes cannot be set"),
        ("other = builder.create_network(0)", "other holds a INetworkDefinition and is not listed as one"),
        ("parser.get_error(0).node_title()", "ParserError.node_title does not exist"),
        ("class A(trt.IProfiler):\n def report(self): pass", "IProfiler.report does not exist"),
        ("class A(trt.IProfiler):\n def report_layer_time(self, a): pass", "takes [2] parameters"),
    ],
)
def test_a_wrong_use_is_found(line: str, says: str, api: Api) -> None:
    walk = Walk("tensorrt", api("tensorrt_bindings", "11.4.0.106")["names"], "planted").of(ast.parse(line))
    assert any(says in problem for problem in walk.problems), walk.problems


def test_what_ten_has_and_eleven_has_not_is_told_apart(api: Api) -> None:
    line = ast.parse(
        "trt.BuilderFlag.FP16; builder.platform_has_fast_fp16; trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH"
    )
    counts = [
        len(Walk("tensorrt", api("tensorrt_bindings", v)["names"], "planted").of(line).problems) for v in VERSIONS
    ]
    assert counts == [0, 0, 3]


@pytest.mark.parametrize(
    ("file", "module", "version"),
    [
        ("tensorrt/__init__.py", "tensorrt_bindings", "10.12.0.36"),
        ("tensorrt/__init__.py", "tensorrt_bindings", "11.4.0.106"),
        ("cuda/bindings/runtime.py", "cuda.bindings.runtime", ""),
        ("pynvml.py", "pynvml", "nvml"),
    ],
)
def test_the_doubles_offer_nothing_that_the_real_ones_do_not(file: str, module: str, version: str, api: Api) -> None:
    """Public methods, properties and functions, with the real parameters' names."""
    offered, found = api(module, version)["names"], []
    tree = ast.parse((NVIDIA / file).read_text(encoding="utf-8"))
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in offered):
        for method in (one for one in owner.body if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")):
            member = offered[owner.name]["members"].get(method.name)
            assert member, f"{owner.name}.{method.name}"
            _same(f"{owner.name}.{method.name}", method, member)
            found.append(method.name)
    for function in (
        one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name.startswith(("cuda", "nvml"))
    ):
        _same(function.name, function, offered[function.name])
        found.append(function.name)
    assert len(found) >= 3


def _same(path: str, ours: ast.FunctionDef, real: dict[str, Any]) -> None:
    names = [one.arg for one in ours.args.args if one.arg != "self"]
    offered = [one["names"] for one in real.get("signatures", ())]
    assert not offered or names in [one[: len(names)] for one in offered], (path, names, offered)
