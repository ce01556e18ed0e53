"""The TensorRT room over doubles of NVIDIA's libraries: both versions' shapes, and every way in which it can fail."""

import ctypes
import errno
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cxr_doubles.graphs import SIZE, images, small_model

from cxr_core.config import EngineConfig, Profile
from cxr_core.engines.engine import engine
from cxr_core.engines.opening import open_engine
from cxr_core.engines.registry import backend
from cxr_core.engines.tensorrt import gpu_support
from cxr_core.engines.tensorrt.device import alike, gpu
from cxr_core.engines.tensorrt.inspector import timed_layers, weight_shares
from cxr_core.engines.tensorrt.library import checked
from cxr_core.engines.tensorrt.monitor import Phases
from cxr_core.errors import BranchError, MachineError, ModelError
from cxr_core.refs import Precision
from tasks.engine import backend_machine
from tests.nvidia import doubled, telling

CONFIG = EngineConfig(batches=(1, 8, 16))
Graphs = Callable[[str], Path]
versions = pytest.mark.parametrize("version", ["10.12.0.36", "10.16.1.11", "11.4.0.106"])


@pytest.fixture(autouse=True)
def _over_the_doubles(request: pytest.FixtureRequest) -> Iterator[None]:
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    with doubled(f"version:{parameters.get('version', '11.4.0.106')}"):
        yield


@pytest.fixture
def make(graphs: Graphs, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``make("int8")`` runs the engine stage into ``tmp_path``."""

    def made(
        precision: str = "fp32", graph: str | Path | None = None, config: EngineConfig = CONFIG, **more: Any
    ) -> Any:
        source = graph if isinstance(graph, Path) else graphs(graph or precision)
        return engine(
            graph=source, out=tmp_path, precision=Precision(precision), backend="tensorrt", config=config, **more
        )

    return made


def opened(folder: Path, config: EngineConfig = CONFIG) -> Any:
    return open_engine(folder / "engine", folder / "engine.json", config=config)[0]


def cuda() -> Any:
    return sys.modules["cuda.bindings.runtime"]


@versions
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16", "int8"])
def test_every_precision_says_what_really_runs(
    version: str, precision: str, make: Callable[..., Any], tmp_path: Path
) -> None:
    found = make(precision)
    assert found["effective"][precision] > (0.1 if precision == "int8" else 0.6)  # between int8 layers fp32 ones remain
    assert found["effective"].keys() <= {precision, "fp32", "reformat"} and found["weighted_by"] == "time"
    stored = {"tf32": "fp32"}.get(precision, precision)
    assert max(found["weights"], key=found["weights"].get) == stored
    assert sum(found["effective"].values()) == pytest.approx(1, abs=1e-4)
    assert found["layers"].keys() == found["effective"].keys()
    assert sum(found["layers"].values()) == pytest.approx(1, abs=1e-4)
    told = json.loads((tmp_path / "layers.json").read_text())
    assert all(set(row) == {"name", "kind", "precision", "inputs", "outputs", "tactic"} for row in told)
    assert found["device"] == "FAKE H100"


@versions
def test_int8_asked_of_an_fp32_graph_is_reported_as_fp32(version: str, make: Callable[..., Any]) -> None:
    found = make("int8", graph="fp32")
    assert found["effective"].keys() <= {"fp32", "reformat"} and "int8 was asked for" in found["note"]


@versions
def test_names_alone_and_keys_that_are_not_known_give_unknown(version: str, make: Callable[..., Any]) -> None:
    for odd in ("names_only", "odd_keys"):
        with telling(f"version:{version}", odd):
            found = make("int8")
        assert set(found["effective"]) <= {"unknown", "reformat"}, odd
        assert "int8 was asked for" in found["note"] or "could not be read back" in found["note"]


def test_what_a_plan_depends_on_lies_beside_it_and_nothing_of_time(make: Callable[..., Any], tmp_path: Path) -> None:
    make("tf32")
    beside = json.loads((tmp_path / "engine.json").read_text())
    assert beside["built_for"] == {
        "version": "11.4.0.106", "device": "FAKE H100", "capability": "9.0", "driver": "580.95.05",
    }  # fmt: skip
    shapes = [[batch, 1, SIZE, SIZE] for batch in (1, 8, 16)]
    assert beside["built_with"] == {
        "profile": shapes, "tf32": True, "optimization_level": 3, "workspace_mebibytes": 4096,
    }  # fmt: skip
    first = (tmp_path / "engine.json").read_bytes()
    make("tf32")
    assert (tmp_path / "engine.json").read_bytes() == first


def test_only_tf32_sets_the_flag(make: Callable[..., Any], tmp_path: Path) -> None:
    for precision in ("fp32", "tf32", "fp16", "int8"):
        make(precision)
        assert json.loads((tmp_path / "engine").read_bytes().split(b"\n")[1])["tf32"] is (precision == "tf32"), (
            precision
        )


# ---- running ----


@pytest.mark.parametrize("graph", [False, True], ids=["launched", "cuda-graph"])
def test_any_batch_of_the_profile_is_bound_and_others_are_refused(
    graph: bool, make: Callable[..., Any], tmp_path: Path
) -> None:
    make()
    with opened(tmp_path) as runner:
        whole = runner(images(16))
    with opened(tmp_path, CONFIG.model_copy(update={"cuda_graph": graph})) as runner:
        for count in (1, 7, 16, 1):
            np.testing.assert_allclose(runner(images(16)[:count]), whole[:count], atol=2e-4)
            assert runner.bound_images == count
            assert runner.execution.cuda_graph == graph
        with pytest.raises(ModelError, match=r"17 images at once, the plan takes 1 to 16: .*engine\.batches"):
            runner(images(17))
        with pytest.raises(ModelError, match="0 images at once"):
            runner(images(1)[:0])
        with pytest.raises(ModelError, match="do not fit the engine's input float32"):
            runner(images(2).astype(np.float64))
        np.testing.assert_allclose(runner(images(16)), whole, atol=2e-4)


def test_where_a_query_spent_its_time_is_told_by_events(make: Callable[..., Any], tmp_path: Path) -> None:
    make()
    with opened(tmp_path) as runner:
        assert runner.spans is None
        began = time.perf_counter()
        runner(images(16))
        host = (time.perf_counter() - began) * 1000
        first = runner.spans
        assert first.compute > first.h2d > 0 and first.compute > first.d2h > 0 and first.enqueue > 0
        assert first.h2d + first.compute + first.d2h <= host
        runner(images(1))
        assert runner.spans != first


def test_without_transfers_nothing_is_copied_while_a_stream_computes(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: Any
) -> None:
    make()
    runtime, copied, copy = cuda(), [], cuda().cudaMemcpyAsync
    with opened(tmp_path) as runner:
        expected = runner(images(4))
        runner(images(9)[5:])
        (stream,) = runner.streams(1)
        stream.load(images(4))
        monkeypatch.setattr(runtime, "cudaMemcpyAsync", lambda *a: (copied.append(a[3].name), copy(*a))[1])
        for _ in range(3):
            stream.begin(None)
            stream.end()
            spans = stream.spans
            assert (spans.h2d, spans.d2h) == (0, 0) and spans.compute > 0 and stream.bound_images == 4
        assert copied == [] and runner.execution.transfers is False
        np.testing.assert_allclose(stream.answers(), expected, atol=2e-4)
        assert copied == ["cudaMemcpyDeviceToHost"]
        stream.load(images(4))
        assert np.isnan(stream.answers()).all()  # nothing has computed since
        runner(images(4))
        assert copied[-2:] == ["cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"] and runner.execution.transfers
        assert runner.spans.h2d > 0 and runner.spans.d2h > 0


@pytest.mark.parametrize("graph", [False, True], ids=["launched", "cuda-graph"])
def test_streams_work_at_once_each_in_memory_of_its_own(graph: bool, make: Callable[..., Any], tmp_path: Path) -> None:
    make()
    fed = images(9)
    with opened(tmp_path, CONFIG.model_copy(update={"cuda_graph": graph})) as runner:
        whole = runner(fed)
        streams = runner.streams(3)
        assert runner.streams(1) == streams[:1] and runner.execution.streams == 1
        assert runner.streams(3) == streams
        for place, stream in enumerate(streams):
            stream.begin(fed[3 * place : 3 * place + 3])
        assert [len(queue.queue) > 0 for queue in cuda()._streams.values()] == [True] * 3  # enqueued, none waited for
        for stream in reversed(streams):
            stream.end()
        for place, stream in enumerate(streams):
            np.testing.assert_allclose(stream.answers(), whole[3 * place : 3 * place + 3], atol=2e-4)
            assert stream.spans.compute > 0 and stream.bound_images == 3
        each = 1 + 16 * 4 * (SIZE * SIZE + 2) / (1 << 20)  # a context, and buffers for 16 images and their logits
        assert runner.execution.model_dump() == {
            "streams": 3, "transfers": True, "cuda_graph": graph, "spin_wait": True,
            "memory_mebibytes": round(3 * each, 3),
        }  # fmt: skip
        free = cuda().cudaMemGetInfo()
        weights = (tmp_path / "engine").stat().st_size / (1 << 20)
        assert (free[2] - free[1]) / (1 << 20) == pytest.approx(3 * each + weights)
    assert cuda().live == {} and cuda()._streams == {} and len(cuda().held) == 0


@pytest.mark.parametrize(
    ("limit", "memory", "says"),
    [
        (8192, 3, r"needs 3\.2 MiB \(weights 0\.0 MiB; 3 x 1\.1 MiB for .*\); 1\.9 MiB are free on the GPU"),
        (3, 80, r"78\.9 MiB are free .*memory_mebibytes is 3: lower benchmark\.streams or engine\.batches"),
    ],
)
def test_streams_that_do_not_fit_are_refused_before_any_of_their_memory_is_taken(
    limit: int, memory: int, says: str, make: Callable[..., Any], tmp_path: Path
) -> None:
    make()
    with (
        telling(f"memory:{memory}"), opened(tmp_path, CONFIG.model_copy(update={"memory_mebibytes": limit})) as runner,
    ):  # fmt: skip
        taken = dict(cuda().live)
        with pytest.raises(MachineError, match=says):
            runner.streams(3)
        assert cuda().live == taken
        assert len(runner.streams(2)) == 2  # as many as fit


def test_a_network_that_cannot_be_captured_runs_without(make: Callable[..., Any], tmp_path: Path, caplog: Any) -> None:
    make()
    with telling("no_graph"), opened(tmp_path, CONFIG.model_copy(update={"cuda_graph": True})) as runner:
        assert np.isfinite(runner(images(4))).all()
        assert "cannot be captured as a CUDA graph" in caplog.text and "capturing" in caplog.text


@pytest.mark.parametrize("fault", ["not executed", "not instantiated"])
def test_a_captured_graph_of_no_use_is_destroyed(
    fault: str, make: Callable[..., Any], tmp_path: Path, monkeypatch: Any
) -> None:
    make()
    runtime, graphs = cuda(), []
    end, destroy, execute = (
        runtime.cudaStreamEndCapture, runtime.cudaGraphDestroy,
        sys.modules["tensorrt"].IExecutionContext.execute_async_v3,
    )  # fmt: skip

    def cudaGraphDestroy(graph: Any) -> Any:  # noqa: N802
        graphs.remove(graph)
        return destroy(graph)

    def cudaGraphInstantiate(graph: Any, flags: int) -> Any:  # noqa: N802
        return runtime.cudaError_t.cudaErrorMemoryAllocation, None

    monkeypatch.setattr(runtime, "cudaStreamEndCapture", lambda s: (found := end(s), graphs.append(found[1]))[0])
    monkeypatch.setattr(runtime, "cudaGraphDestroy", cudaGraphDestroy)
    with opened(tmp_path, CONFIG.model_copy(update={"cuda_graph": True})) as runner:
        if fault == "not executed":
            monkeypatch.setattr(
                sys.modules["tensorrt"].IExecutionContext, "execute_async_v3",
                lambda self, handle: runtime.stream_of(handle).captured is None and execute(self, handle),
            )  # fmt: skip
            assert np.isfinite(runner(images(4))).all() and runner.execution.cuda_graph is False
        else:
            monkeypatch.setattr(runtime, "cudaGraphInstantiate", cudaGraphInstantiate)
            with pytest.raises(MachineError, match="cudaGraphInstantiate failed with cudaErrorMemoryAllocation"):
                runner(images(4))
    assert graphs == []


def test_everything_taken_is_given_back(make: Callable[..., Any], tmp_path: Path) -> None:
    make("fp16")
    assert cuda().live == {}
    with opened(tmp_path, CONFIG.model_copy(update={"cuda_graph": True})) as runner:
        runner(images(3))
        assert len(cuda().live) == 4 and len(cuda()._streams) == 1
    assert cuda().live == {} and cuda()._streams == {}


@pytest.mark.parametrize("fault", ["context_none", "refuse", "null", "memory:1"])
def test_an_opening_that_fails_leaves_nothing_taken(fault: str, make: Callable[..., Any], tmp_path: Path) -> None:
    make()
    says = {
        "context_none": "no execution context .*OutOfMemory.*no room left",
        "refuse": "refuses fp32 plan engine: .*not compatible with this device; build it here",
        "null": "cannot start its runtime here",
        "memory:1": r"needs 1\.1 MiB .*1\.0 MiB are free .*lower engine\.batches",
    }
    with telling(fault), pytest.raises(MachineError, match=says[fault]):
        opened(tmp_path)
    assert cuda().live == {} and cuda()._streams == {}


def test_never_more_memory_than_stated(make: Callable[..., Any], tmp_path: Path) -> None:
    make()
    with pytest.raises(MachineError, match=r"engine\.memory_mebibytes is 1: lower engine\.batches, or raise the limit"):
        opened(tmp_path, CONFIG.model_copy(update={"memory_mebibytes": 1}))
    assert cuda().live == {}


def test_a_plan_whose_weights_do_not_fit_is_refused_before_it_is_deserialised(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: Any
) -> None:
    make()
    deserialised: list[bytes] = []
    monkeypatch.setattr(
        sys.modules["tensorrt"].Runtime, "deserialize_cuda_engine", lambda self, plan: deserialised.append(plan)
    )
    with (
        telling("memory:0"),
        pytest.raises(MachineError, match=r"\(weights 0\.0 MiB\); 0\.0 MiB are free .*: end other"),
    ):
        opened(tmp_path)
    assert deserialised == []


def test_a_failed_allocation_names_its_call(make: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    make()
    runtime = cuda()

    def cudaMallocHost(size: int) -> tuple[Any, ...]:  # noqa: N802
        return runtime.cudaError_t.cudaErrorMemoryAllocation, None

    monkeypatch.setattr(runtime, "cudaMallocHost", cudaMallocHost)
    with pytest.raises(MachineError, match=r"cudaMallocHost failed with cudaErrorMemoryAllocation \(2\); .*no room"):
        opened(tmp_path)
    assert runtime.live == {} and runtime._streams == {}


def test_a_closed_runner_refuses_and_stale_memory_is_found_out(make: Callable[..., Any], tmp_path: Path) -> None:
    make()
    with opened(tmp_path) as runner:
        answers = runner(images(2))
    with pytest.raises(MachineError, match="fp32 plan engine was closed; open it again"):
        runner(images(2))
    assert np.isfinite(answers).all()
    runtime = cuda()
    address = checked(runtime.cudaMalloc, 64)
    checked(runtime.cudaFree, address)
    with pytest.raises(MachineError, match=r"cudaFree failed with cudaErrorInvalidValue \(1\)"):
        checked(runtime.cudaFree, address)
    stream = checked(runtime.cudaStreamCreateWithFlags, 1)
    with pytest.raises(MachineError, match="cudaMemcpyAsync failed"):
        checked(runtime.cudaMemcpyAsync, address, address, 64, runtime.cudaMemcpyKind.cudaMemcpyHostToDevice, stream)
    assert np.isnan((ctypes.c_float * 16).from_address(address)).all()


def test_memory_freed_under_a_running_plan_ends_in_an_error_not_in_answers(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    make()
    runtime, runner = cuda(), opened(tmp_path)
    runner(images(2))
    (stream,) = runner.streams(1)
    checked(runtime.cudaFree, stream._device_out)
    stream._device_out = stream._device_in
    with pytest.raises(MachineError, match=r"cudaStreamSynchronize failed with cudaErrorIllegalAddress \(700\)"):
        runner(images(2))
    with pytest.raises(ValueError, match="ours"), runner:
        raise ValueError("ours")  # freeing fails too, and does not hide what came first


# ---- building ----


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("parser", ModelError, r"cannot parse fp32\.onnx for fp32: node 3 \(Slice\): told to refuse it"),
        ("build_none", ModelError, "makes no plan of fp32.onnx for fp32: Error Code 10: Could not find any impl"),
        ("null", MachineError, "cannot start its builder here: TensorRT logged no error .*nullptr"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_no_plan(
    fault: str, kind: type[Exception], says: str, make: Callable[..., Any], tmp_path: Path
) -> None:
    with telling(fault), pytest.raises(kind, match=says):
        make()
    assert not list(tmp_path.iterdir())


def _quantised(zero: Any, scale: Any) -> onnx.ModelProto:
    model = small_model()
    model.graph.initializer.extend(
        [onnx.numpy_helper.from_array(zero, "zero"), onnx.numpy_helper.from_array(scale, "scale")]
    )
    stem = next(node for node in model.graph.node if node.name == "stem")
    names = [stem.input[0], "narrow", "wide"]
    pairs = [
        onnx.helper.make_node("QuantizeLinear", [names[0], "scale", "zero"], ["narrow"], name="q", axis=1),
        onnx.helper.make_node("DequantizeLinear", ["narrow", "scale", "zero"], ["wide"], name="dq", axis=1),
    ]
    stem.input[0] = "wide"
    place = list(model.graph.node).index(stem)
    for pair in reversed(pairs):
        model.graph.node.insert(place, pair)
    return model


@pytest.mark.parametrize(
    ("zero", "scale", "says"),
    [
        (np.int8(3), np.float32(0.1), r"node q \(QuantizeLinear\): TensorRT only supports symmetric quantization"),
        (np.zeros(2, np.int8), np.float32([0.1, 0.2]), r"node q \(QuantizeLinear\): per-channel scales"),
    ],
)
def test_q_dq_that_tensorrt_refuses_is_named_by_node(
    zero: Any, scale: Any, says: str, make: Callable[..., Any], tmp_path: Path
) -> None:
    onnx.save(_quantised(np.asarray(zero), np.asarray(scale)), tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match=says):
        make("int8", graph=tmp_path / "odd.onnx")


def test_int32_biases_are_refused_and_every_parser_error_is_shown(
    make: Callable[..., Any], tmp_path: Path, capfd: Any
) -> None:
    model = small_model()
    for place, conv in enumerate([n for n in model.graph.node if n.op_type == "Conv"]):
        bias = next(t for t in model.graph.initializer if t.name == conv.input[2])
        whole = np.zeros(bias.dims, np.int32)
        model.graph.initializer.extend(
            [onnx.numpy_helper.from_array(whole, f"b{place}"), onnx.numpy_helper.from_array(np.float32(1), f"s{place}"),
             onnx.numpy_helper.from_array(np.int32(0), f"z{place}")]
        )  # fmt: skip
        inputs = [f"b{place}", f"s{place}", f"z{place}"]
        model.graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", inputs, [f"d{place}"], name=f"dq{place}"))
        conv.input[2] = f"d{place}"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(
        ModelError, match=r"activation types allowed.*; node dq\d .*; and 3 more, all in the attempt's log"
    ):
        make("int8", graph=tmp_path / "odd.onnx")
    logged = capfd.readouterr().err
    assert logged.count("[TensorRT ERROR] node ") == 11
    assert all(f"node dq{place} (DequantizeLinear)" in logged for place in range(11))


def test_a_graph_of_mixed_types_is_refused_as_strong_typing_does(make: Callable[..., Any], tmp_path: Path) -> None:
    model = small_model()
    for tensor in model.graph.initializer:
        if tensor.name == "head.weight":
            half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match=r"cannot parse odd\.onnx for fp16"):
        make("fp16", graph=tmp_path / "odd.onnx")


def test_progress_comes_from_other_threads_rises_and_stops_at_the_end(make: Callable[..., Any]) -> None:
    told: list[tuple[int, int, str]] = []
    threads = set()

    def progress(done: int, total: int, text: str) -> None:
        threads.add(threading.get_ident())
        told.append((done, total, text))

    make(progress=progress)
    shares = [done / total for done, total, _ in told]
    assert threads > {threading.get_ident()} and shares == sorted(shares) and shares[-1] == 1
    assert any("Tactic selection" in text for _, _, text in told)


def test_a_progress_that_raises_cancels_the_build(make: Callable[..., Any], tmp_path: Path) -> None:
    def progress(done: int, total: int, text: str) -> None:
        if "Tactic selection 5" in text:
            raise BranchError("stopped by hand")

    with pytest.raises(BranchError, match="stopped by hand"):
        make(progress=progress)
    assert not list(tmp_path.iterdir())


def test_phases_may_end_early_be_reused_and_never_go_back() -> None:
    phases = Phases()
    phases.start("outer", None, 4)
    phases.start("inner", "outer", 10)
    phases.step("inner", 4)
    assert phases.fraction("inner") == pytest.approx(0.125)
    phases.finish("inner")
    phases.step("outer", 1)
    assert phases.fraction("outer") == 0.5
    phases.start("inner", "outer", 100)
    phases.step("inner", 0)
    assert phases.fraction("inner") > 0.5
    phases.start("outer", None, 4)
    assert phases.fraction("outer") > 0.5 and phases.told("nothing") == "nothing 0/0"


def test_warnings_are_counted_and_the_log_goes_to_standard_error(make: Callable[..., Any], capfd: Any) -> None:
    with telling("warn"):
        found = make()
    assert "TensorRT gave 2 warnings" in found["note"] and found["build"]["warnings"] == 2
    assert "[TensorRT WARNING] warning number 1" in capfd.readouterr().err


def test_a_log_that_cannot_be_written_costs_no_build(make: Callable[..., Any], monkeypatch: Any) -> None:
    class Full:
        def write(self, text: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    with telling("warn"):
        assert make()["build"]["warnings"] == 2


# ---- the timing cache ----


def test_the_timing_cache_is_cold_then_warm_and_one_per_environment(make: Callable[..., Any], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert make(cache=cache)["build"]["timing_cache"] == "cold"
    assert make(cache=cache)["build"]["timing_cache"] == "warm"
    with telling("driver:999.1"):
        assert make(cache=cache)["build"]["timing_cache"] == "cold"
    abouts = [json.loads(file.read_text()) for file in cache.glob("*.json")]
    assert sorted(about["driver"] for about in abouts) == ["580.95.05", "999.1"]
    assert not [file for file in cache.iterdir() if file.suffix not in (".timing", ".json", ".lock")]


@pytest.mark.parametrize("content", [b"not a cache", b'{"of": {"device": "another"}, "tactics": {"foreign": 1}}'])
def test_a_cache_that_is_none_or_of_another_device_is_begun_anew(
    content: bytes, make: Callable[..., Any], tmp_path: Path
) -> None:
    make(cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.timing")
    file.write_bytes(content)
    found = make(cache=tmp_path / "cache")
    assert found["build"]["timing_cache"] == "refused" and "refused the timing cache" in found["note"]
    assert "stem" in json.loads(file.read_bytes())["tactics"] and b"foreign" not in file.read_bytes()
    assert make(cache=tmp_path / "cache")["build"]["timing_cache"] == "warm"


def test_what_others_measured_meanwhile_is_kept(make: Callable[..., Any], tmp_path: Path) -> None:
    make(cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.timing")

    def meanwhile(done: int, total: int, text: str) -> None:
        if "Tactic selection" in text:
            kept = json.loads(file.read_bytes())
            kept["tactics"]["of another build"] = 1.0
            file.write_bytes(json.dumps(kept).encode())

    make(cache=tmp_path / "cache", progress=meanwhile)
    assert {"stem", "of another build"} <= set(json.loads(file.read_bytes())["tactics"])


def test_a_cache_that_cannot_be_written_costs_no_build(make: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    found = make(cache=tmp_path / "file" / "cache")
    assert "the timing cache could not be kept" in found["note"] and (tmp_path / "engine").stat().st_size


# ---- what the machine can do ----


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("no_gpu", "CUDA finds no GPU.*cudaErrorNoDevice.*install NVIDIA's driver"),
        (
            "capability:5.2",
            r"TensorRT 11 for CUDA 13 needs compute capability 7\.5 or newer; this GPU has 5\.2 \(Maxwell",
        ),
        ("capability:7.0", r"needs compute capability 7\.5 or newer; this GPU has 7\.0 \(Volta\)"),
    ],
)
def test_a_machine_that_cannot_is_told_why(told: str, says: str, make: Callable[..., Any]) -> None:
    import re

    with telling(told):
        for precision in Precision:
            found = backend("tensorrt").support(precision)
            assert found.level == "unsupported" and re.search(says, found.reason)
        with pytest.raises(MachineError, match=says):
            make()


@pytest.mark.parametrize("version", ["10.11.0.33", "12.0.0.1", "8.6.1"])
def test_versions_that_are_not_known_are_named(version: str) -> None:
    found = backend("tensorrt").support(Precision.FP32)
    assert f"tensorrt {version} is installed; versions 10.12 to 11.x are known" in found.reason


@versions
def test_volta_runs_under_ten_for_cuda_12_alone(version: str) -> None:
    with telling("capability:7.0"):
        level = backend("tensorrt").support(Precision.FP16).level
    assert level == ("native" if version.startswith("10") else "unsupported")


def test_what_each_generation_runs() -> None:
    runs = {
        "7.5": {"fp32", "fp16", "int8"},
        "8.0": {"fp32", "tf32", "fp16", "bf16", "int8"},
        "8.9": {"fp32", "tf32", "fp16", "bf16", "int8"},
        "12.0": {"fp32", "tf32", "fp16", "bf16", "int8"},
    }
    for capability, expected in runs.items():
        with telling(f"capability:{capability}"):
            here = gpu()
        assert {p for p in Precision if gpu_support(p, here, 11).level == "native"} == expected, capability


GPU, SECOND = (f"GPU-46414b45-2d47-5055-2d55-5549442d313{last}" for last in (6, 7))
PIECES = [f"MIG-46414b45-2d47-5055-2d55-5549442d3{piece}3{last}" for last in (6, 7) for piece in (2, 3)]


@pytest.mark.parametrize(
    ("told", "visible", "devices"),
    [
        ((), None, [GPU]),
        (("devices:2",), None, [GPU, SECOND]),
        (("devices:2",), "1,0", [SECOND, GPU]),
        (("devices:2",), "1", [SECOND]),
        (("devices:2",), SECOND, [SECOND]),
        (("devices:2",), f"{SECOND},{GPU[:40]}", [SECOND, GPU]),
        (("devices:2", "second:L4"), None, [GPU]),  # another model would build other engines
        (("devices:2", "second:L4"), "1,0", [SECOND]),
        (("devices:2", "slices:2"), None, PIECES),
        (("devices:2", "slices:2"), f"{PIECES[2]}, {PIECES[1]}", [PIECES[2], PIECES[1]]),
        (("devices:2", "slices:2"), PIECES[3], [PIECES[3]]),
        (("no_gpu",), None, ["no-gpu"]),
        ((), "", ["no-gpu"]),
        (("slices:2",), "0", ["no-gpu"]),
    ],
)
def test_gpus_and_slices_that_are_like_the_first(
    told: tuple[str, ...], visible: str | None, devices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with telling(*told):
        assert list(backend("tensorrt").devices()) == devices
    assert backend("openvino").devices() == ("cpu",)


def test_a_slice_that_cannot_be_named_is_an_error_that_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with telling("slices:2"), pytest.raises(MachineError, match=r"name slices by their UUIDs, MIG-.* nvidia-smi -L"):
        alike()


def test_two_cards_of_one_model_share_what_was_built_and_no_uuid_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    with telling("devices:2"):
        for uuid in (GPU, SECOND):
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", uuid)
            found.append(backend_machine({"backend": "tensorrt"}))
    assert found[0] == found[1]
    assert set(found[0]) == {"version", "device", "capability", "driver"} and "46414b45" not in str(found)


@versions
def test_a_plan_of_another_version_or_gpu_is_refused_unloaded(
    version: str, make: Callable[..., Any], tmp_path: Path
) -> None:
    make()
    with telling("name:L4", "capability:8.9"), pytest.raises(MachineError, match="built elsewhere: capability: built"):
        opened(tmp_path)
    other = "11.4.0.106" if version.startswith("10") else "10.16.1.11"
    with doubled(f"version:{other}"), pytest.raises(MachineError, match=f"version: built for '{version}', here"):
        opened(tmp_path)


def test_a_profile_whose_batches_tensorrt_would_refuse_is_refused_before_the_run() -> None:
    wide = {"name": "wide", "benchmark": {"throughput_batch": 128}, "accuracy": {"batch": 4}}
    assert Profile.model_validate(wide).benchmark.throughput_batch == 128
    with pytest.raises(
        ValueError, match=r"engine\.batches \[1, 32, 64\] must cover benchmark\.throughput_batch = 128:"
    ):
        Profile.model_validate(wide | {"backends": ["tensorrt"]})
    with pytest.raises(ValueError, match="batches must not fall"):
        EngineConfig(batches=(8, 4, 16))


# ---- reading the inspector ----


def layer(name: str, kind: str = "CaskConvolution", tactic: str = "", **tensor: str) -> dict[str, Any]:
    return {"Name": name, "LayerType": kind, "TacticName": tactic, "Inputs": [tensor], "Outputs": []}


@pytest.mark.parametrize(
    ("told", "precision"),
    [
        (layer("a", **{"Format/Datatype": "Row major Int8 format"}), "int8"),
        (layer("a", **{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}), "fp16"),
        (layer("a", **{"Format/Datatype": "Row major linear FP32"}), "fp32"),
        (layer("a", **{"Format/Datatype": "Row major linear BF16"}), "bf16"),
        (layer("a", Format="Row major linear", Datatype="Half"), "fp16"),
        (layer("a", Format="Row major linear", DataType="BFloat16"), "bf16"),
        (layer("a", Format="Row major linear", DataType="Float"), "fp32"),
        (layer("a", Format="Row major linear", DataType="Float8E4M3"), "fp8"),
        (layer("a", tactic="sm80_xmma_fprop_tf32", DataType="Float"), "tf32"),
        (layer("a", tactic="sm80_xmma_fprop_tf32", DataType="Half"), "fp16"),
        (layer("a", DataType="Complex"), "unknown"),
        (layer("a", Layout="Row major linear FP32"), "unknown"),
        ({"Name": "a", "LayerType": "CaskConvolution"}, "unknown"),
        ({"Name": "a", "LayerType": "CaskConvolution", "Inputs": []}, "unknown"),
        (layer("__myl_ConvMul_0x1", "kgen", DataType="Half"), "myelin"),
        (layer("{ForeignNode[a...b]}", "Myelin", DataType="Half"), "myelin"),
        (layer("a", "Reformat", DataType="Half"), "reformat"),
        ("a", "unknown"),
    ],
)
def test_a_layers_precision(told: Any, precision: str) -> None:
    (found,) = timed_layers([told], {})
    assert found.precision == precision


def test_a_layers_formats_and_tactic_are_told_as_the_inspector_tells_them() -> None:
    ten = layer("a", tactic="sm80_conv", **{"Format/Datatype": "Row major Int8 format"})
    (found,) = timed_layers([ten | {"Outputs": [{"Format/Datatype": "Row major linear FP32"}]}], {})
    assert (found.inputs, found.outputs) == (("Row major Int8 format",), ("Row major linear FP32",))
    eleven = layer("a", Format="Row major linear", Datatype="Half") | {"Outputs": [{"Layout": "?"}]}
    (other,) = timed_layers([eleven], {})
    assert (other.inputs, other.outputs) == (("Row major linear Half",), ("unknown",))
    assert (found.tactic, other.tactic) == ("sm80_conv", "")
    (bare,) = timed_layers(["a"], {})
    assert (bare.inputs, bare.outputs, bare.tactic) == ((), (), "")


def test_index_arithmetic_and_constants_do_not_count_and_unnamed_time_is_unknown() -> None:
    layers = [
        layer("shape", DataType="Int64"),
        layer("weights", "Constant", DataType="Half"),
        layer("conv", DataType="Half"),
    ]
    found = timed_layers(layers, {"conv": 2.0, "shape": 1.0, "weights": 1.0, "somewhere": 3.0})
    assert [(one.name, one.precision, one.time) for one in found] == [
        ("conv", "fp16", 2.0),
        ("somewhere", "unknown", 3.0),
    ]


def test_weights_are_counted_as_they_are_stored() -> None:
    layers = [
        {"Weights": {"Type": "Int8", "Count": 30}},
        {"Weights": {"Type": "Half", "Count": 10}},
        {"Name": "x"},
        "y",
    ]
    assert weight_shares(layers) == {"int8": 0.75, "fp16": 0.25}
    assert weight_shares(["names", "alone"]) == {}
