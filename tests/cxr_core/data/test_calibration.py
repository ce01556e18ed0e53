from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr_core.config import CalibrationConfig
from cxr_core.data.calibration import calibration, check_calibration, read_calibration
from cxr_core.data.tensors import Tensors, open_tensors
from cxr_core.errors import DataError


@pytest.fixture
def folder(published: Path, prepare: Callable[..., SimpleNamespace]) -> Path:
    tensors: Path = prepare(published).tensors
    return tensors


def _calibrate(folder: Path, out: Path, **fields: Any) -> tuple[dict[str, Any], np.ndarray, pd.DataFrame]:
    out.mkdir()
    facts = calibration(tensors=folder, out=out, config=CalibrationConfig(**{"images": 20, **fields}))
    return facts, *read_calibration(out / "calibration.npy", out / "calibration.csv")


def test_it_takes_training_images_stratified_and_in_shape(folder: Path, tmp_path: Path) -> None:
    facts, images, table = _calibrate(folder, tmp_path / "out")
    data = open_tensors(folder)
    train = data.index.iloc[data.select("train")]
    assert images.shape == (20, 1, 32, 32) and images.dtype == np.uint8
    assert set(table["file"]) <= set(train["file"])
    assert np.array_equal(images[:, 0], data.images[table["row"]])
    for kind, share in train["kind"].value_counts(normalize=True).items():
        assert abs((table["kind"] == kind).sum() - 20 * share) < 1
    assert facts["images"] == 20 and sum(facts["kinds"].values()) == 20


def test_a_patient_gives_a_second_image_only_after_all_have_given_one(folder: Path, tmp_path: Path) -> None:
    facts, _, table = _calibrate(folder, tmp_path / "out")
    assert facts["patients"] == table["patient"].nunique() == 20


def test_what_judges_a_calibration_comes_from_other_training_patients(folder: Path, tmp_path: Path) -> None:
    facts, _, table = _calibrate(folder, tmp_path / "out", held_back=16)
    images, judging = read_calibration(tmp_path / "out/held_back.npy", tmp_path / "out/held_back.csv")
    data = open_tensors(folder)
    assert not set(judging["patient"]) & set(table["patient"])
    assert set(judging["file"]) <= set(data.index["file"].iloc[data.select("train")])
    assert np.array_equal(images[:, 0], data.images[judging["row"]])
    assert facts["held_back"] == {
        "images": len(judging),
        "patients": judging["patient"].nunique(),
        "kinds": judging["kind"].value_counts().to_dict(),
    }
    assert 0 < len(judging) <= 16


def test_where_calibration_needs_every_training_image_nothing_is_held_back(folder: Path, tmp_path: Path) -> None:
    images = len(open_tensors(folder).select("train"))
    facts, *_ = _calibrate(folder, tmp_path / "out", images=images)
    assert (facts["images"], facts["held_back"]["images"]) == (images, 0)


def test_the_seed_decides(folder: Path, tmp_path: Path) -> None:
    seen = [tuple(_calibrate(folder, tmp_path / str(n), seed=seed)[2]["file"]) for n, seed in enumerate((0, 0, 1))]
    assert seen[0] == seen[1] != seen[2]
    assert (tmp_path / "0/calibration.npy").read_bytes() == (tmp_path / "1/calibration.npy").read_bytes()


def test_too_few_training_images_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 500 usable training images"):
        _calibrate(folder, tmp_path / "out", images=500)


@pytest.fixture
def good(folder: Path, tmp_path: Path) -> tuple[np.ndarray, pd.DataFrame, Tensors]:
    _, images, table = _calibrate(folder, tmp_path / "good")
    return images.copy(), table, open_tensors(folder)


def test_the_check_passes_what_the_stage_made(good: tuple[np.ndarray, pd.DataFrame, Tensors]) -> None:
    check_calibration(*good)


def test_none_and_too_few_are_refused(good: tuple[np.ndarray, pd.DataFrame, Tensors]) -> None:
    images, table, data = good
    with pytest.raises(DataError, match="none was given"):
        check_calibration(None, None, data)
    with pytest.raises(DataError, match="none was given"):
        check_calibration(images[:0], table.iloc[:0], data)
    with pytest.raises(DataError, match="at least 16"):
        check_calibration(images[:8], table.iloc[:8], data)
    with pytest.raises(DataError, match="as many rows"):
        check_calibration(images, table.iloc[1:], data)


def test_random_data_are_refused(good: tuple[np.ndarray, pd.DataFrame, Tensors]) -> None:
    images, table, data = good
    images[3] = np.random.default_rng(0).integers(0, 256, images[3].shape)
    with pytest.raises(DataError, match="none of the training images"):
        check_calibration(images, table, data)


def test_another_shape_or_type_is_refused(good: tuple[np.ndarray, pd.DataFrame, Tensors]) -> None:
    images, table, data = good
    for wrong in (images[:, :, :16], images.astype(np.float32), images[:, 0]):
        with pytest.raises(DataError, match="expected calibration images uint8"):
            check_calibration(wrong, table, data)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_held_out_patient_or_picture_is_refused(good: tuple[np.ndarray, pd.DataFrame, Tensors], split: str) -> None:
    images, table, data = good
    row = int(data.select(split)[0])
    named = table.copy()
    named.loc[2, "patient"] = data.index["patient"].iloc[row]
    with pytest.raises(DataError, match="of val or test"):
        check_calibration(images, named, data)
    images[2] = data.images[row]
    with pytest.raises(DataError, match="same pixels as an image of val or test"):
        check_calibration(images, table, data)


def test_a_missing_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run the stage calibration"):
        read_calibration(tmp_path / "calibration.npy", tmp_path / "calibration.csv")
