"""The search keeps its budget, leaves little, says why, and breaks no rule of an INT8 graph."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cxr_core.config import VariantConfig
from cxr_core.errors import DataError, UsageError
from cxr_core.graphs.answers import Answering, probabilities
from cxr_core.graphs.int8.calibrators import CALIBRATORS
from cxr_core.graphs.int8.found import Found
from cxr_core.graphs.int8.rules import check_rules, quantised_nodes
from cxr_core.graphs.int8.search import Budget
from cxr_core.graphs.metadata import read_metadata
from cxr_core.graphs.variants import variant
from cxr_core.refs import Precision
from tests.cxr_core.graphs.conftest import smooth_images

Changed = Callable[[Path, Callable[[onnx.ModelProto], object]], Path]
Searching = Callable[..., tuple[Found, dict[str, Any], onnx.ModelProto]]


@pytest.fixture
def images(calibration: Path, held_back: Path, tmp_path: Path) -> dict[str, Path]:
    """As few as are taken, since every trial answers them all."""
    folder = tmp_path / "images"
    folder.mkdir()
    for file in (calibration, held_back):
        np.save(folder / file.name, np.load(file)[:16])
    return {file.stem: folder / file.name for file in (calibration, held_back)}


@pytest.fixture
def searching(images: dict[str, Path], tmp_path: Path) -> Searching:
    """``searching(graph, ...)``: what was found, the facts, and the graph that was written."""

    def search(graph: Path, **config: Any) -> tuple[Found, dict[str, Any], onnx.ModelProto]:
        chosen = VariantConfig(**config)
        facts = variant(graph=graph, **images, out=tmp_path, precision=Precision.INT8, config=chosen)
        return Found.model_validate(facts["search"]), facts, onnx.load(tmp_path / "variant.onnx")

    return search


def moved(graph: Path, lowered: onnx.ModelProto, images: Any) -> float:
    """Mean |delta p|, worked out apart from the search."""
    metadata = read_metadata(lowered)
    answers = [Answering(graph)(images, 8), Answering(lowered.SerializeToString(), "basic")(images, 8)]
    exact, low = (probabilities(logits, metadata) for logits in answers)
    return float(np.abs(exact - low).mean())


def test_a_budget_that_holds_anyway_leaves_nothing(exported: Path, searching: Searching) -> None:
    found, facts, _ = searching(exported, int8_shift=1.0, int8_flips=1.0)
    assert found.held and found.chosen.left == 0 and not any(one.left for one in found.sensitivity)
    noise = [one.sqnr_db for one in found.sensitivity]
    assert len(noise) > 5 and noise == sorted(noise)  # which nodes hurt most is told all the same
    assert facts["kept_weighted"]["budget"] == 0
    assert [trial.calibrator for trial in found.calibrators] == list(CALIBRATORS)
    assert found.chosen.shift == min(trial.shift for trial in found.calibrators if trial.shift is not None)
    assert found.images == 16


def test_fewer_calibration_images_are_every_second_one_and_so_on(
    exported: Path, images: dict[str, Path], tmp_path: Path
) -> None:
    many = smooth_images(40, seed=5)[:, None]
    np.save(images["calibration"], many)
    config = VariantConfig(int8_shift=1.0, int8_flips=1.0)
    facts: Any = variant(graph=exported, **images, out=tmp_path, precision=Precision.INT8, config=config)
    found = Found.model_validate(facts["search"])
    assert [one.images for one in found.sizes] == [20, 40]
    assert found.sizes[-1].shift == found.chosen.shift and found.sizes[-1].flips == found.chosen.flips
    np.save(images["calibration"], many[::2])
    plain = VariantConfig(int8_method=found.calibrator)
    variant(graph=exported, **images, out=tmp_path, precision=Precision.INT8, config=plain)
    alone = moved(exported, onnx.load(tmp_path / "variant.onnx"), np.load(images["held_back"]))
    assert found.sizes[0].shift == pytest.approx(alone, rel=1e-3) and alone != found.chosen.shift


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("mobilenetv3_small_100", marks=pytest.mark.slow),
        pytest.param("resnet18", marks=pytest.mark.slow),
        pytest.param("tf_efficientnet_b4", marks=pytest.mark.slow),
    ],
)
def test_a_tight_budget_is_kept_by_leaving_few_and_every_rule_holds(
    graph_of: Callable[..., Path],
    images: dict[str, Path],
    tmp_path: Path,
    searching: Searching,
    model: str,
) -> None:
    graph = graph_of(model)
    minmax = VariantConfig(int8_method="minmax")
    plain: Any = variant(graph=graph, **images, out=tmp_path, precision=Precision.INT8, config=minmax)
    budget = plain["check"]["mean_shift"] / 4
    found, facts, lowered = searching(graph, int8_shift=budget, int8_flips=1.0)
    assert found.held and 0 < found.chosen.left < len(found.sensitivity)
    assert found.chosen.time_share < 0.9
    assert moved(graph, lowered, np.load(images["held_back"])) <= budget * 1.001
    check_rules(lowered)
    left = {one.node for one in found.sensitivity if one.left}
    assert len(left) == found.chosen.left == facts["kept_weighted"]["budget"]
    assert not left & {node.name for node in quantised_nodes(lowered)}
    weights = {tensor.name for tensor in lowered.graph.initializer}
    assert all(node.input[1] in weights for node in lowered.graph.node if node.name in left)  # plain float weights
    assert [one.sqnr_db for one in found.sensitivity] == sorted(one.sqnr_db for one in found.sensitivity)
    assert sum(one.time_share for one in found.sensitivity) == pytest.approx(1, abs=0.01)


def stretch(model: onnx.ModelProto) -> str:
    """Make one activation hard for INT8 without changing any answer; returns the name of the node that reads it.

    Every other channel of a convolution's output becomes 2,000 times as large, and what reads it takes 2,000 times
    less of it: no one scale fits both kinds. All that lies between the two nodes is a ReLU.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for first in [node for node in model.graph.node if node.op_type == "Conv"]:
        (relu, *more) = readers[first.output[0]]
        if relu.op_type != "Relu" or more:
            continue
        (second, *others) = readers[relu.output[0]]
        # timm's residual branches end in zeros before they are trained: a node without weights is never hard.
        if second.op_type != "Conv" or others or not numpy_helper.to_array(weights[second.input[1]]).any():
            continue
        for name, axis, factor in ((first.input[1], 0, 2e3), (first.input[2], 0, 2e3), (second.input[1], 1, 1 / 2e3)):
            values = numpy_helper.to_array(weights[name]).copy()
            np.moveaxis(values, axis, 0)[::2] *= np.float32(factor)
            weights[name].CopyFrom(numpy_helper.from_array(values, name))
        return str(second.name)
    raise AssertionError("no two convolutions with a ReLU between them")


def test_a_node_made_hard_on_purpose_is_the_one_that_is_left(
    exported: Path, images: dict[str, Path], changed: Changed, searching: Searching
) -> None:
    planted: list[str] = []
    graph = changed(exported, lambda m: planted.append(stretch(m)))
    judged = np.load(images["held_back"])
    np.testing.assert_allclose(Answering(graph)(judged, 8), Answering(exported)(judged, 8), rtol=1e-2, atol=1e-3)
    usual = searching(exported, int8_shift=1.0, int8_flips=1.0)[0].chosen.shift
    assert usual
    found, _, lowered = searching(graph, int8_shift=2 * usual, int8_flips=1.0)
    assert not any(trial.held for trial in found.calibrators)  # no calibrator mends it
    assert found.sensitivity[0].node == planted[0]
    assert [one.node for one in found.sensitivity if one.left] == planted
    assert found.held and moved(graph, lowered, judged) <= 2 * usual


def test_either_half_of_the_budget_can_break_it(exported: Path, held_back: Path) -> None:
    model, images = onnx.load(exported), np.load(held_back)
    expected = Answering(exported)(images, 8)
    expected[:2] = expected[:2, ::-1] * 9  # two decisions are turned round, whatever the threshold
    flips = Budget(images, expected, read_metadata(model), 1.0, 1.0).judge(model)[1]
    assert flips in (1, 2)
    for shift, share, held in ((1.0, flips / 24, True), (1.0, (flips - 0.5) / 24, False), (1e-4, 1.0, False)):
        assert Budget(images, expected, read_metadata(model), shift, share).judge(model)[2] is held


def test_what_cannot_be_held_is_said_and_nothing_is_left(exported: Path, searching: Searching) -> None:
    found, facts, _ = searching(exported, int8_shift=0.0)
    assert not found.held
    assert found.chosen.left == facts["kept_weighted"]["budget"] == 0
    assert max(trial.left for trial in found.curve) == len(found.sensitivity) - 1  # it went as far as it could


def test_a_search_without_held_back_images_is_refused(exported: Path, calibration: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"graph": exported, "calibration": calibration, "out": tmp_path}
    with pytest.raises(UsageError, match="held-back training images"):
        variant(**given, precision=Precision.INT8, config=VariantConfig())
    with pytest.raises(DataError, match="24 of 24 held-back images are calibration images too"):
        variant(**given, precision=Precision.INT8, config=VariantConfig(), held_back=calibration)
    few = tmp_path / "few.npy"
    np.save(few, np.load(calibration)[:7])
    with pytest.raises(DataError, match=r"few\.npy holds 7 .*at least 8; .* patients, of whom it needs 24"):
        variant(**given, precision=Precision.INT8, config=VariantConfig(), held_back=few)


@pytest.mark.parametrize(("count", "note"), [(8, "judged on 8 held-back images only"), (16, "")])
def test_a_search_judged_on_few_images_says_so(
    exported: Path, calibration: Path, held_back: Path, tmp_path: Path, count: int, note: str
) -> None:
    few = tmp_path / "few.npy"
    np.save(few, np.load(held_back)[:count])
    facts = variant(
        graph=exported, calibration=calibration, held_back=few, out=tmp_path, precision=Precision.INT8,
        config=VariantConfig(),
    )  # fmt: skip
    found = Found.model_validate(facts["search"])
    assert found.images == count
    assert found.note == "" if not note else note in found.note
