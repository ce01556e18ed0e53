"""Maps and robustness, on graphs of which it is known where they look."""

import json

import numpy as np
import pandas as pd
import pytest

from cxr_core.config import OcclusionConfig, RobustnessConfig, VariantConfig
from cxr_core.errors import DataError
from cxr_core.evaluation.intervals import wilson
from cxr_core.evaluation.maps import GRID, Occlusion
from cxr_core.evaluation.occlusion import losses, occlusion
from cxr_core.evaluation.robustness import CHANGES, changed, robustness
from cxr_core.evaluation.trials import CLEAN, Robustness
from cxr_core.evaluation.variants import open_variants
from cxr_core.graphs.variants import variant
from cxr_core.refs import Precision


@pytest.fixture(scope="module")
def run(tmp_path_factory, synthetic):
    folder = tmp_path_factory.mktemp("run")
    files = synthetic.whole_run(folder)
    return {**files, "variants": folder / "variants.json"}


@pytest.fixture(scope="module")
def pictures(run):
    return np.load(run["tensors"] / "images.npy")


def test_a_map_is_strong_where_the_graph_looks_and_nowhere_else(run, pictures):
    opened = open_variants(run["variants"])
    bright = np.full_like(pictures[0], 60)
    bright[12:36, 6:20] = 200
    left, right = (losses(opened[precision], bright) for precision in (Precision.FP32, Precision.INT8))
    assert left.shape == (GRID, GRID)
    assert left[GRID // 2, 3] > 0.005  # it was called ill for this
    assert np.abs(left[:, GRID // 2 :]).max() < 1e-9
    assert np.abs(right[:, : GRID // 2 - 1]).max() < 1e-9
    assert right[GRID // 2, -4] < -1e-3  # a dark place, greyed, speaks for it


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_a_graph_that_was_really_lowered_is_opened_and_answers_much_as_fp32(run, pictures, tmp_path, precision):
    np.save(tmp_path / "calibration.npy", pictures[:64, None])
    source = run["variants"].with_name("fp32.onnx")
    given = {"graph": source, "calibration": tmp_path / "calibration.npy", "out": tmp_path}
    variant(**given, precision=precision, config=VariantConfig(keep_stem=False, int8_method="minmax"))
    (tmp_path / "variants.json").write_text(json.dumps({"fp32": str(source), precision: "variant.onnx"}))
    opened = open_variants(tmp_path / "variants.json")
    plain, low = (opened[one](pictures[:40]) for one in (Precision.FP32, precision))
    assert 0 < np.abs(plain - low).max() < 0.05


def test_maps_are_of_the_first_images_and_of_fp32_beside_the_precision_that_disagrees(run):
    found = Occlusion.model_validate_json(run["occlusion"].read_bytes())
    told = json.loads(run["comparison"].read_text())["disagreements"]
    assert [one.file for one in found.maps] == [one["file"] for one in told[:3]]
    assert {one.precision for one in found.maps} == {Precision.INT8}
    assert all(one.fp32 != one.low for one in found.maps)


def test_a_precision_without_a_graph_has_no_map(run, tmp_path, synthetic):
    synthetic.variants(tmp_path)
    (tmp_path / "variants.json").write_text(json.dumps({"fp32": "fp32.onnx"}))
    given = {"comparison": run["comparison"], "tensors": run["tensors"], "variants": tmp_path / "variants.json"}
    facts = occlusion(**given, out=tmp_path, config=OcclusionConfig(images=3))
    assert facts == {"images": 0}


def test_robustness_counts_right_answers_on_validation_alone(run, pictures, tmp_path):
    config = RobustnessConfig(images=10_000)
    facts = robustness(tensors=run["tensors"], variants=run["variants"], out=tmp_path, config=config)
    found = Robustness.model_validate_json((tmp_path / "robustness.json").read_bytes())
    index = np.genfromtxt(run["tensors"] / "index.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    val = index["split"] == "val"
    assert facts["images"] == found.images == val.sum()
    called = pictures[val][:, 12:36, 6:20].mean((1, 2)) >= 110
    clean = next(one for one in found.trials if (one.kind, one.precision) == (CLEAN, Precision.FP32))
    assert clean.accuracy == pytest.approx((called == (index["label"][val] == 1)).mean())
    dark = [one for one in found.trials if one.kind.startswith("brightness") and one.precision is Precision.FP32]
    assert [one.level for one in dark] == [0.85, 0.7, 0.55, 0.4, 0.25]
    assert dark[-1].accuracy == pytest.approx((index["label"][val] == 0).mean())  # all too dark to be called
    assert {one.agreement for one in found.trials if one.precision is Precision.FP32} == {1.0}
    assert len(found.trials) == 2 * (1 + 5 * len(CHANGES))


def test_robustness_takes_patients_and_not_images_for_evidence(run, pictures, tmp_path):
    """Each image five times, bright for every second patient: wider than Wilson's, which takes all for evidence."""
    index = pd.read_csv(run["tensors"] / "index.csv")
    called = pd.factorize(index["patient"])[0] % 2
    seen = np.where(called[:, None, None] == 1, 200, 60) * np.ones_like(pictures)
    np.save(tmp_path / "images.npy", np.concatenate([seen.astype(np.uint8)] * 5))
    index = pd.concat([index] * 5, ignore_index=True)
    index.assign(row=index.index).to_csv(tmp_path / "index.csv", index=False)
    robustness(tensors=tmp_path, variants=run["variants"], out=tmp_path, config=RobustnessConfig(images=10_000))
    found = Robustness.model_validate_json((tmp_path / "robustness.json").read_bytes())
    clean = next(one for one in found.trials if (one.kind, one.precision) == (CLEAN, Precision.FP32))
    (low, high), narrow = clean.accuracy_interval, wilson(round(clean.accuracy * found.images), found.images)
    assert 0.3 < clean.accuracy < 0.7
    assert high - low > 1.5 * (narrow[1] - narrow[0])


@pytest.mark.parametrize("kind", CHANGES)
def test_every_change_grows_with_its_level_and_is_the_same_again(pictures, kind):
    some = pictures[:6]
    away = [np.abs(changed(some, kind, level, 0).astype(float) - some).mean() for level in CHANGES[kind][0]]
    assert away == sorted(away)
    assert away[0] > 0
    level = CHANGES[kind][0][2]
    assert (changed(some, kind, level, 0) == changed(some, kind, level, 0)).all()
    assert changed(some, kind, level, 0).dtype == np.uint8


def test_the_same_inputs_give_the_same_bytes(run, tmp_path):
    given = {"tensors": run["tensors"], "variants": run["variants"], "config": RobustnessConfig(images=40)}
    robustness(**given, out=tmp_path)
    assert (tmp_path / "robustness.json").read_bytes() == run["robustness"].read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [("{}", "fp32 must be among"), ("[]", "paths of graphs by precision"), ('{"fp64": "x"}', "'fp64' is not a valid")],
)
def test_unfit_lists_of_graphs_are_refused(tmp_path, content, words):
    (tmp_path / "variants.json").write_text(content)
    with pytest.raises(DataError, match=words):
        open_variants(tmp_path / "variants.json")
