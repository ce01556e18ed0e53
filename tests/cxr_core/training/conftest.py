"""A small set of frozen tensors whose classes a network can tell apart."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 images of 32 px; PNEUMONIA has a bright patch. Splits train, val, test by thirds of 48, 24, 24."""
    folder = tmp_path_factory.mktemp("tensors")
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 48)
    images = rng.integers(40, 120, (96, 32, 32)).astype(np.uint8)
    for row in np.flatnonzero(labels):
        images[row, 10:22, 8:16] += 100
    np.save(folder / "images.npy", images)
    kinds = np.where(labels == 0, "normal", np.where(np.arange(96) % 4 == 1, "bacteria", "virus"))
    pd.DataFrame(
        {
            "row": range(96),
            "file": [f"{i:03}.png" for i in range(96)],
            "label": labels,
            "kind": kinds,
            "patient": [f"{k}-{i}" for i, k in enumerate(kinds)],
            "number": [f"n{i}" for i in range(96)],
            "split": ["train"] * 48 + ["val"] * 24 + ["test"] * 24,
        }
    ).to_csv(folder / "index.csv", index=False)
    return folder
