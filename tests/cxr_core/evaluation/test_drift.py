"""Drift: two engines' answers, image by image, each at its own threshold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_core.errors import DataError
from cxr_core.evaluation.drift import drifts, read_changes
from cxr_core.evaluation.rows import Row
from cxr_core.refs import Precision


def _scores(path: Path, probabilities: dict[str, float]) -> Path:
    lines = ["file,label,kind,patient,logit_normal,logit_pneumonia,probability"]
    for number, (name, p) in enumerate(sorted(probabilities.items())):
        margin = "nan" if np.isnan(p) else f"{np.log(p / (1 - p)):.6f}"
        shown = "" if np.isnan(p) else p
        lines.append(f"{name},{number % 2},normal,p{number},0,{margin},{shown}")
    path.write_text("\n".join(lines) + "\n")
    return path


def _changes(tmp_path: Path, before: dict[str, float], after: dict[str, float], **more: Any) -> Path:
    row = Row(precision=Precision.INT8, backend="openvino", accuracy=0.5, engine_bytes=100)
    change = {
        "precision": "int8",
        "backend": "openvino",
        "before": row.model_dump(mode="json"),
        "threshold_before": 0.5,
        "scores_before": str(_scores(tmp_path / "before.csv", before)),
        "scores_after": str(_scores(tmp_path / "after.csv", after)),
        "versions_before": {"openvino": "2026.4", "cpu": "x"},
        "versions_after": {"openvino": "2026.5", "cpu": "x"},
        "why": ["engine: environment.openvino 2026.4 -> 2026.5"],
        **more,
    }
    file = tmp_path / "changes.json"
    file.write_text(json.dumps([change]))
    return file


NOW = Row(precision=Precision.INT8, backend="openvino", accuracy=0.75, engine_bytes=90)


def test_flips_are_counted_each_at_its_own_threshold(tmp_path: Path) -> None:
    file = _changes(tmp_path, {"a": 0.4, "b": 0.6, "c": 0.55, "d": 0.9}, {"a": 0.45, "b": 0.62, "c": 0.58, "d": 0.9})
    (at_half,) = drifts(read_changes(file), [NOW], threshold=0.5)
    assert (at_half.images, at_half.flips) == (4, 0)
    assert at_half.mean_abs_dp == pytest.approx((0.05 + 0.02 + 0.03) / 4)
    (higher,) = drifts(read_changes(file), [NOW], threshold=0.6)
    assert higher.flips == 1  # c
    assert higher.versions == ("openvino 2026.4 -> 2026.5",)
    assert higher.engine_bytes == (100, 90)
    assert higher.accuracy == (0.5, 0.75)


def test_an_answer_that_is_no_number_is_another_decision(tmp_path: Path) -> None:
    file = _changes(tmp_path, {"a": 0.4, "b": 0.6}, {"a": float("nan"), "b": 0.6})
    (found,) = drifts(read_changes(file), [NOW], threshold=0.5)
    assert found.flips == 1
    assert found.mean_abs_dp == 0


def test_only_images_that_both_runs_scored_are_paired(tmp_path: Path) -> None:
    file = _changes(tmp_path, {"a": 0.4, "b": 0.6, "gone": 0.1}, {"a": 0.4, "b": 0.4, "new": 0.9})
    (found,) = drifts(read_changes(file), [NOW], threshold=0.5)
    assert (found.images, found.flips) == (2, 1)


def test_a_branch_without_a_row_now_is_left_out(tmp_path: Path) -> None:
    file = _changes(tmp_path, {"a": 0.4, "b": 0.6}, {"a": 0.4, "b": 0.6})
    assert drifts(read_changes(file), [], threshold=0.5) == ()


def test_what_is_no_list_of_changes_is_named(tmp_path: Path) -> None:
    file = tmp_path / "changes.json"
    file.write_text('[{"precision": "int9"}]')
    with pytest.raises(DataError, match=r"changes\.json"):
        read_changes(file)
    assert read_changes(None) == ()
