"""The steps of docker/cpu in a plain Debian, all but those that fetch PyTorch, and that what they leave can be used."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docker.dockerfiles import DOCKER, Root, instructions

MIRROR = "http://deb.debian.org/debian"


@contextmanager
def _debian(release: str) -> Iterator[Path]:
    """A fresh root, removed afterwards whatever happened. Skips where this machine cannot make one."""
    if os.geteuid() != 0:
        pytest.skip("making a Debian root needs root")
    tool = shutil.which("debootstrap")
    if tool is None:
        pytest.skip("debootstrap is not installed: apt-get install debootstrap")
    with tempfile.TemporaryDirectory(prefix="cxr-root-") as folder:
        done = subprocess.run(
            [tool, "--variant=minbase", release, folder, MIRROR], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"debootstrap cannot make a root here: {done.stdout[-300:]}{done.stderr[-300:]}")
        yield Path(folder)


@pytest.mark.timeout(1800)
@pytest.mark.skipif("CXR_PLAIN_DEBIAN" not in os.environ, reason="takes minutes and a network: make test-docker")
def test_every_step_of_the_cpu_image_runs_in_a_plain_debian() -> None:
    base, *steps = instructions(DOCKER / "cpu" / "Dockerfile")
    assert base == ("FROM", "debian:bookworm-slim")
    with _debian("bookworm") as folder:
        root = Root(folder, {"WITHOUT": "torch torchvision timm"})
        for step in steps:
            root.carry_out(step)
        found = json.loads(root.run("cxr doctor --json"))
        assert root.run("id -u").strip() == "10001"
        assert found["packages"]["openvino"] and not found["packages"]["torch"]
        assert {row["name"] for row in found["backends"]} >= {"openvino", "onnxruntime"}
        root.run("python3 -c 'import flows.pipeline, tasks.variant, cxr_core.engines.engine, cxr_core.bench.benchmark'")
        root.run("cxr data check /nowhere; test $? = 2")
