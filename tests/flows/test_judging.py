"""``cxr bench import`` as a person and as a script see it."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from flows.cli import app
from tests.conftest import PROJECT
from tests.cxr_core.bench.trtexec.conftest import log_text


@pytest.fixture
def logs(tmp_path: Path) -> list[str]:
    (tmp_path / "fp32.log").write_text(log_text(command="--onnx=net.onnx", queries=2000, compute=1.45))
    (tmp_path / "fp16.log").write_text(log_text(command="--onnx=net.onnx --fp16 --batch=4", times=4))
    return [str(tmp_path / "fp32.log"), str(tmp_path / "fp16.log")]


def test_a_person_sees_the_table_and_the_arithmetic(logs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    app(["bench", "import", *logs], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith(("fp32", "fp16"))] == [
        ["fp32", "667"],
        ["fp16", "invalid"],
    ]
    assert (
        "  fp16: 4000 qps x 3 s / 3000 queries = 4.0, which is --batch=4; 1,000 queries a second were answered" in lines
    )
    assert lines[-1] == "Not to be chosen by these logs: fp16."
    app(["bench", "import", logs[0]], standalone_mode=False)
    told = capsys.readouterr().out
    assert "Nothing was found against these logs by the rules that could be applied." in told
    assert "  above-roofline of fp32: lacks gflop_per_image" in told


def test_a_card_that_nobody_knows_is_no_silence(
    logs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fp16.log").write_text(log_text(command="--onnx=net.onnx --fp16"))
    file = tmp_path / "context.yaml"
    for device, unjudged in (("Tesla M4O", True), ("Tesla T4", False)):
        sizes = ", ".join(f"{{precision: {one}, log: {one}.log, engine_bytes: 9000000}}" for one in ("fp32", "fp16"))
        file.write_text(f"{{device: {device}, gflop_per_image: 1, parameters: 4000000, logs: [{sizes}]}}")
        app(["bench", "import", "--context", str(file)], standalone_mode=False)
        told = capsys.readouterr().out
        assert ("  precision-unsupported of fp16: lacks the card: Tesla M4O is none of the" in told) is unjudged
        assert ("  above-roofline of fp32, fp16: lacks the card: Tesla M4O is none of the" in told) is unjudged
        assert "Nothing was found against these logs by the rules that could be applied." in told.replace("\n", "")
    file.write_text("{device: Tesla T4, gflop_per_image: 1, logs: [{precision: fp32, log: fp32.log}]}")
    app(["bench", "import", "--context", str(file)], standalone_mode=False)
    told = capsys.readouterr().out
    assert "Nothing was found against these logs. " in told and "Not judged" not in told


def test_a_script_gets_one_document(logs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    app(["bench", "import", *logs, "--json"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    schema = json.loads((PROJECT / "docs" / "schemas" / "bench-import.schema.json").read_text())
    Draft202012Validator(schema).validate(told)
    assert [(one["rule"], one["precision"], one["severity"]) for one in told["findings"]] == [
        ("batch-multiplied", "fp16", "error")
    ]


def test_the_documented_context_is_one(tmp_path: Path) -> None:
    import yaml

    from cxr_core.bench.trtexec.context import Context

    page = (PROJECT / "docs" / "trtexec.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    schema = json.loads((PROJECT / "docs" / "schemas" / "bench-context.schema.json").read_text())
    Draft202012Validator(schema).validate(yaml.safe_load(text))
    assert len(Context.model_validate(yaml.safe_load(text)).claims) == 2
