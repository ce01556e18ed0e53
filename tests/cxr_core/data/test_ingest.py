import csv
import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_core.config import DataConfig
from cxr_core.data.ingest import THUMB, ingest
from cxr_core.data.litter import walk
from cxr_core.errors import DataError

Prepare = Callable[..., SimpleNamespace]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _ingest(folder: Path, out: Path, **fields: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    return ingest(folder=folder, out=out, config=DataConfig(**fields))


def test_the_published_layout(published: Path, prepare: Prepare) -> None:
    done = prepare(published, stop="ingest")
    rows = _rows(done.manifest)
    files = sorted(path.relative_to(published).as_posix() for path in published.rglob("*.jpeg"))
    assert [row["file"] for row in rows] == files
    for row in rows:
        split, label, _ = row["file"].split("/")
        content = (published / row["file"]).read_bytes()
        assert (row["original_split"], row["label"]) == (split, label)
        assert row["bytes"] == str(len(content)) and row["file_sha256"] == hashlib.sha256(content).hexdigest()
        assert row["kind"] in ("normal",) if label == "NORMAL" else row["kind"] in ("bacteria", "virus")
    assert done.ingest["source"] == "published" and done.ingest["quarantined"] == 0
    assert done.ingest["images"] == sum(sum(c.values()) for c in done.ingest["counts"].values()) == len(files)


def test_thumbnails_stand_in_the_order_of_the_manifest(published: Path, prepare: Prepare) -> None:
    done = prepare(published, stop="ingest")
    thumbs = np.load(done.thumbs)
    rows = _rows(done.manifest)
    assert thumbs.dtype == np.uint8 and thumbs.shape == (len(rows), THUMB, THUMB)
    for row, thumb in zip(rows, thumbs, strict=True):
        image = Image.open(published / row["file"])
        assert np.array_equal(thumb, np.asarray(image.resize((THUMB, THUMB), Image.Resampling.BILINEAR)))


def test_the_flat_layout_makes_every_stranger_a_patient_and_says_so(flat: Path, prepare: Prepare) -> None:
    done = prepare(flat, stop="ingest")
    rows = _rows(done.manifest)
    assert done.ingest["source"] == "flat"
    assert len({row["patient"] for row in rows}) == len(rows)
    assert {row["original_split"] for row in rows} == {""}
    assert any("not of the published form" in sentence for sentence in done.ingest["warnings"])


def test_phantoms_say_phantom(published: Path, prepare: Prepare) -> None:
    (published / "PHANTOM.json").write_text("{}")
    assert prepare(published, stop="ingest").ingest["source"] == "phantom"


def test_the_zip_form_gives_the_same_rows_and_its_litter_is_counted(published: Path, tmp_path: Path) -> None:
    plain = _ingest(published, tmp_path / "a")
    outer = tmp_path / "unpacked"
    shutil.copytree(published, outer / "chest_xray/chest_xray")
    litter = [
        "__MACOSX/chest_xray/._train",
        "chest_xray/.DS_Store",
        "chest_xray/chest_xray/train/.DS_Store",
        "chest_xray/chest_xray/train/NORMAL/._IM-0001-0001.jpeg",
    ]
    for name in litter:
        (outer / name).parent.mkdir(parents=True, exist_ok=True)
        (outer / name).write_bytes(b"\0")
    nested = _ingest(outer, tmp_path / "b")
    assert nested["litter"] == len(litter) and nested["quarantined"] == 0
    assert nested["counts"] == plain["counts"]
    inner = [row["file"].removeprefix("chest_xray/chest_xray/") for row in _rows(tmp_path / "b/manifest.csv")]
    assert inner == [row["file"] for row in _rows(tmp_path / "a/manifest.csv")]


def test_the_second_copy_inside_the_zip_is_left_out(published: Path, tmp_path: Path) -> None:
    plain = _ingest(published, tmp_path / "a")
    shutil.copytree(published, tmp_path / "copy")
    shutil.move(tmp_path / "copy", published / "chest_xray")
    twice = _ingest(published, tmp_path / "b")
    assert twice["nested_copy"] == plain["images"] and twice["images"] == plain["images"]
    assert twice["digest"] == plain["digest"] and any("second copy" in s for s in twice["warnings"])


def test_folder_names_are_taken_in_any_case(published: Path, tmp_path: Path) -> None:
    before = _ingest(published, tmp_path / "a")
    (published / "train/NORMAL").rename(published / "train/Normal")
    (published / "test").rename(published / "Test")
    assert _ingest(published, tmp_path / "b")["counts"] == before["counts"]


def _spoil_with(published: Path, encoded: Callable[..., bytes]) -> dict[str, str]:
    """One file of each bad sort; returns file to expected reason."""
    good = next((published / "train/NORMAL").glob("*.jpeg")).read_bytes()
    bad: dict[str, tuple[str, bytes]] = {
        "train/NORMAL/IM-9001-0001.jpeg": ("truncated", good[: len(good) // 2]),
        "train/NORMAL/IM-9002-0001.jpeg": ("empty", b""),
        "train/NORMAL/IM-9003-0001.jpeg": ("format", b"not an image at all"),
        "train/NORMAL/notes.txt": ("format", b"remember the milk"),
        "train/NORMAL/person9_virus_1.jpeg": ("label_conflict", good),
        "train/NORMAL/IM-9004-0001.png": ("bomb", encoded(Image.new("L", (3000, 3000)))),
        "train/other/IM-9005-0001.jpeg": ("unlabelled", good),
        "train/IM-9006-0001.jpeg": ("unlabelled", good),
        "loose.jpeg": ("unlabelled", good),
    }
    for name, (_, content) in bad.items():
        (published / name).parent.mkdir(exist_ok=True)
        (published / name).write_bytes(content)
    (published / "train/NORMAL/IM-9007-0001.jpeg").symlink_to("nowhere")
    return {name: reason for name, (reason, _) in bad.items()} | {"train/NORMAL/IM-9007-0001.jpeg": "unreadable"}


def test_every_bad_file_is_quarantined_with_its_reason_and_the_run_goes_on(
    published: Path, tmp_path: Path, encoded: Callable[..., bytes]
) -> None:
    before = _ingest(published, tmp_path / "a")
    expected = _spoil_with(published, encoded)
    (published / "README.md").write_text("a document is no image")
    facts = _ingest(published, tmp_path / "b", quarantine_share=0.5, largest_pixels=1_000_000)
    found = {row["file"]: row["reason"] for row in _rows(tmp_path / "b/quarantine.csv")}
    assert found == expected
    assert facts["quarantined"] == len(expected) and facts["ignored"] == 1
    assert facts["images"] == before["images"] and facts["digest"] == before["digest"]


def test_too_many_bad_files_stop_the_run_with_their_list(
    published: Path, tmp_path: Path, encoded: Callable[..., bytes]
) -> None:
    expected = _spoil_with(published, encoded)
    with pytest.raises(DataError) as caught:
        _ingest(published, tmp_path / "out", largest_pixels=1_000_000)
    for name in expected:
        assert name in str(caught.value)
    assert "allowed are 1.0%" in str(caught.value) and "data.quarantine_share" in str(caught.value)


def test_a_share_right_at_the_limit_passes(published: Path, tmp_path: Path) -> None:
    images = _ingest(published, tmp_path / "a")["images"]
    (published / "train/NORMAL/IM-9002-0001.jpeg").touch()
    share = 1 / (images + 1)
    assert _ingest(published, tmp_path / "b", quarantine_share=share)["quarantined"] == 1
    with pytest.raises(DataError):
        _ingest(published, tmp_path / "c", quarantine_share=share * 0.99)


def test_a_name_that_is_no_text_is_quarantined(published: Path, tmp_path: Path) -> None:
    good = next((published / "train/NORMAL").glob("*.jpeg"))
    shutil.copy(good, published / "train/NORMAL/IM-\udcff.jpeg")
    facts = _ingest(published, tmp_path / "out", quarantine_share=0.5)
    assert facts["quarantine_reasons"] == {"name": 1}


@pytest.mark.parametrize("state", ["missing", "empty", "litter", "file", "strange"])
def test_a_folder_without_radiographs_is_refused(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "data"
    if state == "file":
        folder.write_text("x")
    elif state != "missing":
        folder.mkdir()
        name = {"litter": ".DS_Store", "strange": "cats/1.jpeg"}.get(state)
        if name:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
    with pytest.raises(DataError) as caught:
        _ingest(folder, tmp_path / "out")
    assert str(folder) in str(caught.value) and "data/README.md" in str(caught.value)


@pytest.mark.parametrize("label", ["NORMAL", "PNEUMONIA"])
@pytest.mark.parametrize("way", ["gone", "empty"])
def test_a_missing_class_is_refused_by_name(published: Path, tmp_path: Path, label: str, way: str) -> None:
    shutil.rmtree(published / "train" / label)
    if way == "empty":
        (published / "train" / label).mkdir()
    with pytest.raises(DataError, match=f"found none of {label}"):
        _ingest(published, tmp_path / "out")


def test_without_a_train_folder_nothing_can_be_learned(published: Path, tmp_path: Path) -> None:
    shutil.rmtree(published / "train")
    with pytest.raises(DataError, match="train"):
        _ingest(published, tmp_path / "out")


def test_outputs_are_the_same_bytes_wherever_the_folder_lies(published: Path, tmp_path: Path) -> None:
    _ingest(published, tmp_path / "a")
    moved = tmp_path / "elsewhere"
    shutil.copytree(published, moved)
    _ingest(moved, tmp_path / "b")
    names = walk(tmp_path / "a").files
    assert names == ("manifest.csv", "quarantine.csv", "thumbs.npy")
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


def test_the_folder_is_never_written_to(published: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in published.rglob("*")}
    _ingest(published, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in published.rglob("*")} == before


def test_the_pixel_digest_sees_pixels_and_not_the_container(published: Path, tmp_path: Path) -> None:
    source = sorted((published / "train/NORMAL").glob("*.jpeg"))[0]
    with io.BytesIO() as buffer:
        Image.open(source).convert("RGB").save(buffer, "PNG")
        (published / "train/NORMAL/IM-8001-0001.png").write_bytes(buffer.getvalue())
    facts = _ingest(published, tmp_path / "out")
    rows = {Path(row["file"]).name: row for row in _rows(tmp_path / "out/manifest.csv")}
    assert rows["IM-8001-0001.png"]["pixel_sha256"] == rows[source.name]["pixel_sha256"]
    assert rows["IM-8001-0001.png"]["file_sha256"] != rows[source.name]["file_sha256"]
    assert any("exactly the same pixels" in sentence for sentence in facts["warnings"])
