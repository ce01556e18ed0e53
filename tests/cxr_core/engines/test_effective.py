"""Effective precision is read back from what was compiled; the request is never echoed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_core.config import EngineConfig
from cxr_core.engines.effective import TimedLayer, disagreement, effective_from_layers, precision_label
from cxr_core.engines.engine import engine
from cxr_core.engines.onnxruntime.inspector import timed_layers as onnxruntime_layers
from cxr_core.engines.openvino.inspector import timed_layers as openvino_layers
from cxr_core.engines.processor import processor
from cxr_core.engines.registry import backend
from cxr_core.refs import Precision

CONFIG = EngineConfig(threads=1)
Graphs = Callable[[str], Path]


def facts(graphs: Graphs, out: Path, name: str, precision: str, graph: str) -> dict:
    if backend(name).support(Precision(precision)).level == "unsupported":
        pytest.skip(f"{processor().name} does not run {precision} on {name}")
    return engine(graph=graphs(graph), out=out, precision=Precision(precision), backend=name, config=CONFIG)


def timed(least: float, graphs: Graphs, out: Path, name: str, precision: str, graph: str) -> dict:
    """``facts`` in which so much of the time runs in that precision: a busy machine may hold up a call of the few."""
    for attempt in range(3):
        (out / str(attempt)).mkdir()
        found = facts(graphs, out / str(attempt), name, precision, graph)
        if found["effective"].get(precision, 0) > least:
            break
    return found


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_int8_asked_of_an_fp32_graph_is_reported_as_fp32(name: str, graphs: Graphs, tmp_path: Path) -> None:
    found = facts(graphs, tmp_path, name, "int8", "fp32")
    assert found["effective_precision"] == "fp32" and "int8" not in found["effective"]
    assert "int8 was asked for, 100% of the time runs in fp32" in found["note"]


@pytest.mark.parametrize(
    ("name", "graph", "least"),
    [("openvino", "int8", 0.3), ("openvino", "int8-full", 0.3), ("onnxruntime", "int8-full", 0.01)],
)
def test_int8_kernels_are_seen(name: str, graph: str, least: float, graphs: Graphs, tmp_path: Path) -> None:
    found = timed(least, graphs, tmp_path, name, "int8", graph)
    assert found["effective"]["int8"] > least and (name == "onnxruntime" or "int8" in found["effective_precision"])
    assert sum(found["effective"].values()) == pytest.approx(1, abs=1e-4) and found["weighted_by"] == "time"
    assert name == "openvino" or "fused into int8 kernels" in found["note"]


def test_onnxruntime_says_where_it_fused_nothing(graphs: Graphs, tmp_path: Path) -> None:
    found = facts(graphs, tmp_path, "onnxruntime", "int8", "int8")
    assert found["effective_precision"] == "fp32"
    assert "no Q/DQ pair was fused" in found["note"] and "int8 was asked for" in found["note"]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_openvino_runs_lowered_graphs_as_written(precision: str, graphs: Graphs, tmp_path: Path) -> None:
    found = timed(0.5, graphs, tmp_path, "openvino", precision, precision)
    assert found["effective"][precision] > 0.5
    assert found["effective"].get("fp32", 0) > 0, "the first nodes stay in fp32"


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_openvino_does_not_lower_an_fp32_graph_by_itself(precision: str, graphs: Graphs, tmp_path: Path) -> None:
    found = facts(graphs, tmp_path, "openvino", precision, "fp32")
    assert found["effective_precision"] == "fp32" and f"{precision} was asked for" in found["note"]


def test_openvino_fp32_is_fp32_even_where_its_default_is_bf16(graphs: Graphs, tmp_path: Path) -> None:
    found = facts(graphs, tmp_path, "openvino", "fp32", "fp32")
    assert found["effective"] == {"fp32": 1.0} and found["note"] == ""


def test_onnxruntime_fp16_is_fp32_through_casts_and_says_so(graphs: Graphs, tmp_path: Path) -> None:
    found = facts(graphs, tmp_path, "onnxruntime", "fp16", "fp16")
    assert found["support"] == "emulated" and "casts" in found["note"]
    assert found["effective"]["fp32"] > 0.5


def test_layers_file_names_every_layer_without_times(graphs: Graphs, tmp_path: Path) -> None:
    import json

    facts(graphs, tmp_path, "openvino", "fp32", "fp32")
    rows = json.loads((tmp_path / "layers.json").read_text())
    assert len(rows) > 10 and all(set(row) == {"name", "kind", "precision"} for row in rows)


def test_what_cannot_be_read_is_unknown_never_a_guess() -> None:
    ran = {"name": "a", "layerType": "Convolution", "execTimeMcs": "7"}
    assert openvino_layers([ran | {"runtimePrecision": "f8e4m3"}])[0].precision == "unknown"
    assert openvino_layers([ran])[0].precision == "unknown"
    event = {"cat": "Node", "name": "a_kernel_time", "dur": 5, "args": {"op_name": "Conv", "input_type_shape": []}}
    assert onnxruntime_layers([event])[0].precision == "unknown"
    nothing = effective_from_layers([])
    assert nothing.label == "unknown" and "could not be read back" in disagreement(Precision.INT8, nothing)


def test_index_arithmetic_constants_and_layers_that_never_ran_do_not_count() -> None:
    rows = [
        {"name": "shape", "layerType": "ShapeOf", "execTimeMcs": "9", "runtimePrecision": "i32"},
        {"name": "constant", "layerType": "Const", "execTimeMcs": "not_executed", "runtimePrecision": "f16"},
        {"name": "view", "layerType": "Reshape", "execTimeMcs": "not_executed", "runtimePrecision": "f32"},
        {"name": "conv", "layerType": "Convolution", "execTimeMcs": "9", "runtimePrecision": "u8"},
    ]
    found = effective_from_layers(openvino_layers(rows))
    assert found.shares == {"int8": 1.0} and [layer.name for layer in found.layers] == ["view", "conv"]


@pytest.mark.parametrize(
    ("shares", "label"),
    [
        ({"fp32": 1.0}, "fp32"),
        ({"int8": 0.96, "fp32": 0.04}, "int8"),
        ({"fp32": 0.3, "int8": 0.7}, "int8+fp32"),
        ({"fp32": 0.3, "int8": 0.67, "bf16": 0.03}, "int8+fp32"),
        ({}, "unknown"),
    ],
)
def test_label_names_what_matters(shares: dict[str, float], label: str) -> None:
    assert precision_label(shares) == label


def test_shares_are_weighted_by_time() -> None:
    found = effective_from_layers([TimedLayer("a", "Conv", "int8", 3), TimedLayer("b", "Add", "fp32", 1)])
    assert found.shares == {"int8": 0.75, "fp32": 0.25}
    assert [layer.share for layer in found.layers] == [0.75, 0.25]
    assert found.counts == {"int8": 0.5, "fp32": 0.5}
