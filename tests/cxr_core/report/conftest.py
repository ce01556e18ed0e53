"""The made-up run of the evaluation tests as a fixture, so that no test needs an import path."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "synthetic", Path(__file__).parents[1] / "evaluation" / "synthetic.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> dict[str, Path]:
    """The artifacts of a run in which every kind of row occurs."""
    files: dict[str, Path] = synthetic.whole_run(tmp_path_factory.mktemp("run"))
    return files
