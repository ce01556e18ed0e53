"""The steps of each image in a plain Debian, and that what they leave can be used.

Left out are PyTorch, and what the vendors' images bring: those cannot be had here.
"""

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
        Path(folder).chmod(0o755)  # the image's user, who is not the one that made it, must get in
        yield Path(folder)


@pytest.mark.timeout(1800)
@pytest.mark.skipif("CXR_PLAIN_DEBIAN" not in os.environ, reason="takes minutes and a network: make test-docker")
@pytest.mark.parametrize("name", ["cpu", "tensorrt", "rocm-train"])
def test_every_step_of_an_image_runs_in_a_plain_debian(name: str) -> None:
    base, *steps = instructions(DOCKER / name / "Dockerfile")
    with _debian("bookworm") as folder:
        root = Root(folder, {"WITHOUT": "torch torchvision timm"})
        if name == "cpu":
            assert base == ("FROM", "debian:bookworm-slim")
        else:
            _stand_in(root, name)
        for step in steps:
            root.carry_out(step)
        found = json.loads(root.run("cxr doctor --json"))
        assert root.run("id -u").strip() == "10001"
        assert found["packages"]["openvino"] and bool(found["packages"]["torch"]) == (name == "rocm-train")
        assert {row["name"] for row in found["backends"]} >= {"openvino", "onnxruntime", "tensorrt"}
        root.run("python3 -c 'import flows.pipeline, tasks.variant, cxr_core.engines.engine, cxr_core.bench.benchmark'")
        root.run("cxr data check /nowhere; test $? = 2")


def _stand_in(root: Root, name: str) -> None:
    """What the vendor's image brings, as far as the steps ask for it: a Python, and packages by name alone."""
    root.run("apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv")
    if name == "tensorrt":
        packages = root.folder / "usr/lib/python3/dist-packages"
        (packages / "tensorrt.py").write_text('__version__ = "11.2.1"\n')
        return
    root.run("python3 -m venv /opt/venv")
    root.environment["PATH"] = f"/opt/venv/bin:{root.environment['PATH']}"
    (packages,) = root.folder.glob("opt/venv/lib/python3.*/site-packages")
    (packages / "torch").mkdir()
    (packages / "torch/__init__.py").write_text("from torch import version\n")
    (packages / "torch/version.py").write_text('hip = "10.1"\n')
    for package, version in (("torch", "2.14.1"), ("torchvision", "0.29.1")):
        (about := packages / f"{package}-{version}.dist-info").mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (about / "RECORD").touch()
