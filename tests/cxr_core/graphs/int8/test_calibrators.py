from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from cxr_core.graphs.answers import Answering
from cxr_core.graphs.int8.calibrators import BINS, CALIBRATORS, Histogram, clips, histograms, thinned_histograms
from cxr_core.graphs.int8.qdq import activations, named, quantisable
from cxr_core.graphs.int8.rules import LEVELS


def seen(values: np.ndarray) -> Histogram:
    magnitudes = np.abs(values)
    return Histogram(np.histogram(magnitudes, BINS, (0, magnitudes.max()))[0].astype(np.int64), float(magnitudes.max()))


@pytest.fixture
def outlier() -> np.ndarray:
    """What INT8 does badly: a bell, and one value far away from it."""
    return np.append(np.random.default_rng(0).normal(0, 1, 200_000), 40.0)


def squared_error(values: np.ndarray, clip: float) -> float:
    step = clip / LEVELS
    return float(((values - np.clip(np.round(values / step), -LEVELS, LEVELS) * step) ** 2).sum())


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_an_outlier_is_clipped(outlier: np.ndarray, method: str) -> None:
    assert CALIBRATORS["minmax"](seen(outlier)) == 40
    assert 2 < CALIBRATORS[method](seen(outlier)) < 25


def test_each_calibrator_is_best_at_what_it_is_for(outlier: np.ndarray) -> None:
    found = {method: rule(seen(outlier)) for method, rule in CALIBRATORS.items()}
    errors = {method: squared_error(outlier, clip) for method, clip in found.items()}
    assert min(errors, key=errors.__getitem__) == "mse"
    assert np.mean(np.abs(outlier) <= found["percentile"]) == pytest.approx(0.9999, abs=1e-4)


@pytest.mark.parametrize("method", ["entropy", "mse"])
def test_values_that_fill_their_range_are_not_clipped(method: str) -> None:
    assert CALIBRATORS[method](seen(np.linspace(-3, 3, 100_000))) == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize("method", CALIBRATORS)
def test_zeros_of_a_relu_do_not_pull_the_clip_down(method: str) -> None:
    values = np.abs(np.random.default_rng(1).normal(0, 1, 50_000))
    alone, among_zeros = (CALIBRATORS[method](seen(v)) for v in (values, np.append(values, np.zeros(50_000))))
    assert among_zeros == pytest.approx(alone, rel=0.25)


def test_a_tensor_that_is_always_zero_has_no_clip() -> None:
    for method in CALIBRATORS:
        assert clips({"dead": Histogram(np.full(BINS, 0, np.int64), 0.0)}, method) == {"dead": 0.0}


@pytest.mark.parametrize("count", [8, 9, 11])
def test_fewer_images_are_counted_as_they_would_be_alone_and_none_is_passed_again(
    count: int, exported: Path, calibration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = named(onnx.load(exported))
    images = np.load(calibration)[:count]
    tensors = activations(model, quantisable(model, ()))
    alone = {len(images[::step]): histograms(model, tensors, images[::step]) for step in (1, 2, 4)}
    passed: list[int] = []
    session = Answering.__init__

    def opened(answering: Answering, *given: Any) -> None:
        session(answering, *given)
        inner = answering.session
        answering.session = SimpleNamespace(
            run=lambda names, fed: (passed.append(len(fed["input"])), inner.run(names, fed))[1]
        )

    monkeypatch.setattr(Answering, "__init__", opened)
    found = thinned_histograms(model, tensors, images, 2)
    assert sum(passed) == 2 * count
    assert list(found) == sorted(alone) and len(found) == 3
    for size, expected in alone.items():
        for name in tensors:
            ours, theirs = found[size][name], expected[name]
            assert ours.largest == pytest.approx(theirs.largest, rel=1e-5)
            assert ours.counts.sum() == theirs.counts.sum()
            # Other batches may be computed in another order, which moves a value over the edge of its bin.
            assert np.abs(ours.counts - theirs.counts).sum() <= 0.001 * theirs.counts.sum()
    assert any(len({one[name].largest for one in found.values()}) == 3 for name in tensors)  # ranges do differ


def test_every_value_of_every_image_is_counted(exported: Path, calibration: Path) -> None:
    model = named(onnx.load(exported))
    images = np.load(calibration)[:5]
    tensors = activations(model, quantisable(model, ()))
    found = histograms(model, tensors, images)
    shapes = {v.name: v.type.tensor_type.shape for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for name in tensors:
        values = np.prod([d.dim_value for d in shapes[name].dim[1:]])
        assert found[name].counts.sum() in (5 * values, 10 * values)  # the graph may average image and mirror image
        assert found[name].counts[-1] > 0  # the largest is in the last bin
