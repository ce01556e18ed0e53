"""The README is true: its commands parse, the cheap ones run, its make targets and links exist."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from flows.cli import app
from tests.conftest import PROJECT, Place

TEXT = (PROJECT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
COMMANDS = [line for line in LINES if line.startswith("cxr ")]
RUNNABLE = [
    pytest.param("cxr run --profile smoke", marks=pytest.mark.slow),
    pytest.param("cxr rerun --precision int8", marks=pytest.mark.slow),
    "cxr doctor",
    pytest.param("cxr bench --precision int8", marks=pytest.mark.slow),
]


def _options(words: list[str]) -> tuple[list[str], Any]:
    """The words after the command, and the command that they go to."""
    import typer

    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    return words, command


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_has_only_options_that_exist(line: str) -> None:
    for alternative in re.split(r" \| ", line):
        words = shlex.split(alternative)
        rest, command = _options(words[1:] if words[0] == "cxr" else ["store", *words])
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, alternative
        assert command.name != "cxr", alternative


def test_the_figures_of_training_are_the_recorded_ones_and_a_missed_target_is_told() -> None:
    recorded = json.loads((PROJECT / "docs/results/training.json").read_text(encoding="utf-8"))
    for name, images in (("quick", "110,000"), ("400k", "400,000"), ("full", "900,000")):
        cells = re.search(rf"^\| {images}.*?\| ([0-9.]+) .*?\| ([0-9.]+) ", TEXT, re.MULTILINE)
        assert cells
        assert cells.groups() == tuple(f"{recorded[name][mean]:.3f}" for mean in ("mean_accuracy", "mean_auc"))
    accuracy, auc = recorded["full"]["mean_accuracy"], recorded["full"]["mean_auc"]
    unwrapped = " ".join(TEXT.split())
    if accuracy < 0.95 or auc < 0.987:
        assert (
            f"accuracy 0.95 and AUC 0.987, mean of three seeds. It is **missed**: {accuracy:.3f} and {auc:.3f}"
            in unwrapped
        )
    rejected = recorded["rejected: style beside the logits"]["mean_auc"]
    assert f"tried and failed on test (AUC {rejected:.3f}" in unwrapped
    minutes = r"(\d+) minutes with one thread"
    profile = (PROJECT / "deployments/profiles/full.yaml").read_text(encoding="utf-8")
    assert re.findall(minutes, profile) == re.findall(minutes, unwrapped) == ["62"]


@pytest.mark.parametrize("line", RUNNABLE)
def test_the_cheap_ones_run(smoke: tuple[Place, dict[str, Any]], line: str) -> None:
    assert line in COMMANDS
    smoke[0].cxr("run", "--profile", "smoke")  # so that the latest run is a whole one, whatever ran before
    smoke[0].cxr(*shlex.split(line)[1:])


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {line.split()[1] for line in LINES if line.startswith("make ")}
    assert named
    assert named <= targets


@pytest.mark.parametrize("file", sorted(p.relative_to(PROJECT).as_posix() for p in PROJECT.glob("*.md")))
def test_links_lead_somewhere_and_nothing_is_left_to_fill_in(file: str) -> None:
    text = (PROJECT / file).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (PROJECT / file).parent.joinpath(target).exists(), target
    assert not re.findall(r"@[A-Z]+@", text)


def test_every_profile_is_in_the_table() -> None:
    for path in Path(PROJECT, "deployments", "profiles").glob("*.yaml"):
        assert f"| `{path.stem}` |" in TEXT
