from pathlib import Path

import pytest

from cxr_core.data.source import find_data
from cxr_core.errors import DataError


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXR_DATA", raising=False)


def test_the_order_is_argument_variable_project_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "project"
    asked, named = tmp_path / "asked", tmp_path / "named"
    own, shared = root / "data/chest_xray", tmp_path / "shared/data/chest_xray_224"
    for folder in (asked, named, own, shared):
        folder.mkdir(parents=True)
    monkeypatch.setenv("CXR_DATA", str(named))
    found = []
    found.append(find_data(asked, root))
    found.append(find_data(None, root))
    monkeypatch.delenv("CXR_DATA")
    found.append(find_data(None, root))
    own.rmdir()
    found.append(find_data(None, root))
    assert [source and source.path for source in found] == [asked, named, own, shared]
    assert [source and source.how for source in found] == [
        "asked for",
        "from CXR_DATA",
        "found at data/chest_xray",
        "found at ../shared/data/chest_xray_224",
    ]


def test_nothing_found_is_none(tmp_path: Path) -> None:
    assert find_data(None, tmp_path / "project") is None


def test_a_named_folder_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data/chest_xray").mkdir(parents=True)
    with pytest.raises(DataError, match="there is nothing"):
        find_data(tmp_path / "missing", tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="it is a file"):
        find_data(tmp_path / "file", tmp_path)
    monkeypatch.setenv("CXR_DATA", str(tmp_path / "missing"))
    with pytest.raises(DataError, match="CXR_DATA"):
        find_data(None, tmp_path)
