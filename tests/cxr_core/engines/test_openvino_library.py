"""Nothing that we start reports to anyone: OpenVINO's telemetry is never loaded, though a plain import loads it."""

import subprocess
import sys

SEEN = "import sys; print(sorted(m for m in sys.modules if m.startswith('openvino_telemetry.')))"


def _loaded(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", f"{program}\n{SEEN}"], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_our_way_in_loads_no_telemetry() -> None:
    program = "from cxr_core.engines.openvino.library import library\nassert library().Core().available_devices"
    assert _loaded(program) == "[]"


def test_the_plain_import_would() -> None:
    assert "openvino_telemetry.main" in _loaded("import openvino")
