import json
from pathlib import Path

import numpy as np
import pytest

from cxr_core.config import DataConfig, PhantomConfig, SplitConfig
from cxr_core.data.duplicates import near_duplicates
from cxr_core.data.fingerprint import fingerprint
from cxr_core.data.ingest import ingest
from cxr_core.data.phantom import write_phantoms
from cxr_core.data.split import split
from cxr_core.data.tables import read_table
from cxr_core.errors import DataError

SMALL = PhantomConfig(patients=30, size=48)


def test_the_same_configuration_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, config in (("a", SMALL), ("b", SMALL), ("c", SMALL.model_copy(update={"seed": 1}))):
        write_phantoms(tmp_path / name, config)
    one, same, other = (fingerprint(tmp_path / name).digest for name in "abc")
    assert one == same != other


def test_the_marker_says_what_they_are(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "set", SMALL)
    assert json.loads((tmp_path / "set/PHANTOM.json").read_text())["phantom"] == SMALL.model_dump()


@pytest.mark.parametrize("patients", [24, 60])
def test_they_pass_every_check_of_a_real_set(tmp_path: Path, patients: int) -> None:
    write_phantoms(tmp_path / "set", PhantomConfig(patients=patients, size=48))
    facts = ingest(folder=tmp_path / "set", out=tmp_path, config=DataConfig())
    assert facts["source"] == "phantom" and facts["quarantined"] == 0 and facts["patients"] == patients
    assert set(facts["kinds"]) == {"normal", "bacteria", "virus"} and set(facts["counts"]) == {"train", "val", "test"}
    assert not facts["warnings"]
    done = split(manifest=tmp_path / "manifest.csv", thumbs=tmp_path / "thumbs.npy", out=tmp_path, config=SplitConfig())
    assert done["counts"]["val"]["NORMAL"] and done["counts"]["val"]["PNEUMONIA"]


def test_no_two_patients_look_alike_and_geometry_tells_nothing(tmp_path: Path) -> None:
    config = PhantomConfig(patients=200, size=64)
    write_phantoms(tmp_path / "set", config)
    ingest(folder=tmp_path / "set", out=tmp_path, config=DataConfig())
    table = read_table(tmp_path / "manifest.csv", ())
    near = near_duplicates(np.load(tmp_path / "thumbs.npy"), threshold=0.95)
    assert all(table["patient"][pair.first] == table["patient"][pair.second] for pair in near)
    assert table["width"].nunique() > 10 and (table["width"] >= table["height"]).all()
    split(manifest=tmp_path / "manifest.csv", thumbs=tmp_path / "thumbs.npy", out=tmp_path, config=SplitConfig())
    shortcuts = json.loads((tmp_path / "shortcuts.json").read_text())
    assert shortcuts["geometry"]["auc"] < 0.7
    # More than blur tells, or there is nothing to learn; less than all, or there is nothing to measure.
    assert 0.55 < shortcuts["pixels"]["auc"] < 0.97


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/precious.txt").write_text("mine")
    with pytest.raises(DataError, match="found something else"):
        write_phantoms(tmp_path / "set", SMALL)
    assert (tmp_path / "set/precious.txt").read_text() == "mine"
    write_phantoms(tmp_path / "phantoms", SMALL)
    with pytest.raises(DataError, match="found something else"):
        write_phantoms(tmp_path / "phantoms", SMALL.model_copy(update={"seed": 1}))


def test_a_set_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "set", SMALL)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    write_phantoms(tmp_path / "set", SMALL)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cxr_core.data.phantom._publish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "set", SMALL)
    assert list(tmp_path.iterdir()) == []
