"""A folder that changes between its fingerprint and its reading is refused, so that no key ever names other content."""

from pathlib import Path

import pytest

from cxr_core.config import DataConfig, PhantomConfig
from cxr_core.data.fingerprint import fingerprint
from cxr_core.data.ingest import ingest
from cxr_core.data.phantom import write_phantoms
from cxr_core.errors import DataError


def test_a_changed_folder_is_refused_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "data", PhantomConfig(patients=24, size=32))
    seen = fingerprint(tmp_path / "data").digest
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    ingest(folder=tmp_path / "data", out=tmp_path / "one", config=DataConfig(), fingerprint=seen)
    (tmp_path / "data" / "more.txt").write_text("new")
    with pytest.raises(DataError, match="changed while it was taken in"):
        ingest(folder=tmp_path / "data", out=tmp_path / "two", config=DataConfig(), fingerprint=seen)
