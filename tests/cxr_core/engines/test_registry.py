"""Backends by entry point; only the chosen room is imported, and no room imports its library to say what it can."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxr_core.engines import registry
from cxr_core.engines.registry import backend, known_backends, room
from cxr_core.errors import MachineError, UsageError
from tests.conftest import PROJECT

DOUBLES = Path(__file__).resolve().parents[2] / "doubles"


@pytest.fixture(autouse=True)
def _looked_up_anew() -> Iterator[None]:
    registry._entry_point.cache_clear()
    yield
    registry._entry_point.cache_clear()


def in_child(code: str, path: Path = DOUBLES) -> str:
    environment = os.environ | {"PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_known_backends_are_those_of_the_package_and_the_double() -> None:
    assert known_backends() == ("fake", "onnxruntime", "openvino", "tensorrt")
    assert {name: backend(name).fake for name in known_backends()} == {
        "fake": True,
        "onnxruntime": False,
        "openvino": False,
        "tensorrt": False,
    }
    assert all(backend(name).name == name for name in known_backends())


def test_no_double_is_found_where_nobody_puts_it_on_the_path() -> None:
    found = in_child(
        "from importlib.util import find_spec; from cxr_core.engines.registry import known_backends\n"
        "print(*known_backends())\n"
        "print([find_spec(name).origin for name in ('tensorrt', 'pynvml', 'cuda', 'cxr_doubles') if find_spec(name)])",
        path=PROJECT,
    )
    backends, origins = found.splitlines()
    assert backends == "onnxruntime openvino tensorrt" and str(DOUBLES) not in origins


def test_unknown_backend_lists_the_known_ones() -> None:
    for ask in (backend, room):
        with pytest.raises(UsageError, match=r"unknown backend 'openvin'.*onnxruntime, openvino"):
            ask("openvin")


def test_a_room_is_named_without_importing_it() -> None:
    assert room("openvino") == "cxr_core.engines.openvino" and room("fake") == "cxr_doubles.backend"
    loaded = in_child(
        "import sys; from cxr_core.engines.registry import room, known_backends; known_backends(); room('openvino');"
        "print([m for m in sys.modules if m.startswith('cxr_core.engines.')])"
    )
    assert "openvino" not in loaded


def test_asking_what_a_machine_can_do_loads_no_library_and_no_other_room() -> None:
    loaded = in_child(
        "import sys; from cxr_core.engines.registry import backend; from cxr_core.refs import Precision\n"
        "b = backend('openvino'); [b.support(p) for p in Precision]; b.device(); b.environment()\n"
        "heavy = {'openvino', 'onnxruntime', 'onnx', 'torch', 'scipy', 'pandas', 'cxr_core.engines.onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert loaded == "[]"


def test_the_double_is_found_by_child_processes_through_pythonpath() -> None:
    assert in_child("from cxr_core.engines.registry import backend; print(backend('fake').device())") == "FAKE device"


def test_a_registered_room_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cxr.backends]\nbroken = no_such_module:Nothing\nfake = other:Fake\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MachineError, match="no_such_module:Nothing but cannot be imported"):
        backend("broken")
    with pytest.raises(MachineError, match=r"more than once \(cxr_doubles.backend:FakeBackend, other:Fake\)"):
        backend("fake")
