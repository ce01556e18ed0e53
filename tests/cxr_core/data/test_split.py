import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cxr_core.config import SplitConfig
from cxr_core.data.split import split
from cxr_core.errors import DataError

Prepare = Callable[..., SimpleNamespace]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_test_stays_test_and_val_joins_train_before_val_is_cut(published: Path, prepare: Prepare) -> None:
    done = prepare(published, stop="split")
    rows = _rows(done.table)
    assert [row["file"] for row in rows] == sorted(row["file"] for row in rows)
    assert all((row["split"] == "test") == row["file"].startswith("test/") for row in rows)
    assert {r["split"] for r in rows} == {"train", "val", "test"}
    assert any("joined train" in sentence for sentence in done.warnings)
    numbers = {name: {r["number"] for r in rows if r["split"] == name} for name in ("train", "val")}
    assert not numbers["train"] & numbers["val"]
    assert done.split["counts"]["test"]["NORMAL"] == len(list((published / "test/NORMAL").iterdir()))


def test_a_flat_folder_has_test_cut_too(flat: Path, prepare: Prepare) -> None:
    done = prepare(flat, stop="split", test_share=0.2)
    rows = _rows(done.table)
    share = sum(row["split"] == "test" for row in rows) / len(rows)
    assert share == pytest.approx(0.2, abs=0.05)
    assert any("test was cut" in sentence for sentence in done.warnings)


def test_a_published_set_without_test_has_test_cut(published: Path, prepare: Prepare) -> None:
    shutil.rmtree(published / "test")
    done = prepare(published, stop="split")
    assert done.split["counts"]["test"]["NORMAL"] > 0 and done.split["counts"]["test"]["PNEUMONIA"] > 0


def test_the_seed_decides_and_nothing_else(published: Path, prepare: Prepare) -> None:
    first = prepare(published, stop="split").table.read_bytes()
    assert prepare(published, stop="split").table.read_bytes() == first
    assert prepare(published, stop="split", seed=1).table.read_bytes() != first


def test_val_has_each_kind(published: Path, prepare: Prepare) -> None:
    assert set(prepare(published, stop="split").split["kinds"]["val"]) == {"normal", "bacteria", "virus"}


def _train_file(published: Path) -> Path:
    return sorted((published / "train/NORMAL").glob("*.jpeg"))[0]


def test_a_planted_near_duplicate_across_train_and_test_is_refused(published: Path, prepare: Prepare) -> None:
    source = _train_file(published)
    shifted = np.roll(np.asarray(Image.open(source)), 1, axis=1)
    Image.fromarray(shifted).save(published / "test/NORMAL/IM-7777-0001.jpeg", quality=60)
    with pytest.raises(DataError, match="nearly identical") as caught:
        prepare(published, stop="split")
    assert "test/NORMAL/IM-7777-0001.jpeg" in str(caught.value) and source.name in str(caught.value)


def test_a_near_duplicate_within_the_pool_stays_on_one_side_for_any_seed(published: Path, prepare: Prepare) -> None:
    source = _train_file(published)
    Image.open(source).save(published / "train/NORMAL/IM-7777-0001.jpeg", quality=60)
    for seed in range(8):
        done = prepare(published, stop="split", seed=seed)
        sides = {r["split"] for r in _rows(done.table) if Path(r["file"]).name in (source.name, "IM-7777-0001.jpeg")}
        assert len(sides) == 1
    assert any("nearly identical" in sentence for sentence in done.warnings)


def test_an_identical_picture_across_train_and_test_is_refused(published: Path, prepare: Prepare) -> None:
    shutil.copy(_train_file(published), published / "test/NORMAL/IM-7777-0001.jpeg")
    with pytest.raises(DataError, match="the very same picture is in two splits"):
        prepare(published, stop="split")


def test_one_picture_under_two_labels_is_refused(published: Path, prepare: Prepare) -> None:
    shutil.copy(_train_file(published), published / "train/PNEUMONIA/person777_virus_1.jpeg")
    with pytest.raises(DataError, match="two labels"):
        prepare(published, stop="split")


def test_a_patient_in_train_and_test_is_refused(published: Path, prepare: Prepare) -> None:
    name = sorted((published / "train/PNEUMONIA").glob("person*_virus_*.jpeg"))[0].name
    other = sorted((published / "test/PNEUMONIA").glob("*virus*.jpeg"))[0]
    other.rename(other.with_name(name))
    with pytest.raises(DataError, match="is in two splits"):
        prepare(published, stop="split")


def test_a_number_shared_with_another_kind_is_a_warning(published: Path, prepare: Prepare) -> None:
    for folder, kind in (("train", "virus"), ("test", "bacteria")):
        file = sorted((published / folder / "PNEUMONIA").glob(f"*{kind}*.jpeg"))[0]
        file.rename(file.with_name(f"person900_{kind}_1.jpeg"))
    assert any("of the series person are in test" in sentence for sentence in prepare(published, stop="split").warnings)


@pytest.mark.parametrize("label", ["NORMAL", "PNEUMONIA"])
def test_a_test_split_of_one_class_is_refused(published: Path, prepare: Prepare, label: str) -> None:
    shutil.rmtree(published / "test" / label)
    with pytest.raises(DataError, match=f"found no {label}"):
        prepare(published, stop="split")


def test_manifest_and_thumbs_of_different_runs_are_refused(published: Path, prepare: Prepare, tmp_path: Path) -> None:
    done = prepare(published, stop="ingest")
    np.save(tmp_path / "other.npy", np.load(done.thumbs)[1:])
    with pytest.raises(DataError, match="same ingest"):
        split(manifest=done.manifest, thumbs=tmp_path / "other.npy", out=tmp_path, config=SplitConfig())


def test_the_test_digest_names_the_pictures_not_the_files(published: Path, prepare: Prepare) -> None:
    before = prepare(published, stop="split").split["test_digest"]
    file = sorted((published / "test/NORMAL").glob("*.jpeg"))[0]
    file.rename(file.with_name("IM-9999-0001.jpeg"))
    assert prepare(published, stop="split").split["test_digest"] == before
    (published / "test/NORMAL/IM-9999-0001.jpeg").unlink()
    assert prepare(published, stop="split").split["test_digest"] != before
