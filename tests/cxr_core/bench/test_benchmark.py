"""The stage: an engine against its reference, and everything that makes a measurement invalid."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cxr_doubles.graphs import SIZE, images

from cxr_core.bench.benchmark import benchmark
from cxr_core.bench.stages import stages
from cxr_core.bench.tuning import stream_counts
from cxr_core.config import AccuracyConfig, BenchmarkConfig, EngineConfig
from cxr_core.engines.contract import Images, Logits, Spans
from cxr_core.engines.engine import engine
from cxr_core.engines.openvino.runner import OpenVINOStream
from cxr_core.engines.processor import processors
from cxr_core.engines.scoring import accuracy
from cxr_core.engines.streams import CallStream, ThreadStream
from cxr_core.engines.tensorrt.stream import TensorRTStream
from cxr_core.errors import BranchError, DataError, MachineError, ModelError, RefusedError, UsageError
from cxr_core.evaluation.audits import require_answers_of_accuracy_mode
from cxr_core.evaluation.scores import Scores, read_scores
from cxr_core.progress import silent
from cxr_core.refs import Precision
from tests.cxr_core.bench.virtual import forged_work
from tests.cxr_core.engines.test_scoring import write_tensors
from tests.nvidia import doubled, telling

FAST = BenchmarkConfig(
    warmup_seconds=0.02, warmup_longest_seconds=1, round_seconds=0.04, rounds=4, iterations=4, median_width=100,
    throughput_batch=4, peak_seconds=0.02,
)  # fmt: skip
Built = Callable[..., Path]
two_processors = pytest.mark.skipif(processors() < 2, reason="OpenVINO makes no more streams than there are processors")


@pytest.fixture
def tensors(tmp_path: Path) -> Path:
    """Fourteen test images among 22."""
    pixels = images(22, SIZE, seed=5)[:, 0].astype(np.uint8)
    return write_tensors(tmp_path / "tensors", pixels, ["test" if row % 3 else "train" for row in range(22)])


def run(
    engine: Path, reference: Path, out: Path, config: BenchmarkConfig = FAST, progress=silent, tensors=None, **opened
) -> dict:
    opened = {"threads": 1} | opened
    return benchmark(
        engine=engine / "engine", engine_metadata=engine / "engine.json",
        reference=reference / "engine", reference_metadata=reference / "engine.json",
        out=out, config=config, engine_config=EngineConfig(**opened), progress=progress, tensors=tensors,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "fake"])
def test_an_engine_against_itself(name: str, built: Built, tmp_path: Path) -> None:
    facts = run(built(name), built(name), tmp_path)
    document = json.loads((tmp_path / "benchmark.json").read_text())
    assert set(document) == {
        "backend", "precision", "device", "latency", "throughput",
        "reference", "ratio", "reason", "latencies_ms", "engine_digest", "median_ms", "warmup", "ended",
        "drift", "cpu", *(["roofline", "execution"] if name != "fake" else []),
    }  # fmt: skip
    assert (document["backend"], document["precision"]) == (name, "fp32") and document["device"]
    assert document["ended"]["reason"] == "" and {"processors", "slowed_by"} <= set(document["cpu"])
    latency, throughput = document["latency"], document["throughput"]
    assert set(latency) == {
        "batch", "count", "min_ms", "max_ms", "mean_ms", "median_ms", "p90_ms", "p95_ms", "p99_ms", "cv",
    }  # fmt: skip
    assert latency["batch"] == 1 and latency["count"] >= 4 and latency["min_ms"] <= latency["median_ms"]
    assert throughput["batch"] == 4 and throughput["images"] == 4 * throughput["queries"]
    assert throughput["images_per_second"] == pytest.approx(throughput["images"] / throughput["seconds"])
    held = {} if name == "fake" else {"execution": {"streams": 1, "threads": 1}}
    assert {k: v for k, v in document.items() if k == "execution"} == held
    assert set(document["reference"]) == {"latency", "throughput", "median_ms", "warmup", *held}
    assert "stream" not in document["reason"]
    assert document["ended"] == {"by": "floors", "rounds": 4, "reason": "", "seconds": document["ended"]["seconds"]}
    assert document["median_ms"]["low"] <= document["median_ms"]["value"] <= document["median_ms"]["high"]
    for warmed in (*document["warmup"].values(), *document["reference"]["warmup"].values()):
        assert warmed["windows"] >= 3 and warmed["stable"] == (warmed["spread"] <= 1.1)
    for ratio in document["ratio"].values():
        assert ratio["low"] <= ratio["value"] <= ratio["high"] and ratio["rounds"] == 4
    assert len(document["latencies_ms"]) == min(2000, latency["count"])
    assert len(json.loads((tmp_path / "times.json").read_text())) == latency["count"]
    assert facts["fake"] is (name == "fake") and "latencies_ms" not in facts
    assert {p.name for p in tmp_path.iterdir()} == {"benchmark.json", "times.json"}


@pytest.fixture
def plan(graphs: Callable[[str], Path], tmp_path: Path) -> Iterator[Path]:
    """The folder of an engine of the double of TensorRT, which is there for as long as the test runs."""
    with doubled():
        engine(graph=graphs("fp32"), out=tmp_path, precision=Precision.FP32, backend="tensorrt", config=EngineConfig())
        (tmp_path / "out").mkdir()
        yield tmp_path


def test_on_a_gpu_the_copies_are_told_apart(plan: Path) -> None:
    facts = run(plan, plan, plan / "out")
    found = facts["stages"]
    assert (
        facts["gpu"]["clock_mhz"] == [1980, 1980, 1980]
        and facts["gpu"]["samples"] >= 2
        and "GPU" not in facts["reason"]
    )
    assert "power_w" not in facts["gpu"] and facts["gpu"]["slowed_by"] == []
    assert set(found) == {"enqueue", "h2d", "compute", "d2h", "latency", "warnings"}
    times = json.loads((plan / "out" / "times.json").read_text())
    for row in times:
        assert row["latencyMs"] == pytest.approx(row["h2dMs"] + row["computeMs"] + row["d2hMs"], abs=1e-5)
        assert row["startH2dMs"] <= row["endH2dMs"] == row["startComputeMs"] < row["endComputeMs"] <= row["endD2hMs"]
    assert found["h2d"]["count"] == found["compute"]["count"] == len(times)
    assert found["latency"]["median_ms"] == pytest.approx(np.median([row["latencyMs"] for row in times]), rel=1e-3)


@pytest.mark.parametrize("transfers", [True, False])
def test_transfers_are_part_of_a_query_or_left_out_and_it_says_which(plan: Path, transfers: bool) -> None:
    facts = run(plan, plan, plan / "out", FAST.model_copy(update={"transfers": transfers}))
    found = json.loads((plan / "out" / "benchmark.json").read_text())
    assert found["execution"] == facts["execution"] and facts["execution"]["transfers"] is transfers
    assert ("copies to and from the GPU are left out" in facts["reason"]) is not transfers
    stages = facts["stages"]
    parts = {"h2d", "compute", "d2h"} if transfers else {"compute"}
    assert set(stages) == {"enqueue", "latency", "warnings", *parts}
    assert stages["latency"]["mean_ms"] == pytest.approx(sum(stages[part]["mean_ms"] for part in parts), rel=1e-3)
    assert stages["compute"]["count"] == facts["latency"]["count"]


@pytest.mark.parametrize("cuda_graph", [True, False])
@pytest.mark.parametrize("spin_wait", [True, False])
def test_what_was_launched_and_how_it_was_waited_for_is_read_back(
    plan: Path, cuda_graph: bool, spin_wait: bool
) -> None:
    how = {"cuda_graph": cuda_graph, "spin_wait": spin_wait}
    facts = run(plan, plan, plan / "out", **how)
    assert facts["execution"].items() >= how.items() and facts["reason"].count("asked") == 0
    with telling("no_graph", "no_flags"):
        facts = run(plan, plan, plan / "out", cuda_graph=True, spin_wait=not spin_wait)
    assert facts["execution"].items() >= {"cuda_graph": False, "spin_wait": spin_wait}.items()
    did = "spun" if spin_wait else "slept"
    said = f"engine: ran without the CUDA graph that was asked for, {did} while waiting, other than asked"
    assert said in facts["reason"] and said.replace("engine", "reference") in facts["reason"]


@pytest.mark.parametrize("transfers", [True, False])
def test_throughput_may_be_of_several_streams(plan: Path, transfers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[tuple[str, int]] = []
    for name in ("begin", "end"):
        method = getattr(TensorRTStream, name)

        def noted(stream: TensorRTStream, *given: Images, name: str = name, method: Any = method) -> None:
            order.append((name, int(stream._stream)))
            method(stream, *given)

        monkeypatch.setattr(TensorRTStream, name, noted)
    config = FAST.model_copy(update={"streams": 3, "transfers": transfers})
    facts = run(plan, plan, plan / "out", config)
    assert facts["execution"]["streams"] == 3 and "throughput is that of 3 streams" in facts["reason"]
    # The last turn: queries begin on one stream after the other, and only then the first is waited for.
    fetched = 0 if transfers else 3  # answers are then waited for once more
    last = order[-6 - fetched : len(order) - fetched]
    assert [name for name, _ in last] == ["begin"] * 3 + ["end"] * 3
    assert [place for _, place in last[:3]] == [place for _, place in last[3:]] and len({p for _, p in last}) == 3
    rate = facts["throughput"]
    assert rate["queries"] % 3 == 0 and rate["images"] == 4 * rate["queries"]
    assert rate["images_per_second"] == pytest.approx(rate["images"] / rate["seconds"])


@two_processors
@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_processor_works_on_several_streams(name: str, built: Built, tmp_path: Path) -> None:
    facts = run(built(name), built(name), tmp_path, FAST.model_copy(update={"streams": 2}), threads=2)
    for one in (facts, facts["reference"]):
        assert one["execution"] == {"streams": 2, "threads": 2} and "tuned_streams" not in one
    assert "engine: throughput is that of 2 streams; reference: throughput is that of 2 streams" in facts["reason"]
    assert facts["throughput"]["queries"] % 2 == 0 and facts["latency"]["batch"] == 1


@pytest.mark.parametrize("transfers", [True, False])
@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_streams_are_tuned_and_every_trial_is_told(
    name: str, transfers: bool, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (CallStream, OpenVINOStream):  # a processor copies nothing, so each query has images of its own anyway
        monkeypatch.setattr(kind, "load", lambda *_: pytest.fail("one input over and over"))
    config = FAST.model_copy(update={"streams": 0, "transfers": transfers})
    facts = run(built(name), built(name), tmp_path, config, threads=2)
    tuned, threads = facts["tuned_streams"], min(2, processors() if name == "openvino" else 2)
    assert [one["streams"] for one in tuned["trials"]] == [1, 2][:threads]
    rates = [one["images_per_second"]["value"] for one in tuned["trials"]]
    assert tuned["streams"] == 1 + rates.index(max(rates)) == facts["execution"]["streams"]
    assert {one["images_per_second"]["rounds"] for one in tuned["trials"]} == {4}
    assert facts["reference"]["tuned_streams"] == tuned  # the engine itself: found once
    assert json.loads((tmp_path / "benchmark.json").read_text())["tuned_streams"] == tuned
    tried = ", ".join(str(one["streams"]) for one in tuned["trials"])
    assert re.search(
        rf"engine: throughput is that of {tuned['streams']} streams?, the best of {tried};", facts["reason"]
    )


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_one_stream_of_a_processor_is_the_runner_s_own_call(
    built: Built, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CallStream, "begin", lambda *_: pytest.fail("a loop over streams"))
    facts = run(built(name), built(name), tmp_path, FAST, threads=1)
    assert facts["execution"] == {"streams": 1, "threads": 1}


def test_numbers_of_streams_that_are_tried() -> None:
    assert [stream_counts(most) for most in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_streams_of_a_gpu_are_tuned_until_they_do_not_fit(plan: Path) -> None:
    facts = run(plan, plan, plan / "out", FAST.model_copy(update={"streams": 0}), memory_mebibytes=3)
    tuned = facts["tuned_streams"]
    assert [(one["streams"], one["refused"] == "") for one in tuned["trials"]] == [(1, True), (2, True), (4, False)]
    assert "4 x 1.3 MiB for the activations and buffers of a stream" in tuned["trials"][-1]["refused"]
    assert facts["execution"]["streams"] == tuned["streams"] and ", the best of 1, 2;" in facts["reason"]


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_more_streams_than_threads_are_refused(name: str, built: Built, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"3 streams asked for.*lower benchmark\.streams"):
        run(built(name), built(name), tmp_path, FAST.model_copy(update={"streams": 3}), threads=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("streams", [0, 2])
def test_a_backend_without_streams_says_so(streams: int, built: Built, tmp_path: Path) -> None:
    facts = run(built("fake"), built("fake"), tmp_path, FAST.model_copy(update={"streams": streams}))
    assert "engine: throughput is that of one stream, as this backend has no others" in facts["reason"]
    assert "execution" not in facts


@two_processors
@pytest.mark.parametrize(("name", "kind"), [("openvino", OpenVINOStream), ("onnxruntime", ThreadStream)])
def test_answers_of_every_stream_of_a_processor_are_looked_at(
    name: str, kind: type, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = kind.answers
    seen: list[object] = []

    def wrong(stream: object) -> Logits:
        seen.extend([stream] if stream not in seen else [])
        return answers(stream) + (1.0 if stream in seen[1:] else 0.0)

    monkeypatch.setattr(kind, "answers", wrong)
    with pytest.raises(BranchError, match="engine: query 1 answered otherwise while timed"):
        run(built(name), built(name), tmp_path, FAST.model_copy(update={"streams": 2}), threads=2)


def test_answers_of_every_stream_are_looked_at(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = TensorRTStream.answers
    swapped: list[TensorRTStream] = []

    def wrong(stream: TensorRTStream) -> Logits:
        return answers(stream) + (1.0 if stream in swapped[1:] else 0.0)

    opened = TensorRTStream.__init__
    monkeypatch.setattr(TensorRTStream, "__init__", lambda s, *a, **k: (swapped.append(s), opened(s, *a, **k))[1])
    monkeypatch.setattr(TensorRTStream, "answers", wrong)
    with pytest.raises(BranchError, match="engine: query 1 answered otherwise while timed"):
        run(plan, plan, plan / "out", FAST.model_copy(update={"streams": 2}))


def test_queries_without_transfers_that_compute_nothing_are_found(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = TensorRTStream._compute

    def idle(stream: TensorRTStream) -> None:
        if stream.copies:
            compute(stream)

    monkeypatch.setattr(TensorRTStream, "_compute", idle)
    with pytest.raises(BranchError, match="engine: query 0 answered with values that are not finite"):
        run(plan, plan, plan / "out", FAST.model_copy(update={"transfers": False}))


@pytest.mark.parametrize(
    ("spans", "says"),
    [
        (Spans(0.81, 0.1, 1.0, 0.1), ["may be bound by enqueue time; engine.cuda_graph helps"]),
        (Spans(0.79, 1.0, 1.0, 0.1), ["bound by copies to the GPU"]),
        (Spans(0.1, 0.1, 1.0, 1.0), ["bound by copies from the GPU"]),
        (Spans(0.79, 0.99, 1.0, 0.99), []),
    ],
)
def test_trtexecs_warnings(spans: Spans, says: list[str]) -> None:
    found = stages([spans] * 10)["warnings"]
    assert len(found) == len(says) and all(text in warning for text, warning in zip(says, found, strict=True))
    unsteady = [spans._replace(compute=one) for one in (1.0, 1.1) * 5]
    assert any("unstable, coefficient of variation 4.8 %" in one for one in stages(unsteady)["warnings"])
    assert stages([]) == {}


def _scored(folder: Path, tensors: Path, out: Path) -> Scores:
    out.mkdir()
    accuracy(
        engine=folder / "engine", engine_metadata=folder / "engine.json", tensors=tensors, out=out,
        config=AccuracyConfig(batch=5), engine_config=EngineConfig(threads=1),
    )  # fmt: skip
    return read_scores(out / "scores.csv")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "fake"])
def test_what_is_timed_is_what_was_scored(name: str, built: Built, tensors: Path, tmp_path: Path) -> None:
    run(built(name), built(name), tmp_path, tensors=tensors)
    document = json.loads((tmp_path / "benchmark.json").read_text())
    scores = _scored(built(name), tensors, tmp_path / "scores")
    assert set(document["audit"]) == set(scores.files)  # 16 images are asked for, 14 are there
    require_answers_of_accuracy_mode(tmp_path / "benchmark.json", scores)


def test_an_engine_that_answers_otherwise_only_when_timed_is_found(
    built: Built, tensors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = built("fake", "int8")
    scores = _scored(folder, tensors, tmp_path / "scores")
    monkeypatch.setenv("CXR_FAKE", "other:int8")
    run(folder, built("fake"), tmp_path, tensors=tensors)
    with pytest.raises(DataError, match="answers otherwise when it is timed than when it is scored: over 14 images"):
        require_answers_of_accuracy_mode(tmp_path / "benchmark.json", scores)


def test_images_of_another_size_are_refused(built: Built, tmp_path: Path) -> None:
    other = write_tensors(tmp_path / "other", np.zeros((4, 8, 8), np.uint8), ["test"] * 4)
    with pytest.raises(ModelError, match="has 8x8"):
        run(built("fake"), built("fake"), tmp_path, tensors=other)


def test_a_slower_engine_has_ratios_below_one(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_FAKE", "slow:int8")
    facts = run(built("fake", "int8"), built("fake"), tmp_path)
    assert facts["latency"]["median_ms"] >= 5
    assert all(facts["ratio"][kind]["high"] < 0.5 for kind in ("latency", "throughput"))


def test_a_slower_reference_has_ratios_above_one(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_FAKE", "slow:fp32")
    facts = run(built("fake", "int8"), built("fake"), tmp_path)
    assert facts["reference"]["latency"]["median_ms"] >= 5
    assert all(facts["ratio"][kind]["low"] > 1 for kind in ("latency", "throughput"))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("wrong:int8", "engine: query"),
        ("nan:int8", "engine: query 0 answered with values that are not finite"),
        ("batch:int8", "1 were bound"),
        ("wrong:fp32", "reference: query"),
        ("memory:int8", "engine: images seen before are answered .* times as fast as new ones"),
        ("memories:int8", "engine: images seen before are answered .* times as fast as new ones"),
    ],
)
def test_a_measurement_of_wrong_answers_is_refused(
    fault: str, words: str, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = built("fake", "int8"), built("fake")
    monkeypatch.setenv("CXR_FAKE", fault)
    with pytest.raises(BranchError, match=f"not a valid measurement: .*{words}"):
        run(*folders, tmp_path)
    assert not list(tmp_path.iterdir())


def test_rounds_are_added_in_pairs_until_the_iterations_are_there(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, told = (built("fake", "int8"), built("fake")), []
    monkeypatch.setenv("CXR_FAKE", "slow:int8")
    config = FAST.model_copy(update={"rounds": 2, "iterations": 30})
    facts = run(*folders, tmp_path, config, lambda done, total, text: told.append(done))
    assert facts["latency"]["count"] >= 30 and facts["ended"]["by"] == "floors"
    assert told[-1] == facts["ratio"]["latency"]["rounds"] > 2 and told[-1] % 2 == 0


def test_a_floor_that_was_not_met_is_told_and_the_percentiles_stay_blank(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = built("fake", "int8"), built("fake")
    monkeypatch.setenv("CXR_FAKE", "slow:int8")
    facts = run(*folders, tmp_path, FAST.model_copy(update={"rounds": 2, "iterations": 5000, "longest_seconds": 0.1}))
    assert "of 5000 latency queries in 0.1 s" in facts["reason"] and "blank" in facts["reason"]
    assert facts["ended"]["by"] == "time" and facts["ended"]["reason"] in facts["reason"]
    assert facts["latency"]["p90_ms"] is facts["latency"]["p99_ms"] is None


def test_rounds_go_on_until_the_median_is_known_well_enough_or_time_is_up(built: Built, tmp_path: Path) -> None:
    facts = run(built("fake"), built("fake"), tmp_path, FAST.model_copy(update={"rounds": 2, "median_width": 1.0}))
    width = (facts["median_ms"]["high"] - facts["median_ms"]["low"]) / facts["median_ms"]["value"]
    assert (
        facts["ended"]["by"] == "floors" and width <= 1.0 and facts["median_ms"]["rounds"] == facts["ended"]["rounds"]
    )
    wish = FAST.model_copy(update={"rounds": 2, "median_width": 1e-9, "longest_seconds": 0.1})
    facts = run(built("fake"), built("fake"), tmp_path, wish)
    assert facts["ended"]["by"] == "time" and "% wide, asked for were 1e-07 %" in facts["reason"]


@pytest.mark.parametrize("name", ["openvino", pytest.param("onnxruntime", marks=pytest.mark.slow)])
def test_a_rate_above_what_the_device_computes_is_refused(name: str, built: Built, tmp_path: Path) -> None:
    forged = forged_work(built(name), tmp_path / "forged")
    for pair, whose in (((forged, built(name)), "engine"), ((built(name), forged), "reference")):
        with pytest.raises(BranchError, match=rf"valid measurement: {whose}: .* images/s x 1e\+05 GFLOP = .* the peak"):
            run(*pair, tmp_path)
    content = json.loads((forged / "engine.json").read_text())
    del content["gflop_per_image"]  # as engines were described before it was counted
    (forged / "engine.json").write_text(json.dumps(content))
    assert "roofline" not in run(forged, built(name), tmp_path)


def test_the_two_sides_lead_in_turn(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_core.bench import rounds

    played, play = [], rounds.Side.play
    monkeypatch.setattr(rounds.Side, "play", lambda side, seconds: (played.append(side.name[0]), play(side, seconds)))
    run(built("fake"), built("fake"), tmp_path)
    assert "".join(played) == "erre" * 2


def test_engines_of_two_backends_are_never_divided(built: Built, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"of the engine's own backend.*'fake'.*'onnxruntime'"):
        run(built("fake"), built("onnxruntime"), tmp_path)


def test_a_spoiled_reference_is_refused(built: Built, tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    (spoiled / "engine.json").write_bytes((built("fake") / "engine.json").read_bytes())
    (spoiled / "engine").write_bytes(b"other")
    with pytest.raises(RefusedError):
        run(built("fake"), spoiled, tmp_path)
