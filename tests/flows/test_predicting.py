"""``cxr predict`` as it is called: sources, outputs, exit status, what it imports, and how much memory it takes."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cxr_core.errors import ModelError, UsageError
from cxr_core.refs import Record
from cxr_core.release.contents import NOTICE
from cxr_core.release.manifest import Bundle, Held
from cxr_core.release.packing import entries_of, pack
from cxr_core.store import Store
from flows.predicting import Asked, predict
from flows.predictions import COLUMNS
from tests.conftest import PROJECT, Place
from tests.cxr_core.prediction.conftest import (
    bad_files,
    chest,
    encoded,
    release_folder,
    store_with_release,
    write_onnx,
)
from tests.cxr_core.release.conftest import MADE

Call = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return write_onnx(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with_release(tmp_path)


@pytest.fixture
def call(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """``call(*paths, ...)``: exit status and JSON document."""
    monkeypatch.setenv("CXR_STORE", str(store.root))

    def run(*paths: Path, **asked: Any) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = predict(Asked(paths, as_json=True, **{"check_scope": False, **asked}))
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three good ones."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encoded(Image.fromarray(chest(number))))
    return folder


def _run_in(store: Store, **changed: Any) -> None:
    """A run of one export and one report, as far as prediction looks."""
    folder = release_folder(store.root.parent / "of-the-run", **changed)
    records = {
        stage: Record(
            stage=stage, key=str(i) * 64, parts={}, seconds=1.0, outputs={name: store.put(folder / name, name)}
        ).model_dump(mode="json")
        for i, (stage, name) in enumerate((("export", "model.onnx"), ("report", "report.json")))
    }
    store.write_run("r1", {"run_id": "r1", "started": "2026-01-01T00:00:00+00:00", "records": records})


def test_every_source_gives_the_same_answers(
    call: Call, store: Store, images: Path, onnx_file: Path, tmp_path: Path
) -> None:
    _run_in(store)
    sources: dict[str, str | None] = {"run": None, "file": str(onnx_file), "release": "releases/one", "name": "one"}
    found = {name: call(images, model=model)[1] for name, model in sources.items()}
    (tmp_path / "renamed.onnx").write_bytes(onnx_file.read_bytes())
    found["by content"] = call(images, model=str(tmp_path / "renamed.onnx"))[1]
    rows = {name: [(r["label"], r["probability"]) for r in one["predictions"]] for name, one in found.items()}
    assert len(rows["run"]) == 3
    assert all(one == rows["run"] for one in rows.values())
    assert len({one["digest"] for one in found.values()}) == 1
    for name, one in found.items():
        told = [row["interval"] for row in one["predictions"]]
        assert any(told) == (name in {"run", "release", "name"}), name
        assert bool("ONNX file alone" in one["interval"]) != any(told), name
    assert found["release"]["release"]["precision"] == "int8"
    assert found["run"]["model"] == "run r1"


@pytest.fixture
def bundle(store: Store, tmp_path: Path) -> Path:
    """``releases/one`` as ``cxr store export`` writes it; only its lineage is left out."""
    (ref,) = store.pins()["releases/one"]
    held = (Held(ref=ref, path=""),)
    packed = Bundle(kind="release", name="one", artifacts=held, files=entries_of(store, held))
    return pack(store, packed, MADE, tmp_path / "one.cxr.tar").file


def test_a_bundle_needs_no_store(images: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "none"))
    assert predict(Asked([images], model=str(bundle), as_json=True)) == 0
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"model": "releases/two"}, UsageError, r"no such file, folder or release; releases in .*: releases/one"),
        ({"key": Path("key.pub")}, UsageError, "--key is for a bundle"),
        ({"run": "r9"}, UsageError, "r9"),
        ({"model": __file__}, ModelError, "cannot open it"),
        (
            {"csv": Path("/proc/nothing/x.csv"), "model": "one"},
            UsageError,
            r"--csv /proc/nothing/x\.csv cannot be written",
        ),
    ],
)
def test_wrong_use_says_what_is_there(
    call: Call, images: Path, asked: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        call(images, **asked)


def test_a_folder_without_an_image_is_wrong_use(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no image in"):
        call(tmp_path / "empty", model="one")


def test_damage_in_the_store_is_no_answer(call: Call, store: Store, images: Path) -> None:
    ref = next(entry for entry in store.entries(store.pins()["releases/one"][0]) if entry.name == "model.onnx")
    blob = store.root / "blobs" / "sha256" / ref.digest[7:9] / ref.digest[9:]
    blob.chmod(0o644)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(Exception, match=ref.digest[:19]):
        call(images, model="one")


def test_a_run_whose_report_is_lost_still_answers(call: Call, store: Store, images: Path) -> None:
    _run_in(store, only="here")  # so that the release's report has other bytes
    ref = next(ref for ref in _refs(store) if ref["name"] == "report.json")
    (store.root / "blobs" / "sha256" / ref["digest"][7:9] / ref["digest"][9:]).unlink()
    code, found = call(images)
    assert code == 0
    assert [row["interval"] for row in found["predictions"]] == [None] * 3
    assert "left out" in found["interval"]


def _refs(store: Store) -> list[dict[str, Any]]:
    return [ref for record in store.read_run("r1")["records"].values() for ref in record["outputs"].values()]


def test_bad_files_and_strangers_end_in_lists_of_their_own(call: Call, images: Path) -> None:
    words = bad_files(images)
    (images / "red.png").write_bytes(encoded(Image.new("RGB", (64, 64), (250, 20, 20))))
    (images / "0.png").unlink()
    (images / "1.png").unlink()
    (images / "2.png").unlink()
    code, found = call(images, model="one", check_scope=True)
    assert code == 1
    assert {Path(row["file"]).name for row in found["errors"]} == set(words)
    assert all(words[Path(row["file"]).name] in row["error"] for row in found["errors"])
    assert [Path(row["file"]).name for row in found["out_of_scope"]] == ["red.png"]
    assert found["predictions"] == []
    assert found["counts"] == {"labelled": 0, "out of scope": 1, "refused": len(words)}
    assert found["notice"] == NOTICE


def test_a_phantom_model_says_so_and_its_pictures_are_in_scope(call: Call, store: Store, images: Path) -> None:
    _run_in(store, data={"source": "phantom"})
    (images / "red.png").write_bytes(encoded(Image.new("RGB", (64, 64), (250, 20, 20))))
    code, found = call(images, check_scope=True)
    assert (code, found["phantom"], found["counts"]["labelled"]) == (0, True, 4)
    call(images, csv=images / "x.csv")
    assert (images / "x.csv").read_text().count("PHANTOM MODEL") == 4
    assert not found["scope"]["checked"] and "generated" in found["scope"]["reason"]


def test_the_csv_has_a_row_a_file_and_its_name_only_once_it_is_whole(
    call: Call, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_files(images)
    target = tmp_path / "out.csv"
    _, found = call(images, model="one", csv=target)
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["file"] for row in rows] == sorted(str(path) for path in images.iterdir())
    assert {(row["model"], row["notice"]) for row in rows} == {(found["digest"], NOTICE)}
    told = {row["file"]: row for row in rows}
    for row in found["predictions"]:
        assert float(told[row["file"]]["probability"]) == row["probability"]
        assert told[row["file"]]["label"] == row["label"]
        assert (told[row["file"]]["interval_images"] == "") == (row["interval"] is None)
    for row in found["errors"]:
        assert told[row["file"]] == told[row["file"]] | {"label": "", "probability": "", "reason": row["error"]}
    assert not target.with_name("out.csv.part").exists()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cxr_core.prediction.model.Model.probability", interrupted)
    with pytest.raises(UsageError, match="it is a folder"):
        call(images, model="one", csv=images)
    with pytest.raises(KeyboardInterrupt):
        call(images / "0.png", model="one", csv=tmp_path / "again.csv")
    assert not (tmp_path / "again.csv").exists()
    assert (tmp_path / "again.csv.part").read_text().startswith("file,status")


def test_lines_for_a_person_say_what_the_figures_mean(
    call: Call, images: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad_files(images)
    assert predict(Asked([images], model="one", check_scope=False)) == 1
    said = capsys.readouterr().out
    assert len(re.findall(r"^(?:PNEUMONIA|NORMAL) +[01]\.\d{3} ", said, re.MULTILINE)) == 3
    assert "3 labelled, 0 out of scope, 12 refused" in said
    assert "release: int8 on openvino, pass; the answers are its FP32 graph's" in said
    assert "model: one" in said and "95 % interval (Wilson)" in said and "from 0.400 on" in said
    assert "scope: not checked" in said
    assert said.rstrip().endswith(NOTICE)
    predict(Asked([images], model="one", csv=tmp_path / "x.csv"))
    said = capsys.readouterr().out
    assert "0.png" not in said and NOTICE in said


def test_a_name_is_one_line_and_tells_the_terminal_nothing(
    call: Call, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\nNORMAL       0.001  b\x1b[2J.png"
    (images / "0.png").rename(images / name)
    assert predict(Asked([images / name], model="one", check_scope=False)) == 0
    said = capsys.readouterr().out
    assert r"a\nNORMAL       0.001  b\x1b[2J.png" in said
    assert "\x1b" not in said
    _, found = call(images / name, model="one")
    assert found["predictions"][0]["file"] == str(images / name)


_NEEDED = {"numpy", "PIL", "onnxruntime", "pydantic", "pydantic_core", "yaml", "rich", "typer"}
_ALONE = """
import runpy, sys
refused = set(sys.argv[1].split())
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Refused())
sys.argv = ["cxr", *sys.argv[2:]]
runpy.run_module("flows.cli", run_name="__main__")
"""


def _others(needed: set[str]) -> str:
    """Modules of every distribution that this project names as a dependency, but for those."""
    named = {re.split(r"[^\w.-]", line)[0].lower() for line in requires("cxr") or []}
    return " ".join(
        module
        for module, distributions in packages_distributions().items()
        if module not in needed and named & {one.lower() for one in distributions}
    )


@pytest.mark.parametrize("what", ["file", pytest.param("release", marks=pytest.mark.slow), "bundle"])
def test_onnx_runtime_suffices(
    what: str, store: Store, onnx_file: Path, bundle: Path, images: Path, tmp_path: Path
) -> None:
    """Where no other dependency of this project can be imported; for the interval scipy is there too."""
    others = _others(_NEEDED if what == "file" else _NEEDED | {"scipy"})
    assert {"torch", "onnx", "prefect", "openvino", "pandas", "sklearn"} <= set(others.split())
    model = {"file": str(onnx_file), "release": "releases/one", "bundle": str(bundle)}[what]
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, others, "predict", str(images), "--model", model, "--any-picture", "--json"],
        capture_output=True, text=True, cwd=PROJECT, env=Place(tmp_path).environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["predictions"]) == 3


def test_a_person_at_a_terminal_sees_how_far_it_is_and_a_pipe_sees_none_of_it(
    onnx_file: Path, images: Path, tmp_path: Path
) -> None:
    reader, terminal = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "predict", str(images), "--model", str(onnx_file), "--any-picture"],
        stdout=subprocess.PIPE, stderr=terminal, text=True, cwd=PROJECT, env=Place(tmp_path).environment, check=False,
    )  # fmt: skip
    os.close(terminal)
    assert done.returncode == 0
    assert len(re.findall(r"^(?:PNEUMONIA|NORMAL) .*\.png$", done.stdout, re.MULTILINE)) == 3
    assert "predict " not in done.stdout
    assert b"predict" in os.read(reader, 100_000)
    os.close(reader)


_PEAK = """
import re, sys
from pathlib import Path
from flows.predicting import Asked, predict
code = predict(Asked([Path(p) for p in sys.argv[2:]], model=sys.argv[1], as_json=True, csv=Path(sys.argv[1] + ".csv")))
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], code, file=sys.stderr)
"""


def _peak(onnx: Path, *paths: Path) -> tuple[int, int]:
    """Most memory ever held, bytes, and the exit status."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, onnx, *paths], capture_output=True, text=True, cwd=PROJECT, check=True
    )
    kilobytes, code = done.stderr.split()[-2:]
    return int(kilobytes) * 1024, int(code)


def test_memory_does_not_grow_with_the_files_and_no_bomb_is_unpacked(
    onnx_file: Path, images: Path, tmp_path: Path
) -> None:
    for number in range(3):  # large enough that 250 of them at once would be 90 MB
        (images / f"{number}.png").write_bytes(encoded(Image.fromarray(chest(number, (600, 600)))))
    few, code = _peak(onnx_file, images)
    assert code == 0
    many = tmp_path / "many"
    many.mkdir()
    for number in range(250):
        (many / f"{number}.png").symlink_to(images / f"{number % 3}.png")
    bombs = tmp_path / "bombs"
    bombs.mkdir()
    bad_files(bombs)
    most, code = _peak(onnx_file, images, many, bombs)
    assert code == 1
    assert most - few < 48 << 20  # the names alone are some of it; the bomb would be 2,500 MB
