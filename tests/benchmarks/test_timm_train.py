"""The benchmark of training beside timm's ``train.py``, as far as it goes without that file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import timm_train
from benchmarks.prepared import Prepared, profile_asked


def test_without_the_other_side_it_says_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIMM_TRAIN", str(tmp_path / "train.py"))
    with pytest.raises(SystemExit, match=r"TIMM_TRAIN must be the path of train\.py"):
        timm_train.measure(1)


def test_the_other_side_reads_each_split_of_ours_by_label(tmp_path: Path) -> None:
    (tensors := tmp_path / "tensors").mkdir()
    rows = [(0, "a.png", 0, "train"), (1, "sub/b.jpeg", 1, "train"), (2, "c.png", 1, "test")]
    pd.DataFrame(rows, columns=["row", "file", "label", "split"]).to_csv(tensors / "index.csv", index=False)
    for _, file, *_rest in rows:
        (tmp_path / "x-rays" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x-rays" / file).write_text(file)
    root = timm_train._folders(Prepared(profile_asked("smoke"), tmp_path / "x-rays", tensors), tmp_path / "out")
    found = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.*")}
    assert found == {"train/0/00000.png": "a.png", "train/1/00001.jpeg": "sub/b.jpeg", "test/1/00002.png": "c.png"}


def test_a_share_at_the_threshold_counts_as_positive() -> None:
    labels = np.array([0, 0, 1, 1])
    assert timm_train._scored(np.array([0.1, 0.4, 0.4, 0.9]), 0.4, labels) == {"accuracy": 0.75, "auc": 0.875}
