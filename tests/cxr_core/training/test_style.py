"""Style's log odds see style, and only that of other patients; a network trained beside them does not lean on it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxr_core.config import TrainConfig
from cxr_core.errors import DataError
from cxr_core.training.loop import train
from cxr_core.training.style import LARGEST_LOG_ODDS, style, style_log_odds


def _images(labels: np.ndarray, rims: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """32 px of noise; a faint patch where the label is 1, a bright rim on top where ``rims`` is."""
    images = rng.integers(40, 160, (len(labels), 32, 32)).astype(np.uint8)
    images[labels == 1, 10:22, 8:16] += 30
    images[rims == 1, :3] += 60
    return images


def test_the_style_of_a_rim_is_seen_and_what_lies_in_the_lungs_is_not() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    groups = np.arange(200)
    by_rim = style_log_odds(_images(labels, labels, rng), labels, groups)
    assert roc_auc_score(labels, by_rim) > 0.99
    assert np.abs(by_rim).max() <= LARGEST_LOG_ODDS
    image = rng.integers(0, 256, (32, 32)).astype(np.uint8)
    assert np.isfinite(style(image)).all()
    moved = np.roll(image[8:24, 8:24], 5, axis=1)
    other = image.copy()
    other[8:24, 8:24] = moved
    assert np.allclose(style(other)[:20], style(image)[:20])


def test_a_patient_is_never_judged_by_a_fit_that_saw_him() -> None:
    """Random labels, ten images a patient that look alike: a fit that saw the patient would know his label."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 10)
    labels = rng.permutation(np.arange(60) % 2)[groups]
    tones = rng.integers(0, 120, (60, 8))[groups]
    images = np.repeat(tones, 128, axis=1).reshape(-1, 32, 32).astype(np.uint8)
    unseen = roc_auc_score(labels, style_log_odds(images, labels, groups))
    seen = roc_auc_score(labels, style_log_odds(images, labels, np.arange(len(labels))))
    assert seen > unseen + 0.1


def test_one_patient_of_a_class_is_too_few() -> None:
    labels = np.array([0, 0, 1, 1])
    with pytest.raises(DataError, match=r"train\.debias asks for two patients of each class"):
        style_log_odds(np.zeros((4, 32, 32), np.uint8), labels, np.array([1, 1, 2, 3]))


def _auc(folder: Path, debias: float) -> float:
    """AUC on validation images whose rim says the opposite of their label, after training on such whose rim agrees."""
    rng = np.random.default_rng(2)
    labels = np.tile([0, 1], 350)
    agrees = rng.random(700) < np.where(np.arange(700) < 500, 0.95, 0.0)
    tensors, out, work = (folder / name for name in ("tensors", "out", "work"))
    for each in (tensors, out, work):
        each.mkdir(parents=True)
    np.save(tensors / "images.npy", _images(labels, np.where(agrees, labels, 1 - labels), rng))
    names = [f"n{i}" for i in range(700)]
    pd.DataFrame(
        {
            "row": range(700),
            "file": names,
            "label": labels,
            "kind": np.where(labels == 0, "normal", "virus"),
            "patient": names,
            "number": names,
            "split": ["train"] * 500 + ["val"] * 200,
        }
    ).to_csv(tensors / "index.csv", index=False)
    config = TrainConfig(images=4800, augmentation="none", amp="none", threads=1, debias=debias)
    return float(train(tensors=tensors, out=out, work=work, config=config)["auc"])  # type: ignore[arg-type]


def test_a_network_trained_beside_it_does_not_lean_on_style(tmp_path: Path) -> None:
    leaning, upright = _auc(tmp_path / "0", 0.0), _auc(tmp_path / "1", 1.0)
    assert upright > 0.8
    assert upright > leaning + 0.15
