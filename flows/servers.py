"""Prefect's server: the one that ``cxr serve`` keeps up, or one of a run's own, on the same database."""

import atexit
import dataclasses
import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cxr_core.errors import MachineError
from cxr_core.store.locks import held
from flows import tether
from flows.settings import POOL, prefect_home
from flows.showing import say

_START_SECONDS = 90


def address_file() -> Path:
    """Where a running server's address stands."""
    return prefect_home() / "server.json"


@dataclass(frozen=True)
class Server:
    """A server that ``cxr serve`` keeps up.

    Attributes:
        address: such as ``http://127.0.0.1:4200``.
        reports: where a browser finds the runs' reports.
        store: its worker's.
        pid: of ``cxr serve``.
        auth: ``USER:PASSWORD`` that it asks for, if it asks.
    """

    address: str
    reports: str
    store: Path
    pid: int
    auth: str | None = None

    def announce(self) -> None:
        """Leave it where other commands of this user look."""
        content = {**dataclasses.asdict(self), "store": str(self.store)}
        temporary = address_file().with_suffix(".new")
        temporary.touch(mode=0o600)  # it may hold a password
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(address_file())


def running_server() -> Server | None:
    """The server that answers; None if none does."""
    try:
        content = json.loads(address_file().read_text(encoding="utf-8"))
        server = Server(**{**content, "store": Path(content["store"])})
        # After a power cut another program may have its number, and another server its port.
        alive = b"serve" in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return server if alive and answers(server.address) else None


def connect() -> Server:
    """Use the server that is up, in this process; Prefect must not be imported yet.

    Raises:
        MachineError: none is.
    """
    server = running_server()
    if server is None:
        raise MachineError(f"no server of {prefect_home()} is up; start it: cxr serve")
    use_server(server)
    return server


def use_server(server: Server) -> None:
    """Name it to Prefect, in this process and its children. Prefect reads it once, when it is imported."""
    assert "prefect" not in sys.modules, "Prefect would not see it"
    os.environ["PREFECT_API_URL"] = f"{server.address}/api"
    if server.auth:
        os.environ["PREFECT_API_AUTH_STRING"] = server.auth


def how_to_resume(address: str, pool: str = POOL) -> str:
    """What a person does about a paused work pool."""
    return f"resume it in the UI under Work Pools, or: PREFECT_API_URL={address}/api prefect work-pool resume {pool}"


def answers(address: str, timeout: float = 2.0) -> bool:
    """Whether a Prefect server there says that it is healthy."""
    try:
        with urllib.request.urlopen(f"{address}/api/health", timeout=timeout) as response:  # noqa: S310 (our own address)
            return bool(response.status == 200)
    except OSError:
        return False


def start_server(port: int, environment: Mapping[str, str], *options: str, host: str = "127.0.0.1") -> tether.Tethered:
    """Start a server; it may not answer yet."""
    arguments = ["server", "start", "--host", host, "--port", str(port), *options]
    return tether.start("prefect", arguments, log=log_of("server"), environment=environment)


def wait_for(address: str, server: tether.Tethered) -> None:
    """Return once the server answers.

    Raises:
        MachineError: it ended, or did not come up in time; the message says where its log is.
    """
    deadline = time.monotonic() + _START_SECONDS
    while not answers(address):
        if server.poll() is not None or time.monotonic() > deadline:
            raise MachineError(f"Prefect's server did not come up at {address}; its log is {log_of('server')}")
        time.sleep(0.1)


@contextmanager
def starting_alone(who: str) -> Iterator[None]:
    """Of two that start in the same second, one waits until the other is up; the kernel frees a killed one's lock.

    Two servers that make or migrate the same SQLite database at once end each other: both want to create its tables.
    """
    home = prefect_home()
    home.mkdir(parents=True, exist_ok=True)
    with held(home / "starting.lock", home, holder=who, on_wait=lambda other: say(f"waiting for {other} to be up")):
        yield


def own_server() -> Callable[[], None]:
    """Start a server that ends with this process, and name it to Prefect, which must not be imported yet.

    Returns:
        What waits until it answers; there is much to import meanwhile.
    """
    starting = ExitStack()
    starting.enter_context(starting_alone("cxr run"))
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    server = start_server(port, os.environ, "--no-ui", "--no-scheduler", "--no-late-runs")
    # Registered before Prefect's own, and so called after Prefect has sent its last events.
    atexit.register(tether.stop, server)
    os.environ["PREFECT_API_URL"] = f"{address}/api"

    def wait() -> None:
        with starting:
            wait_for(address, server)

    return wait


def log_of(name: str) -> Path:
    """Where the server's or the worker's log is."""
    return prefect_home() / "logs" / f"{name}.log"


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
