from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cxr_core.config import DataConfig, TensorsConfig
from cxr_core.data.columns import INDEX
from cxr_core.data.decode import decode_and_resize
from cxr_core.data.tables import read_table, write_table
from cxr_core.data.tensors import open_tensors, tensors
from cxr_core.errors import DataError

Prepare = Callable[..., SimpleNamespace]


def _again(done: SimpleNamespace, out: Path) -> None:
    out.mkdir()
    tensors(
        folder=done.folder,
        manifest=done.manifest,
        split=done.table,
        out=out,
        config=TensorsConfig(size=32),
        data=DataConfig(),
    )


def test_each_row_is_what_the_one_preprocessing_gives(published: Path, prepare: Prepare) -> None:
    data = open_tensors(prepare(published).tensors)
    assert data.images.dtype == np.uint8 and data.images.shape == (len(data.index), 32, 32)
    assert tuple(data.index.columns) == INDEX and list(data.index["row"]) == list(range(len(data.index)))
    for row in data.index.itertuples():
        assert np.array_equal(data.images[row.row], decode_and_resize(published / row.file, size=32, filter="bilinear"))
        assert row.label == ("PNEUMONIA" in row.file)


def test_images_are_memory_mapped_and_cannot_be_written(published: Path, prepare: Prepare) -> None:
    data = open_tensors(prepare(published).tensors)
    assert isinstance(data.images.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0


def test_select_gives_the_rows_of_a_split(published: Path, prepare: Prepare) -> None:
    data = open_tensors(prepare(published).tensors)
    rows = {name: data.select(name) for name in ("train", "val", "test")}
    assert sorted(np.concatenate(list(rows.values()))) == list(range(len(data.index)))
    assert all((data.index["split"].iloc[rows[name]] == name).all() for name in rows)
    assert data.labels.dtype == np.int64 and set(data.labels) == {0, 1}
    with pytest.raises(DataError, match="found 'dev'"):
        data.select("dev")


def test_the_same_bytes_each_time(published: Path, prepare: Prepare, tmp_path: Path) -> None:
    done = prepare(published)
    _again(done, tmp_path / "again")
    for name in ("images.npy", "index.csv"):
        assert (tmp_path / "again/tensors" / name).read_bytes() == (done.tensors / name).read_bytes()


def test_a_file_that_changed_since_ingest_is_refused(published: Path, prepare: Prepare, tmp_path: Path) -> None:
    done = prepare(published, stop="split")
    file = next(published.rglob("train/NORMAL/*.jpeg"))
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="changed since ingest") as caught:
        _again(done, tmp_path / "a")
    assert file.name in str(caught.value)
    file.unlink()
    with pytest.raises(DataError, match="could be read at ingest"):
        _again(done, tmp_path / "b")


def test_manifest_and_split_of_different_sets_are_refused(published: Path, prepare: Prepare, tmp_path: Path) -> None:
    done = prepare(published, stop="split")
    table = read_table(done.table, ())
    done.table = tmp_path / "short.csv"
    write_table(done.table, list(table.columns), table.iloc[1:].itertuples(index=False))
    with pytest.raises(DataError, match="list different files"):
        _again(done, tmp_path / "a")


def test_damaged_tensors_are_refused(published: Path, prepare: Prepare) -> None:
    folder = prepare(published).tensors
    np.save(folder / "images.npy", np.load(folder / "images.npy")[1:])
    with pytest.raises(DataError, match="expected uint8"):
        open_tensors(folder)
    (folder / "images.npy").write_bytes(b"junk")
    with pytest.raises(DataError, match="run the stage tensors again"):
        open_tensors(folder)
    (folder / "images.npy").unlink()
    with pytest.raises(DataError, match=r"expected images\.npy"):
        open_tensors(folder)
