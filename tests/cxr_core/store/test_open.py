import subprocess
import sys
from pathlib import Path

import pytest

from cxr_core.errors import StoreError
from cxr_core.store import Store


def test_a_new_store_has_the_stated_layout(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a" / "store")
    found = {path.name for path in store.root.iterdir()}
    assert found == {
        "FORMAT", "blobs", "actions", "runs", "pins", "leases", "quarantine", "work", "tmp", "locks", "attempts",
    }  # fmt: skip
    assert (store.root / "FORMAT").read_text() == "2\n"


def test_a_store_is_found_again(tmp_path: Path) -> None:
    ref = Store.open(tmp_path).put_bytes(b"x", "x")  # beside what else lies in the folder
    assert Store.open(tmp_path, create=False).read_bytes(ref) == b"x"


def test_none_is_made_where_none_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store at .*--store or CXR_STORE"):
        Store.open(tmp_path / "absent", create=False)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("text", ["3", "3\n", "17"])
def test_a_newer_format_is_refused(tmp_path: Path, text: str) -> None:
    store = Store.open(tmp_path)
    (store.root / "FORMAT").write_text(text)
    with pytest.raises(StoreError, match="upgrade cxr"):
        Store.open(tmp_path)


@pytest.mark.parametrize("text", ["", "one", "0", "-1", "1.0", "\0", "9" * 50])
def test_a_damaged_format_is_refused(tmp_path: Path, text: str) -> None:
    (Store.open(tmp_path).root / "FORMAT").write_text(text)
    with pytest.raises(StoreError, match="damaged"):
        Store.open(tmp_path)


def test_a_lost_format_is_not_guessed(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    (store.root / "FORMAT").unlink()
    Store.open(tmp_path)  # still without content: an interrupted making, completed
    store.put_bytes(b"x", "x")
    (store.root / "FORMAT").unlink()
    with pytest.raises(StoreError, match="has content but no FORMAT"):
        Store.open(tmp_path)


def test_a_file_in_the_stores_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="failed while"):
        Store.open(tmp_path / "file")


def test_importing_the_store_is_cheap() -> None:
    heavy = "torch timm pandas numpy PIL onnx openvino prefect sklearn matplotlib"
    script = f"import sys, cxr_core.store; assert not set('{heavy}'.split()) & sys.modules.keys(), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", script], check=True)
