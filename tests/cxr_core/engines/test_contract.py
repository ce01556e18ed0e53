"""What every backend promises, on every backend that works here and on the double."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cxr_doubles.graphs import METADATA, SIZE, images

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import CpuExecution, Streaming
from cxr_core.engines.engine import engine
from cxr_core.engines.metadata import file_digest, read_metadata
from cxr_core.engines.opening import open_engine
from cxr_core.engines.processor import processors
from cxr_core.engines.registry import backend
from cxr_core.errors import MachineError, ModelError
from cxr_core.refs import Precision

CONFIG = EngineConfig(threads=1)
BACKENDS = ["openvino", "onnxruntime", "tensorrt", "fake"]
TOLERANCE = {"fp32": 2e-4, "tf32": 2e-4, "fp16": 0.03, "bf16": 0.2, "int8": 0.4}
Built = Callable[..., Path]
pairs = pytest.mark.parametrize(
    ("name", "precision"), [(name, precision) for name in BACKENDS for precision in Precision], ids=str
)


@pytest.fixture(scope="session")
def truth(graphs: Callable[[str], Path]) -> np.ndarray:
    """The FP32 graph's answers by ONNX Runtime without any optimisation."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(graphs("fp32")), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": images(16)})[0])


@pairs
def test_supported_precisions_answer_like_fp32_and_others_are_refused(
    name: str, precision: Precision, graphs: Callable[[str], Path], built: Built, truth: np.ndarray, tmp_path: Path
) -> None:
    support = backend(name).support(precision)
    graph = graphs(precision if precision in TOLERANCE else "fp32")
    if support.level == "unsupported":
        assert support.reason
        with pytest.raises(MachineError, match="unsupported here"):
            engine(graph=graph, out=tmp_path, precision=precision, backend=name, config=CONFIG)
        assert not list(tmp_path.iterdir())
        return
    if precision not in TOLERANCE:
        pytest.skip(f"no small graph is made for {precision}")
    folder = built(name, precision)
    runner, known = open_engine(folder / "engine", folder / "engine.json", config=CONFIG)
    assert (known.backend, known.precision, known.fake) == (name, precision, name == "fake")
    with runner:
        answers = runner(images(16))
    assert answers.dtype == np.float32 and answers.shape == (16, 2)
    if name != "fake":
        assert np.abs(answers - truth).max() < TOLERANCE[precision]


@pytest.mark.parametrize("name", BACKENDS)
def test_any_batch_is_bound_and_answers_do_not_hang_on_it(name: str, built: Built) -> None:
    folder, some = built(name), images(17)
    runner, _ = open_engine(folder / "engine", folder / "engine.json", config=CONFIG)
    assert runner.bound_images == 0 and runner.input_shape == (-1, 1, SIZE, SIZE)
    with runner:
        whole = runner(some)
        assert runner.bound_images == 17
        for count in (1, 2):
            np.testing.assert_allclose(runner(some[:count]), whole[:count], atol=2e-4)
            assert runner.bound_images == count
        np.testing.assert_allclose(runner(some), whole, atol=1e-6)


@pytest.mark.parametrize("name", BACKENDS)
def test_answers_are_the_callers_own(name: str, built: Built) -> None:
    folder, some = built(name), images(4)
    runner, _ = open_engine(folder / "engine", folder / "engine.json", config=CONFIG)
    with runner:
        first = runner(some[:2])
        kept = first.copy()
        runner(some[2:])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "fake"])
@pytest.mark.parametrize("count", [1, 2])
def test_streams_answer_like_calls_each_its_own_images(name: str, count: int, built: Built) -> None:
    if name == "openvino" and count > processors():
        pytest.skip("OpenVINO makes no more streams than there are processors")
    folder, some = built(name), images(3 * count)
    parts = [some[place::count] for place in range(count)]
    runner, _ = open_engine(folder / "engine", folder / "engine.json", config=EngineConfig(threads=2))
    assert isinstance(runner, Streaming)
    with runner:
        expected = [runner(part) for part in parts]
        streams = runner.streams(count)
        assert len(streams) == runner.execution.streams == count <= runner.most_streams
        if isinstance(runner.execution, CpuExecution):
            assert runner.execution.threads == min(2, processors() if name == "openvino" else 2)
        for fed in (parts, [None] * count):  # with copies, then without
            if fed[0] is None:
                for stream, part in zip(streams, reversed(parts), strict=True):
                    stream.load(part)
                if isinstance(runner.execution, CpuExecution):
                    assert all(np.isnan(stream.answers()).all() for stream in streams)  # nothing is left of before
                expected.reverse()
            for stream, part in zip(streams, fed, strict=True):
                stream.begin(part)
            for stream in reversed(streams):
                stream.end()
            assert [stream.bound_images for stream in streams] == [3] * count
            for stream, answers in zip(streams, expected, strict=True):
                np.testing.assert_allclose(stream.answers(), answers, atol=2e-4)


@pytest.mark.parametrize("name", BACKENDS)
def test_images_of_another_size_are_refused_with_both_shapes(name: str, built: Built) -> None:
    folder = built(name)
    runner, _ = open_engine(folder / "engine", folder / "engine.json", config=CONFIG)
    with runner, pytest.raises(ModelError, match=rf"\(2, 1, 16, {SIZE}\) do not fit .*{SIZE}"):
        runner(images(2)[:, :, :16].copy())


@pytest.mark.parametrize("name", BACKENDS)
def test_metadata_suffice_without_the_graph_and_say_nothing_of_time_or_place(
    name: str, built: Built, graphs: Callable[[str], Path]
) -> None:
    folder = built(name)
    known = read_metadata(folder / "engine.json")
    assert known.engine_digest == file_digest(folder / "engine")
    assert known.graph_digest == file_digest(graphs("fp32"))
    assert known.model.model_dump(mode="json") == {k.removeprefix("cxr."): v for k, v in METADATA.items()}
    assert {p.name for p in folder.iterdir()} == {"engine", "engine.json", "layers.json"}
    everything = b"".join(p.read_bytes() for p in folder.iterdir())
    assert str(graphs("fp32").parent).encode() not in everything and str(folder).encode() not in everything


@pytest.mark.parametrize("name", BACKENDS)
def test_a_graph_that_does_not_compile_is_a_model_error(name: str, tmp_path: Path) -> None:
    import onnx
    from cxr_doubles.graphs import small_model

    model = small_model()
    for node in model.graph.node:
        if node.op_type == "GlobalAveragePool":
            node.op_type, node.domain = "NoSuchOperator", "nowhere"
    model.opset_import.append(onnx.helper.make_opsetid("nowhere", 1))
    onnx.save(model, tmp_path / "odd.onnx")
    if name == "fake":
        pytest.skip("the double compiles anything")
    with pytest.raises(ModelError, match=r"odd\.onnx for fp32"):
        backend(name).build(
            graph=tmp_path / "odd.onnx",
            precision=Precision.FP32,
            engine=tmp_path / "engine",
            config=CONFIG,
            progress=lambda *_: None,
        )
