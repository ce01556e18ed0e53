"""The accuracy stage: the whole test split, in file order, by the engine alone."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cxr_doubles.graphs import METADATA, SIZE, images
from scipy.special import softmax

from cxr_core.config import AccuracyConfig, EngineConfig
from cxr_core.engines.opening import open_engine
from cxr_core.engines.scoring import accuracy
from cxr_core.errors import DataError, ModelError, RefusedError

CONFIG = EngineConfig(threads=1)
Built = Callable[..., Path]
FIELDS = ["row", "file", "label", "kind", "patient", "number", "split"]


def write_tensors(folder: Path, pixels: np.ndarray, splits: list[str]) -> Path:
    folder.mkdir()
    np.save(folder / "images.npy", pixels)
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for row, split in enumerate(splits):  # file names fall while rows rise
            writer.writerow([row, f"test/{900 - row}.jpeg", row % 2, "virus", f"virus{row}", row, split])
    return folder


@pytest.fixture
def tensors(tmp_path: Path) -> Path:
    pixels = images(23, SIZE, seed=5)[:, 0].astype(np.uint8)
    return write_tensors(tmp_path / "tensors", pixels, ["test" if row % 3 else "train" for row in range(23)])


def run(folder: Path, tensors: Path, out: Path, batch: int = 4) -> dict:
    out.mkdir(exist_ok=True)
    return accuracy(
        engine=folder / "engine", engine_metadata=folder / "engine.json", tensors=tensors, out=out,
        config=AccuracyConfig(batch=batch), engine_config=CONFIG,
    )  # fmt: skip


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "fake"])
def test_every_test_image_is_scored_once_in_file_order(name: str, built: Built, tensors: Path, tmp_path: Path) -> None:
    facts = run(built(name), tensors, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    wanted = [row for row in range(22, -1, -1) if row % 3]
    assert [row["file"] for row in rows] == [f"test/{900 - row}.jpeg" for row in wanted]
    assert list(rows[0]) == ["file", "label", "kind", "patient", "logit_normal", "logit_pneumonia", "probability"]
    assert facts["images"] == len(wanted) and facts["not_finite"] == 0 and facts["fake"] is (name == "fake")
    pixels = np.load(tensors / "images.npy")[wanted][:, None].astype(np.float32)
    runner, _ = open_engine(built(name) / "engine", built(name) / "engine.json", config=CONFIG)
    with runner:
        expected = runner(pixels)
    logits = np.array([[float(row["logit_normal"]), float(row["logit_pneumonia"])] for row in rows])
    np.testing.assert_allclose(logits, expected, atol=2e-4)
    chance = softmax(logits / METADATA["cxr.temperature"], axis=1)[:, 1]
    np.testing.assert_allclose([float(row["probability"]) for row in rows], chance, atol=2e-9)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_the_same_engine_leaves_the_same_bytes(name: str, built: Built, tensors: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "a", tmp_path / "b"):
        run(built(name), tensors, out)
    assert (tmp_path / "a/scores.csv").read_bytes() == (tmp_path / "b/scores.csv").read_bytes()


def test_answers_that_are_not_numbers_are_written_and_counted(
    built: Built, tensors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_FAKE", "nan:fp32")
    facts = run(built("fake"), tensors, tmp_path / "out")
    assert facts["not_finite"] == facts["images"] == 15
    assert {row["probability"] for row in rows_of(tmp_path / "out")} == {"nan"}


def test_no_test_image_is_a_data_error(built: Built, tmp_path: Path) -> None:
    folder = write_tensors(tmp_path / "tensors", np.zeros((2, SIZE, SIZE), np.uint8), ["train", "val"])
    with pytest.raises(DataError, match="no row with split 'test'"):
        run(built("fake"), folder, tmp_path / "out")


def test_an_index_beyond_the_images_is_a_data_error(built: Built, tmp_path: Path) -> None:
    folder = write_tensors(tmp_path / "tensors", np.zeros((2, SIZE, SIZE), np.uint8), ["test"] * 3)
    with pytest.raises(DataError, match=r"names row 2, images\.npy has 2"):
        run(built("fake"), folder, tmp_path / "out")


def test_images_of_another_size_are_a_model_error(built: Built, tmp_path: Path) -> None:
    folder = write_tensors(tmp_path / "tensors", np.zeros((2, 40, 40), np.uint8), ["test"] * 2)
    with pytest.raises(ModelError, match=r"takes 32x32 pixels, tensors/images\.npy has 40x40"):
        run(built("fake"), folder, tmp_path / "out")


def test_a_foreign_engine_scores_nothing(built: Built, tensors: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "engine.json").write_bytes((built("fake") / "engine.json").read_bytes())
    (other / "engine").write_bytes(b"something else")
    with pytest.raises(RefusedError):
        run(other, tensors, tmp_path / "out")
    assert not (tmp_path / "out/scores.csv").exists()
