"""One whole smoke run, made once a session, that many tests look at; and a way to call the command line."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).resolve().parents[1]

# Whoever waits in a parallel region sleeps: two workers on two cores would spin each other out of theirs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No test depends on how fast the machine is; Hypothesis gives an example 200 ms unless told otherwise.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# What listens on this machine is not behind a proxy.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,::1"

# A script's background jobs inherit it ignored, and what we start and interrupt would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _where_it_is_afternoon() -> str:
    """A time zone in which the nightly, which fires at 02:00, is far away: it would do a night's work in a test."""
    east = 14 - datetime.now(UTC).hour
    return f"Etc/GMT{-east:+d}" if -12 <= east <= 14 else "Etc/GMT"


@dataclass(frozen=True)
class Place:
    """A folder of its own for store, Prefect and device locks, and the environment that points there."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CXR_"))}
        return {
            **kept,
            "CXR_STORE": str(self.store),
            "CXR_PREFECT_HOME": str(self.folder / "prefect"),
            "CXR_DEVICE_LOCKS": str(self.folder / "locks"),
            "COLUMNS": "120",
            "CXR_TIMEZONE": _where_it_is_afternoon(),
        }

    def cxr(
        self, *arguments: str, code: int | None = 0, timeout: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``cxr`` in a process of its own; ``code`` is the exit status that it must end with."""
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=PROJECT,
            env={**self.environment, **environment},
            timeout=timeout,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"exit {done.returncode}\n{_said(done.stdout)}\n{done.stderr[-5000:]}"
        return done

    def json(self, *arguments: str, code: int | None = 0, **environment: str) -> Any:
        """The one JSON document of a command called with ``--json``."""
        return json.loads(self.cxr(*arguments, "--json", code=code, **environment).stdout)

    def processes(self, what: str = "") -> dict[int, str]:
        """The command lines, by process id, of all processes that work here and have ``what`` in them."""
        marker = f"CXR_STORE={self.store}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and marker in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return {number: line for number, line in found.items() if what in line}


def _said(output: str) -> str:
    """What tells most of an output: a run's failures, else its end."""
    with suppress(ValueError):
        if isinstance(told := json.loads(output), dict) and told.get("failures"):
            return json.dumps(told["failures"], indent=1)
    return output[-3000:]


SMOKE = ("run", "--profile", "smoke", "--data", "phantom")


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prefect's own server on a database of its own; flows and clients of this process find it."""
    from prefect.settings import PREFECT_HOME, PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    home = tmp_path_factory.mktemp("prefect")
    with temporary_settings({PREFECT_HOME: home, PREFECT_SERVER_ANALYTICS_ENABLED: False}), prefect_test_harness(120):
        yield


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A fresh place."""
    return Place(tmp_path)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, dict[str, Any]]:
    """A place where profile smoke has run once, cold, and that run's JSON. Tests must not damage it.

    The run is made once for all workers; each has a copy of its own.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    made, kept = Place(shared / "smoke"), shared / "smoke.json"
    with (shared / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            shutil.rmtree(made.folder, ignore_errors=True)  # of a worker in which it failed
            kept.write_text(json.dumps(made.json(*SMOKE)))
    place = Place(tmp_path_factory.mktemp("smoke") / "place")
    untouched(place).symlink_to(made.folder)
    shutil.copytree(made.folder, place.folder, symlinks=True)
    return place, json.loads(kept.read_text().replace(str(made.folder), str(place.folder)))


def untouched(made: Place) -> Path:
    """The place as that run left it: tests that look at it may add runs of their own."""
    return made.folder.with_name("untouched")


@pytest.fixture
def copied(smoke: tuple[Place, dict[str, Any]], tmp_path: Path) -> Callable[[], Place]:
    """A copy of it as that run left it, for tests that do damage it."""

    def copy() -> Place:
        made = Place(tmp_path / "copy")
        shutil.copytree(untouched(smoke[0]), made.folder, symlinks=True)
        return made

    return copy


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """``small_disk(options)`` mounts a tmpfs; skipped where this user may not mount."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        command = shutil.which("mount")
        if os.geteuid() != 0 or command is None:
            pytest.skip("mounting a small file system needs root")
        done = subprocess.run([command, "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this machine may not mount a tmpfs: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)
