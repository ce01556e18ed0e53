"""An engine is refused before any of its bytes reach a runtime."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_core.config import EngineConfig
from cxr_core.engines import opening
from cxr_core.engines.metadata import check_engine, read_metadata
from cxr_core.engines.opening import open_engine
from cxr_core.engines.registry import backend
from cxr_core.errors import MachineError, ModelError, RefusedError

CONFIG = EngineConfig(threads=1)
BACKENDS = ["openvino", "onnxruntime", "tensorrt", "fake"]
Built = Callable[..., Path]


@pytest.fixture(params=BACKENDS)
def folder(request: pytest.FixtureRequest, built: Built, tmp_path: Path) -> Path:
    """A copy of a built engine, free to be spoiled."""
    for source in built(request.param).iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    return tmp_path


def metadata(folder: Path) -> dict:
    return json.loads((folder / "engine.json").read_text())


def spoil(folder: Path, **fields: object) -> None:
    (folder / "engine.json").write_text(json.dumps(metadata(folder) | fields))


def never_opened(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("the engine was loaded although it should have been refused first")

    monkeypatch.setattr(backend(name), "runner", fail, raising=False)


def test_the_engine_that_was_built_here_passes(folder: Path) -> None:
    known = check_engine(folder / "engine", metadata(folder))
    assert known == read_metadata(folder / "engine.json")


def test_one_flipped_bit_is_refused_unloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never_opened(monkeypatch, metadata(folder)["backend"])
    content = bytearray((folder / "engine").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "engine").write_bytes(content)
    with pytest.raises(RefusedError, match=r"expected sha256:.* found sha256:.* not loaded"):
        open_engine(folder / "engine", folder / "engine.json", config=CONFIG)


def test_another_device_or_version_is_refused_unloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built_for = metadata(folder)["built_for"]
    never_opened(monkeypatch, metadata(folder)["backend"])
    for key in built_for.keys() - {"driver"}:
        spoil(folder, built_for=built_for | {key: "another"})
        with pytest.raises(MachineError, match=rf"built elsewhere: {key}: built for 'another', here .*cxr rerun"):
            open_engine(folder / "engine", folder / "engine.json", config=CONFIG)


def test_a_field_that_one_side_lacks_is_a_difference(folder: Path) -> None:
    spoil(folder, built_for={})
    with pytest.raises(MachineError, match="version: built for None"):
        check_engine(folder / "engine", metadata(folder))


def test_another_number_of_processors_or_driver_is_no_reason_to_refuse(folder: Path) -> None:
    found = metadata(folder)
    assert "cpus" not in found["built_for"]
    if found["backend"] == "tensorrt":
        assert found["built_for"]["driver"] == "580.95.05"
        spoil(folder, built_for=found["built_for"] | {"driver": "another"})
        assert check_engine(folder / "engine", metadata(folder)).built_for["driver"] == "another"
    else:
        assert "cpus" in backend(found["backend"]).environment()


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"schema_version": 2}'])
def test_metadata_that_are_none_are_refused(folder: Path, text: str) -> None:
    (folder / "engine.json").write_text(text)
    with pytest.raises(RefusedError, match="build the engine again"):
        open_engine(folder / "engine", folder / "engine.json", config=CONFIG)


def test_missing_files_are_refused(folder: Path) -> None:
    (folder / "engine").unlink()
    with pytest.raises(RefusedError, match="cannot be read"):
        open_engine(folder / "engine", folder / "engine.json", config=CONFIG)
    with pytest.raises(RefusedError, match="cannot be read"):
        open_engine(folder / "engine", folder / "nothing.json", config=CONFIG)


def test_an_engine_of_another_size_than_its_metadata_is_a_model_error(folder: Path) -> None:
    spoil(folder, model=metadata(folder)["model"] | {"size": 64})
    with pytest.raises(ModelError, match=r"takes images \[1, 32, 32\], its metadata say \[1, 64, 64\]"):
        opening.open_engine(folder / "engine", folder / "engine.json", config=CONFIG)


@pytest.mark.parametrize("value", [0, -1.0, None, float("inf")])
def test_a_temperature_that_is_none_is_refused(folder: Path, value: object) -> None:
    spoil(folder, model=metadata(folder)["model"] | {"temperature": value})
    with pytest.raises(RefusedError, match=r"model\.temperature"):
        read_metadata(folder / "engine.json")
