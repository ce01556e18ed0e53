"""Dockerfiles read as instructions, and carried out in a folder that holds a plain Debian, for want of a daemon."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.conftest import PROJECT

DOCKER = PROJECT / "docker"
FILES = sorted(DOCKER.glob("*/Dockerfile"))


class Instruction(NamedTuple):
    word: str
    rest: str


def instructions(file: Path) -> list[Instruction]:
    """Without comments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


class Root:
    """A folder with a system in it, in which instructions are carried out as ``docker build`` would."""

    def __init__(self, folder: Path, arguments: Mapping[str, str]) -> None:
        self.folder, self.arguments, self.place, self.user = folder, arguments, "/", "0:0"
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        # How this machine reaches hosts and pip's registry, which a plain system does not know.
        for name in ("etc/resolv.conf", "etc/hosts"):
            shutil.copy(Path("/") / name, folder / name)
        self._registry = {name: os.environ[name] for name in ("PIP_INDEX_URL", "HTTPS_PROXY") if name in os.environ}
        if certificates := os.environ.get("PIP_CERT"):
            shutil.copy(certificates, folder / "certificates.pem")
            self._registry["PIP_CERT"] = "/certificates.pem"

    def carry_out(self, instruction: Instruction) -> None:
        """RUN, COPY, WORKDIR, USER, ENV and ARG; what only describes the image is passed over."""
        rest = instruction.rest
        match instruction.word:
            case "RUN":
                self.run(rest)
            case "WORKDIR":
                self.place = rest
                self._inside(rest).mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, target = rest.split()
                for source in sources:
                    self._copy(PROJECT / source, target)
            case "USER":
                self.user = rest
                users = [line.split(":") for line in (self.folder / "etc/passwd").read_text().splitlines()]
                self.environment["HOME"] = next(user[5] for user in users if user[2] == rest.split(":")[0])
            case "ENV":
                for pair in shlex.split(rest):
                    name, _, value = pair.partition("=")
                    self.environment[name] = value.replace("$PATH", self.environment["PATH"])
            case "ARG":
                name, _, default = shlex.split(rest)[0].partition("=")
                self.environment[name] = self.arguments.get(name, default)

    def run(self, command: str) -> str:
        """What it printed; its failure is ours."""
        done = subprocess.run(
            ["chroot", f"--userspec={self.user}", self.folder, "sh", "-c", f"cd {self.place} && {command}"],
            env={**self.environment, **self._registry},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def _inside(self, path: str) -> Path:
        return self.folder / os.path.join(self.place, path).lstrip("/")  # noqa: PTH118 (a later absolute part wins)

    def _copy(self, source: Path, target: str) -> None:
        if source.is_dir():
            shutil.copytree(source, self._inside(target), ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, self._inside(target))
