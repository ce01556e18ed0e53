"""The code digest sees every line that can change a result and nothing else."""

import sys
from pathlib import Path

import pytest

from cxr_core import code

SOURCE = '''"""Says one thing."""
import json
FACTOR = 2

def double(x):
    """Twice."""
    return FACTOR * x  # obvious
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "planted_stage.py"
    file.write_text(SOURCE)
    return file


def _digest(file: Path) -> str:
    code._source.cache_clear(), code._digest.cache_clear(), code._imports.cache_clear()
    sys.modules.pop(file.stem, None)
    return code.code_digests([file.stem])[f"{file.stem}.py"]


def test_words_change_nothing(module: Path) -> None:
    before = _digest(module)
    module.write_text(
        SOURCE.replace("Says one thing", "Says another").replace("Twice", "Two times").replace("obvious", "so")
    )
    assert _digest(module) == before


def test_a_constant_changes_it(module: Path) -> None:
    before = _digest(module)
    module.write_text(SOURCE.replace("FACTOR = 2", "FACTOR = 3"))
    assert _digest(module) != before


def test_imports_are_followed_also_inside_functions_and_the_listed_few_are_not() -> None:
    files = code.code_digests(["cxr_core.training.loop"])
    assert {"cxr_core/training/loop.py", "cxr_core/training/weights.py", "cxr_core/data/tensors.py"} <= set(files)
    assert not {"cxr_core/errors.py", "cxr_core/config.py", "cxr_core/progress.py"} & set(files)


def test_one_backend_does_not_see_another() -> None:
    files = code.code_digests(["cxr_core.engines.engine", "cxr_core.engines.openvino"])
    assert "cxr_core/engines/openvino/builder.py" in files
    assert not any(name.startswith(("cxr_core/engines/onnxruntime", "cxr_core/engines/tensorrt")) for name in files)
