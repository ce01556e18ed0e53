from pathlib import Path

import pytest

from cxr_core.data.litter import data_root, is_litter, walk
from cxr_core.errors import DataError


@pytest.mark.parametrize("name", ["__MACOSX", "._IM-0001-0001.jpeg", ".DS_Store", "Thumbs.db", "desktop.ini"])
def test_litter_is_known(name: str) -> None:
    assert is_litter(name)


@pytest.mark.parametrize("name", ["IM-0001-0001.jpeg", "NORMAL", "train", ".hidden.jpeg", "_person.jpeg"])
def test_other_names_are_no_litter(name: str) -> None:
    assert not is_litter(name)


def test_walk_tells_files_from_litter(tmp_path: Path) -> None:
    for name in ("b/1.png", "a/2.png", "a/.DS_Store", "__MACOSX/a/._2.png", "__MACOSX/plain.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = walk(tmp_path)
    assert found.files == ("a/2.png", "b/1.png")
    assert found.litter == ("__MACOSX/a/._2.png", "__MACOSX/plain.png", "a/.DS_Store")


def test_walk_follows_links_and_ends_in_a_loop(tmp_path: Path) -> None:
    inside, outside = tmp_path / "set", tmp_path / "elsewhere"
    inside.mkdir()
    outside.mkdir()
    (outside / "1.png").touch()
    (inside / "train").symlink_to(outside)
    (outside / "back").symlink_to(inside)
    assert walk(inside).files == ("train/1.png",)


def test_the_root_is_found_inside_nested_folders(tmp_path: Path) -> None:
    root = tmp_path / "chest_xray/chest_xray"
    (root / "train/NORMAL").mkdir(parents=True)
    (tmp_path / "chest_xray/__MACOSX").mkdir()
    assert data_root(tmp_path) == root
    assert data_root(root) == root


def test_a_folder_without_splits_or_labels_is_refused_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "dogs").mkdir()
    with pytest.raises(DataError, match="found folders cats, dogs"):
        data_root(tmp_path)
