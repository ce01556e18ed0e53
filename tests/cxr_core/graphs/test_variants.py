import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from cxr_core.config import VariantConfig
from cxr_core.errors import DataError, ModelError, UsageError
from cxr_core.graphs.answers import Answering
from cxr_core.graphs.int8.rules import check_rules, quantised_nodes
from cxr_core.graphs.metadata import read_metadata
from cxr_core.graphs.variants import variant
from cxr_core.refs import Precision

NETWORKS = ["efficientnet_b0", "mobilenetv3_small_100", pytest.param("resnet18", marks=pytest.mark.slow)]
Changed = Callable[[Path, Callable[[onnx.ModelProto], object]], Path]


@pytest.fixture(scope="session")
def int8_of(
    graph_of: Callable[..., Path], calibration: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[onnx.ModelProto, dict[str, Any]]]:
    made: dict[str, tuple[onnx.ModelProto, dict[str, Any]]] = {}

    def quantised(model: str) -> tuple[onnx.ModelProto, dict[str, Any]]:
        if model not in made:
            out = tmp_path_factory.mktemp(model)
            facts = lower(graph_of(model), calibration, out, Precision.INT8)
            made[model] = onnx.load(out / "variant.onnx"), facts
        return made[model]

    return quantised


def lower(graph: Path, calibration: Path, out: Path, precision: Precision, **config: Any) -> dict[str, Any]:
    chosen = VariantConfig(**{"int8_method": "minmax", **config})
    return variant(graph=graph, calibration=calibration, out=out, precision=precision, config=chosen)


def constants(model: onnx.ModelProto) -> dict[str, Any]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


@pytest.mark.parametrize("model", NETWORKS)
def test_every_pair_is_symmetric_int8(int8_of: Callable[..., Any], model: str) -> None:
    graph, facts = int8_of(model)
    values = constants(graph)
    zeros = [values[n.input[2]] for n in graph.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(zeros) == facts["quantise"] + facts["dequantise"] > 20
    assert {z.dtype for z in zeros} == {np.dtype(np.int8)}
    assert not any(z.any() for z in zeros)


@pytest.mark.parametrize("model", NETWORKS)
def test_biases_stay_float_and_are_there(int8_of: Callable[..., Any], model: str) -> None:
    graph, _ = int8_of(model)
    values = constants(graph)
    biases = [values[n.input[2]] for n in quantised_nodes(graph) if len(n.input) > 2]
    assert len(biases) > 5
    assert all(b.dtype == np.float32 for b in biases)
    assert any(b.any() for b in biases)


@pytest.mark.parametrize("model", NETWORKS)
def test_weights_have_a_scale_a_channel_and_activations_one(int8_of: Callable[..., Any], model: str) -> None:
    graph, _ = int8_of(model)
    values, made = constants(graph), makers(graph)
    for node in quantised_nodes(graph):
        if node.op_type == "Conv":
            data, weights = (made[name] for name in node.input[:2])
            assert values[data.input[1]].ndim == 0
            assert values[weights.input[1]].shape == values[made[weights.input[0]].input[0]].shape[:1]


@pytest.mark.parametrize(
    ("model", "kept"),
    [("efficientnet_b0", 32), ("mobilenetv3_small_100", 18), pytest.param("resnet18", 0, marks=pytest.mark.slow)],
)
def test_all_is_quantised_but_stem_and_squeeze_excite(
    int8_of: Callable[..., Any], graph_of: Callable[..., Path], model: str, kept: int
) -> None:
    graph, facts = int8_of(model)
    weighted = [n for n in onnx.load(graph_of(model)).graph.node if n.op_type in ("Conv", "Gemm")]
    assert facts["kept_weighted"] == {"squeeze_excite": kept, "stem": 1}
    assert facts["nodes"]["lowered"] == len(quantised_nodes(graph)) == len(weighted) - kept - 1


@pytest.mark.parametrize("model", NETWORKS)
def test_a_residual_sum_is_quantised_on_its_skip_branch_alone(int8_of: Callable[..., Any], model: str) -> None:
    graph, _ = int8_of(model)
    made = makers(graph)
    sums = [
        [made[i].op_type for i in n.input]
        for n in graph.graph.node
        if n.op_type == "Add" and any(i in made and made[i].op_type == "Conv" for i in n.input)
    ]
    assert sums
    assert all(ops.count("DequantizeLinear") <= 1 for ops in sums)


def test_what_is_kept_can_be_quantised(graph_of: Callable[..., Path], calibration: Path, tmp_path: Path) -> None:
    facts = lower(
        graph_of("mobilenetv3_small_100"),
        calibration,
        tmp_path,
        Precision.INT8,
        keep_squeeze_excite=False,
        keep_stem=False,
    )
    assert facts["kept_weighted"] == {"squeeze_excite": 0, "stem": 0}
    assert facts["nodes"]["lowered"] == 53 + 1


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.TF32, Precision.FP16, Precision.BF16, Precision.INT8])
def test_metadata_and_ports_survive_and_answers_stay_near(
    exported: Path, calibration: Path, tmp_path: Path, precision: Precision
) -> None:
    facts = lower(exported, calibration, tmp_path, precision)
    source, result = onnx.load(exported), onnx.load(tmp_path / "variant.onnx")
    assert read_metadata(result) == read_metadata(source)
    assert (list(result.graph.input), list(result.graph.output)) == (
        list(source.graph.input),
        list(source.graph.output),
    )
    assert {entry.domain for entry in result.opset_import} == {""}
    assert result.ir_version <= 10
    if precision not in (Precision.FP32, Precision.TF32):
        assert 0 < facts["check"]["max_shift"] < 0.1
        assert facts["check"]["not_finite"] == 0
        assert facts["check"]["images"] == 24


def test_fp32_and_tf32_are_the_exported_bytes(exported: Path, calibration: Path, tmp_path: Path) -> None:
    for precision in (Precision.FP32, Precision.TF32):
        lower(exported, calibration, tmp_path, precision)
        assert (tmp_path / "variant.onnx").read_bytes() == exported.read_bytes()


def test_bf16_weighs_half_and_is_of_the_opset_that_has_it(exported: Path, calibration: Path, tmp_path: Path) -> None:
    facts = lower(exported, calibration, tmp_path, Precision.BF16)
    assert facts["bytes"] < 0.6 * exported.stat().st_size
    assert onnx.load(tmp_path / "variant.onnx").opset_import[0].version == 22


def test_fp8_has_no_variant(exported: Path, calibration: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no fp8 variant.*fp32, tf32, fp16, bf16, int8"):
        lower(exported, calibration, tmp_path, Precision.FP8)


@pytest.mark.parametrize("method", ["entropy", "percentile", "mse"])
def test_other_ways_to_calibrate_cut_the_ranges(
    exported: Path, radiographs: np.ndarray[Any, np.dtype[np.uint8]], tmp_path: Path, method: str
) -> None:
    np.save(tmp_path / "calibration.npy", radiographs[:, None])
    scales = []
    for chosen in ("minmax", method):
        lower(exported, tmp_path / "calibration.npy", tmp_path, Precision.INT8, int8_method=chosen)
        values = constants(onnx.load(tmp_path / "variant.onnx"))
        scales.append(sum(float(v) for name, v in values.items() if name.endswith("_scale") and v.ndim == 0))
    assert 0 < scales[1] < scales[0]


def test_noise_never_calibrates(exported: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).integers(0, 256, (24, 1, 64, 64), np.uint8))
    with pytest.raises(DataError, match="noise"):
        lower(exported, tmp_path / "noise.npy", tmp_path, Precision.INT8)
    assert not (tmp_path / "variant.onnx").exists()


def test_nodes_without_names_are_kept_too(
    exported: Path, graph_of: Callable[..., Path], calibration: Path, changed: Changed, tmp_path: Path
) -> None:
    nameless = changed(graph_of("mobilenetv3_small_100"), lambda m: [n.ClearField("name") for n in m.graph.node])
    facts = lower(nameless, calibration, tmp_path, Precision.INT8)
    assert facts["nodes"]["lowered"] == 54 - 18 - 1


def test_another_process_writes_the_same_bytes(
    exported: Path, calibration: Path, held_back: Path, tmp_path: Path
) -> None:
    precisions = [Precision.FP16, Precision.BF16, Precision.INT8]
    code = (
        "import sys; from pathlib import Path; from cxr_core.config import VariantConfig; "
        "from cxr_core.refs import Precision; from cxr_core.graphs.variants import variant\n"
        "for p in sys.argv[5:]:\n"
        "    out = Path(sys.argv[4]) / p; out.mkdir()\n"
        "    variant(graph=Path(sys.argv[1]), calibration=Path(sys.argv[2]), out=out, precision=Precision(p), "
        "held_back=Path(sys.argv[3]), config=VariantConfig(int8_shift=1e-4))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code, exported, calibration, held_back, tmp_path, *precisions],
        check=True,
        capture_output=True,
    )
    for precision in precisions:
        out = tmp_path / f"here-{precision}"
        out.mkdir()
        variant(
            graph=exported,
            calibration=calibration,
            held_back=held_back,
            out=out,
            precision=precision,
            config=VariantConfig(int8_shift=1e-4),
        )
        here, there = (
            hashlib.sha256((folder / "variant.onnx").read_bytes()).hexdigest() for folder in (out, tmp_path / precision)
        )
        assert here == there, precision


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: Any) -> None:
        self.left = [{"input": images.astype(np.float32)}]

    def get_next(self) -> Any:
        return self.left.pop() if self.left else None


@pytest.mark.parametrize(
    ("changes", "per_channel", "told"),
    [
        ({"ActivationSymmetric": False}, True, "expected INT8 with zero point 0, found int8"),
        ({"QuantizeBias": True}, True, "expected INT8 with zero point 0, found int32"),
        ({}, False, r"expected \d+ weight scales, one a channel, found 1"),
    ],
)
def test_the_quantiser_s_own_ways_break_the_rules(
    exported: Path, calibration: Path, tmp_path: Path, changes: dict[str, bool], per_channel: bool, told: str
) -> None:
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "AddQDQPairToWeight": True,
    }
    quantize_static(
        onnx.load(exported),
        tmp_path / "q.onnx",
        _Reader(np.load(calibration)),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm"],
        per_channel=per_channel,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options=options | changes,
    )
    with pytest.raises(ModelError, match=told):
        check_rules(onnx.load(tmp_path / "q.onnx"))


def test_a_graph_in_which_nothing_was_quantised_is_refused(exported: Path) -> None:
    with pytest.raises(ModelError, match="nothing was quantised"):
        check_rules(onnx.load(exported))


@pytest.mark.slow
def test_b4_goes_through_every_precision(graph_of: Callable[..., Path], calibration: Path, tmp_path: Path) -> None:
    graph = graph_of("tf_efficientnet_b4")
    for precision in (Precision.FP16, Precision.BF16, Precision.INT8):
        facts = lower(graph, calibration, tmp_path, precision)
        assert facts["check"]["not_finite"] == 0
        result = onnx.load(tmp_path / "variant.onnx")
        assert {p.type.tensor_type.elem_type for p in (*result.graph.input, *result.graph.output)} == {
            TensorProto.FLOAT
        }
    check_rules(result)
    assert facts["kept_weighted"] == {"squeeze_excite": 64, "stem": 1}
    assert np.isfinite(Answering(tmp_path / "variant.onnx", "basic")(np.load(calibration)[:2], 2)).all()
