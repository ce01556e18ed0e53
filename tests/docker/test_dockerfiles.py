"""The images hold to hadolint's rules and to ours; no daemon is needed to see it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.docker.dockerfiles import DOCKER, FILES, instructions

each = pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
GOOD = (DOCKER / "cpu" / "Dockerfile").read_text(encoding="utf-8")


def _hadolint(*files: Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if tool is None:
        pytest.skip("hadolint is not installed: it comes with the dev extra on x86-64")
    command = [tool, "--no-color", "--config", DOCKER / "hadolint.yaml", *files]
    return subprocess.run(command, capture_output=True, text=True)


def test_there_is_one_image_a_kind_of_machine() -> None:
    assert [file.parent.name for file in FILES] == ["cpu", "rocm-train", "tensorrt"]


def test_hadolint_finds_nothing() -> None:
    done = _hadolint(*FILES)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("debian:bookworm-slim", "debian"), "DL3006"),
        (("debian:bookworm-slim", "debian:latest"), "DL3007"),
        (("debian:bookworm-slim", "elsewhere.example/debian:bookworm-slim"), "DL3026"),
        (("USER 10001:10001", "USER 0"), "DL3002"),
        ((" --no-cache-dir -r", " -r"), "DL3042"),
        (("HEALTHCHECK", "LABEL health="), "DL3057"),
    ],
)
def test_hadolint_finds_what_it_should(change: tuple[str, str], rule: str, tmp_path: Path) -> None:
    assert change[0] in GOOD
    (tmp_path / "Dockerfile").write_text(GOOD.replace(*change), encoding="utf-8")
    done = _hadolint(tmp_path / "Dockerfile")
    assert done.returncode == 1 and rule in done.stdout, done.stdout


@each
def test_the_base_is_pinned_and_the_reason_stands_above_it(file: Path) -> None:
    above, _, base = file.read_text(encoding="utf-8").partition("\nFROM ")
    name, _, tag = base.splitlines()[0].partition(":")
    assert name and re.search(r"\d|bookworm", tag), "no tag that says which version"
    assert above.splitlines()[-1].startswith("# ") and len(above) > 200


@each
def test_it_runs_as_nobody_in_particular_and_is_asked_how_it_is(file: Path) -> None:
    said = instructions(file)
    users = [number for number, (word, rest) in enumerate(said) if word == "USER" and rest == "10001:10001"]
    assert [rest for word, rest in said if word == "USER"][-1] == "10001:10001"
    smoke = [number for number, one in enumerate(said) if one == ("RUN", "cxr doctor")]
    assert len(smoke) == 1 and smoke[0] > users[0], "cxr doctor must run while it is built, as that user"
    health = [rest for word, rest in said if word == "HEALTHCHECK"]
    assert len(health) == 1 and health[0].endswith('CMD ["cxr", "doctor", "--json"]')
    assert ("ENTRYPOINT", '["cxr"]') in said


@each
def test_it_holds_what_it_copies_and_no_secret(file: Path) -> None:
    let_in = set((PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines())
    assert "*" in let_in, "what is not named must stay out"
    for word, rest in instructions(file):
        assert word != "ADD"
        if word in ("ENV", "ARG"):
            assert not re.search(r"secret|token|passw|credential|api_?key", rest, re.IGNORECASE), rest
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert f"!{source}" in let_in and (PROJECT / source).exists(), source


def test_requirements_are_the_projects_less_what_is_named() -> None:
    def printed(*without: str) -> set[str]:
        command = [sys.executable, DOCKER / "requirements.py", *without]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    everything, pins = printed(), set((PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    assert everything <= pins and any(one.startswith("torch==") for one in everything)
    assert {one.split("==")[0] for one in everything - printed("torch", "torchvision")} == {"torch", "torchvision"}
