from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from PIL import Image

from cxr_core.data.shortcut import audit_shortcuts


def _table(sizes: list[int], ill: list[bool], train: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": np.where(ill, "PNEUMONIA", "NORMAL"),
            "width": sizes,
            "height": 100,
            "bytes": 5000,
            "split": ["train"] * train + ["test"] * (len(sizes) - train),
        }
    )


def test_a_class_told_by_its_width_alone_is_found() -> None:
    rng = np.random.default_rng(0)
    ill = rng.random(200) < 0.5
    sizes = np.where(ill, 200, 100) + rng.integers(0, 40, 200)
    thumbs = rng.integers(0, 256, (200, 48, 48), dtype=np.uint8)
    rows = audit_shortcuts(_table(sizes.tolist(), ill.tolist(), 120), thumbs)
    assert rows["geometry"]["auc"] > 0.95 and rows["geometry"]["accuracy"] > 0.9
    assert 0.3 < rows["pixels"]["auc"] < 0.7
    assert (rows["geometry"]["n_train"], rows["geometry"]["n_test"]) == (120, 80)


def test_a_class_told_by_blurred_pixels_alone_is_found() -> None:
    rng = np.random.default_rng(0)
    ill = rng.random(200) < 0.5
    thumbs = rng.integers(0, 120, (200, 48, 48), dtype=np.uint8)
    thumbs[ill, :12, :12] += 90
    rows = audit_shortcuts(_table(rng.integers(100, 140, 200).tolist(), ill.tolist(), 120), thumbs)
    assert rows["pixels"]["auc"] > 0.95
    assert 0.3 < rows["geometry"]["auc"] < 0.7


def test_a_geometry_that_gives_the_class_away_becomes_a_warning(
    published: Path, prepare: Callable[..., SimpleNamespace]
) -> None:
    for file in published.rglob("PNEUMONIA/*.jpeg"):
        image = Image.open(file)
        image.resize((image.width * 2, image.height)).save(file, quality=90)
    done = prepare(published, stop="split")
    assert done.shortcuts["geometry"]["auc"] > 0.9
    assert any(sentence.startswith("shortcut: width") for sentence in done.warnings)
