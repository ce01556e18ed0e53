"""The published radiographs, prepared copy: what its README counts must come out of these stages."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cxr_core.config import CalibrationConfig, DataConfig, SplitConfig, TensorsConfig
from cxr_core.data.calibration import calibration
from cxr_core.data.ingest import ingest
from cxr_core.data.split import split
from cxr_core.data.tables import read_table
from cxr_core.data.tensors import open_tensors, tensors


@pytest.fixture(scope="module")
def done(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    out = tmp_path_factory.mktemp("real")
    folder = real_data / "chest_xray_224"
    facts: dict[str, Any] = {"ingest": ingest(folder=folder, out=out, config=DataConfig())}
    facts["split"] = split(manifest=out / "manifest.csv", thumbs=out / "thumbs.npy", out=out, config=SplitConfig())
    facts["tensors"] = tensors(
        folder=folder,
        manifest=out / "manifest.csv",
        split=out / "split.csv",
        out=out,
        config=TensorsConfig(size=64),
        data=DataConfig(),
    )
    return SimpleNamespace(out=out, **facts)


def test_the_counts_are_those_of_the_readme(done: SimpleNamespace) -> None:
    assert done.ingest["counts"] == {
        "train": {"NORMAL": 1122, "PNEUMONIA": 3330},
        "val": {"NORMAL": 8, "PNEUMONIA": 8},
        "test": {"NORMAL": 193, "PNEUMONIA": 329},
    }
    assert done.ingest["kinds"] == {"normal": 1323, "bacteria": 2172 + 8 + 204, "virus": 1158 + 125}
    assert (done.ingest["images"], done.ingest["patients"], done.ingest["quarantined"]) == (4990, 3482, 0)
    assert done.ingest["source"] == "published"


def test_kind_and_patient_agree_with_the_manifest_beside_the_data(done: SimpleNamespace, real_data: Path) -> None:
    with (real_data / "manifest.csv").open(newline="") as file:
        theirs = {
            row["file"].removeprefix("chest_xray_224/"): (row["kind"], row["patient"]) for row in csv.DictReader(file)
        }
    ours = read_table(done.out / "manifest.csv", ())
    assert {row.file: (row.kind, row.patient) for row in ours.itertuples()} == theirs


def test_there_are_27_surplus_images_and_no_other_near_duplicate(done: SimpleNamespace) -> None:
    table = read_table(done.out / "manifest.csv", ())
    assert len(table) - table["pixel_sha256"].nunique() == 27
    identical = sum(size * (size - 1) // 2 for size in table["pixel_sha256"].value_counts())
    assert done.split["near_duplicate_pairs"] == identical == 29
    assert not any("nearly identical" in sentence for sentence in done.split["warnings"])


def test_the_split_is_a_seventh_by_patient_and_the_shared_numbers_are_a_warning(done: SimpleNamespace) -> None:
    counts = {name: sum(labels.values()) for name, labels in done.split["counts"].items()}
    assert counts["test"] == 522 and sum(counts.values()) == 4990
    assert counts["val"] == pytest.approx((4990 - 522) / 7, abs=5)
    warnings = json.loads((done.out / "warnings.json").read_text())
    assert any(s.startswith("144 bare patient numbers of the series person") for s in warnings)
    kinds = done.split["kinds"]
    for kind in ("normal", "bacteria", "virus"):
        assert kinds["val"][kind] / counts["val"] == pytest.approx(kinds["train"][kind] / counts["train"], abs=0.01)


def test_the_shortcuts_come_near_their_reference(done: SimpleNamespace) -> None:
    """Reference for the ridge on 32x32 pixels: accuracy 0.75, AUC 0.91 on test."""
    assert done.split["shortcuts"]["pixels"]["accuracy"] == pytest.approx(0.75, abs=0.02)
    assert done.split["shortcuts"]["pixels"]["auc"] == pytest.approx(0.91, abs=0.015)
    assert done.split["shortcuts"]["geometry"]["auc"] > 0.7


def test_tensors_and_calibration_hold_the_whole_set(done: SimpleNamespace, tmp_path: Path) -> None:
    data = open_tensors(done.out / "tensors")
    assert data.images.shape == (4990, 64, 64)
    facts = calibration(tensors=done.out / "tensors", out=tmp_path, config=CalibrationConfig())
    assert facts["images"] == facts["patients"] == 256
