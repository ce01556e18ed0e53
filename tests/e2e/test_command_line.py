"""The command line as a stranger meets it: help, exit statuses, one JSON document, quick to start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Place

COMMANDS = [
    "run",
    "rerun",
    "bench",
    "bench import",
    "bench export",
    "predict",
    "doctor",
    "report",
    "serve",
    "schedule",
    "schedule pause",
    "schedule resume",
    "schedule set",
    "store ls",
    "store show",
    "store why",
    "store verify",
    "store gc",
    "store path",
    "store du",
    "store lineage",
    "store diff",
    "store pin",
    "store unpin",
    "store export",
    "store import",
    "promote",
    "verify-bundle",
    "data check",
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_there(place: Place, command: str) -> None:
    done = place.cxr(*command.split(), "--help")
    assert "Usage" in done.stdout
    assert len(done.stdout.splitlines()) > 4


def test_help_and_the_core_load_nothing_heavy() -> None:
    program = (
        "import sys, contextlib, io\nimport cxr_core\nfrom flows.cli import app\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n    app(['--help'])\n"
        "print(sorted({'torch', 'tensorrt', 'prefect', 'openvino', 'onnxruntime', 'timm', 'pandas', 'matplotlib'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("run", "--precision", "int9"), 2, "int9"),
        (("run", "--nonsense"), 2, "nonsense"),
        (("run", "--data", "/nowhere"), 2, "/nowhere"),
        (("run", "--profile", "smoke", "--set", "trian.images=3"), 2, "train"),
        (("run", "--profile", "smoke", "--data", "phantom", "--backend", "cuda"), 2, "openvino"),
        (("report",), 2, "run"),
        (("rerun", "--precision", "int8"), 2, "run"),
        (("predict", "/nowhere.png"), 2, "no file or folder at /nowhere.png"),
        (("predict", str(PROJECT / "docs/images")), 2, "no run"),
        (("store", "show", "abcd"), 2, "abcd"),
        (("store", "why", "export"), 2, "export"),
        (("bench",), 2, "run"),
        (("promote", "--precision", "int8", "--name", "x"), 2, "run"),
        (("store", "lineage", "abcd"), 2, "abcd"),
        (("store", "export", "releases/none"), 2, "no release"),
        (("store", "unpin", "none"), 2, "no pin"),
        (("verify-bundle", "/nowhere.tar"), 2, "/nowhere.tar"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_to_do(
    place: Place, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = place.cxr(*arguments, code=code)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_unknown_timm_model_fails_the_run_before_it_costs_anything(place: Place) -> None:
    done = place.cxr("run", "--profile", "smoke", "--data", "phantom", "--model", "tf_efficientnet_b99", code=2)
    assert "tf_efficientnet_b0" in done.stderr


def test_a_store_that_cannot_be_written_is_named(place: Place) -> None:
    done = place.cxr("run", "--profile", "smoke", "--data", "phantom", "--store", "/proc/nothing/store", code=3)
    assert "/proc/nothing/store" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_says_what_this_machine_can_do(place: Place) -> None:
    found = place.json("doctor")
    levels = {row["name"]: {p: s["level"] for p, s in row["support"].items()} for row in found["backends"]}
    assert levels["openvino"]["fp32"] == levels["onnxruntime"]["fp32"] == "native"
    assert levels["openvino"]["tf32"] == "unsupported"
    assert "tensorrt" in levels
    assert "precisions on this machine" in place.cxr("doctor").stdout


def test_data_check_counts_and_warns(smoke: tuple[Place, dict[str, object]]) -> None:
    place, _ = smoke
    folder = next((place.store / "phantoms").iterdir())
    found = place.json("data", "check", str(folder))
    assert found["ingest"]["source"] == "phantom"


def test_version(place: Place) -> None:
    assert place.cxr("--version").stdout.startswith("cxr ")


def test_json_is_one_document_and_logs_go_elsewhere(smoke: tuple[Place, dict[str, object]]) -> None:
    place, _ = smoke
    done = place.cxr("store", "ls", "--json")
    assert isinstance(json.loads(done.stdout), list)
    assert Path(place.store, "FORMAT").read_text().strip() == "2"
