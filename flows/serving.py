"""``cxr serve``: Prefect's server and UI, the work pool, the deployments and a worker, ended together."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from cxr_core.errors import MachineError, UsageError
from flows import settings, tether
from flows.answering import answer
from flows.servers import (
    Server,
    address_file,
    answers,
    connect,
    free_port,
    how_to_resume,
    log_of,
    running_server,
    start_server,
    starting_alone,
    use_server,
    wait_for,
)
from flows.showing import say
from tasks.place import current_store

_DETACHED_SECONDS = 180
_STOP_SECONDS = 60
_UNBEGUN = timedelta(seconds=30)
_WORKER_PAUSE = 2.0  # seconds, so that a worker that cannot start is not started without end


def serve(port: int, host: str, auth: str | None, notify: str | None, *, as_json: bool) -> None:
    """Bring all up, wait, and end all on Ctrl-C. Where a server of this place is up already, say so and return.

    Raises:
        UsageError: the port is taken, or others could reach a server that asks nobody for a password.
        MachineError: the server did not come up; the message says where its log is.
    """
    with ExitStack() as starting:
        starting.enter_context(starting_alone("cxr serve"))
        if _up_already(host, auth, notify, as_json):
            return
        _serve(port, host, auth, notify, as_json=as_json, up=starting.close)


def _serve(
    port: int, host: str, auth: str | None, notify: str | None, *, as_json: bool, up: Callable[[], None]
) -> None:
    address = f"http://{_reachable(host)}:{port}"
    if answers(address) or _taken(host, port):
        raise UsageError(f"port {port} is taken by another program; choose one with --port")
    pages = port + 1 if not _taken("127.0.0.1", port + 1) else free_port()
    server = Server(
        address=address,
        reports=f"http://127.0.0.1:{pages}",
        store=current_store().root,
        pid=os.getpid(),
        auth=auth,
    )
    environment = _environment(server)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running = [start_server(port, environment, host=host)]
    try:
        wait_for(address, running[0])
        use_server(server)
        from flows.registering import register

        register(environment, notify)
        running.append(_start_pages(pages, server.store, environment))
        running.append(_start_worker(environment))
        server.announce()  # the worker is there: runs may be submitted
        up()
        _tell(server, as_json, "Ctrl-C ends server and worker")
        _watch(running, environment)
    finally:
        mine = running_server()
        if mine is not None and mine.pid == os.getpid():
            address_file().unlink(missing_ok=True)
        for process in reversed(running):
            tether.stop(process, signal.SIGINT)


def join(pool: str, api: str, auth: str | None) -> None:
    """Work for a pool of another machine's server until Ctrl-C: compute what a profile's placement sends there.

    Raises:
        UsageError: that pool is the server's own, or there is no mirror.
        MachineError: no server answers there.
        StoreError: the store here cannot be used.
    """
    if pool == settings.POOL:
        raise UsageError(f"pool {pool} is that of cxr serve, whose runs know its folders; choose another name")
    settings.prepare()
    address = api.rstrip("/").removesuffix("/api")
    store = current_store().root
    server = Server(address=address, reports="", store=store, pid=os.getpid(), auth=auth)
    use_server(server)
    if not answers(address, timeout=10):
        raise MachineError(f"no Prefect server answers at {address}; is `cxr serve --host ... --auth ...` up there?")
    from flows.part import deploy
    from flows.placing import needed_mirror

    mirror = needed_mirror()
    mirror.format()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The deployment names a module; a worker's runs start in an empty folder, from which a checkout is not seen.
    path = [str(settings.PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**_environment(server), "PYTHONPATH": os.pathsep.join(path)}
    deploy(pool, environment)
    running = [_start_worker(environment, pool)]
    say(f"working for pool {pool} of {address}   store: {store}   mirror: {mirror.url}. Ctrl-C ends it.")
    try:
        _watch(running, environment, pool)
    finally:
        tether.stop(running[-1], signal.SIGINT)


def detach(port: int, host: str, auth: str | None, notify: str | None, *, as_json: bool) -> None:
    """Bring all up in the background; returns once it is up.

    Raises:
        MachineError: it did not come up; the message ends with what it said.
    """
    if _up_already(host, auth, notify, as_json):
        return
    log = log_of("serve")
    log.parent.mkdir(parents=True, exist_ok=True)
    given = ["--port", str(port), "--host", host, *(["--notify", notify] if notify else [])]
    environment = {**os.environ, "PREFECT_SERVER_API_AUTH_STRING": auth} if auth else dict(os.environ)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve", *given],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            env=environment,
        )
    deadline = time.monotonic() + _DETACHED_SECONDS
    while True:
        ended = process.poll() is not None  # looked at first: it ends well where another one has come up meanwhile
        if there := running_server():
            break
        if ended or time.monotonic() > deadline:
            process.terminate()
            said = log.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
            raise MachineError(f"the server did not come up; it said:\n{said}")
        time.sleep(0.3)
    _tell(there, as_json, "in the background; end it with: cxr serve --stop")


def stop(*, as_json: bool) -> None:
    """End the server of this place, as Ctrl-C would. None there is no error."""
    there = running_server()
    if there is not None:
        _interrupt(there)
    answer({"stopped": there.address if there else None}) if as_json else say(
        f"stopped {there.address}" if there else "no server is up"
    )


def status(*, as_json: bool) -> None:
    """Say what is up.

    Raises:
        MachineError: nothing is.
    """
    there = connect()
    from flows.registering import state_of_things

    found = state_of_things()
    if as_json:
        answer({**_public(there), **found})
        return
    say(f"Prefect UI: {there.address}   store: {there.store}   process {there.pid}")
    for worker in found["workers"]:
        say(f"worker {worker['name']}: {worker['status']}")
    if found["paused"]:
        say(f"the work pool cxr is paused, so nothing starts; {how_to_resume(there.address)}")


def _interrupt(server: Server) -> None:
    try:
        os.kill(server.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + _STOP_SECONDS
    while Path(f"/proc/{server.pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.2)


def _refuse_open_doors(host: str, auth: str | None) -> None:
    if not _is_loopback(host) and not auth:
        raise UsageError(
            f"--host {host} lets others reach the server, who could then start runs and read everything; "
            "give it a password with --auth USER:PASSWORD"
        )
    if auth is not None and ":" not in auth:
        raise UsageError("--auth USER:PASSWORD is expected, with a colon between them")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reachable(host: str) -> str:
    """How this machine itself reaches a server on that address, as it stands in a URL."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared with, not listened on)
    return f"[{here}]" if ":" in here else here


def _up_already(host: str, auth: str | None, notify: str | None, as_json: bool) -> bool:
    """A second start changes nothing but who is told."""
    settings.prepare()
    _refuse_open_doors(host, auth)
    there = running_server()
    if there is None:
        return False
    if notify:
        use_server(there)
        from flows.registering import tell_by

        tell_by(notify)
    _tell(there, as_json, "up already")
    return True


def _tell(server: Server, as_json: bool, last: str) -> None:
    if as_json:
        answer(_public(server))
        sys.stdout.flush()
    say(
        f"Prefect UI: {server.address}   store: {server.store}\n"
        f"Run the flow there: Deployments > full > Run. Logs: {log_of('server').parent}. {last}."
    )


def _public(server: Server) -> dict[str, object]:
    return {
        "address": server.address,
        "reports": server.reports,
        "store": str(server.store),
        "pid": server.pid,
        "logs": str(log_of("server").parent),
    }


def _environment(server: Server) -> dict[str, str]:
    data = os.environ.get("CXR_DATA")
    auth = {"PREFECT_SERVER_API_AUTH_STRING": server.auth, "PREFECT_API_AUTH_STRING": server.auth}
    return {
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(settings.HEARTBEAT_SECONDS),
        **os.environ,
        **{name: value for name, value in auth.items() if value},
        "PREFECT_API_URL": f"{server.address}/api",
        "CXR_STORE": str(server.store),
        "CXR_PREFECT_HOME": str(settings.prefect_home()),
        "CXR_PROJECT": str(settings.PROJECT),
        "CXR_DATA": str(Path(data).absolute()) if data else "",  # the worker stands elsewhere
    }


def _start_pages(port: int, store: Path, environment: dict[str, str]) -> tether.Tethered:
    """The runs' reports for the browser, on loopback alone."""
    arguments = [str(port), "--bind", "127.0.0.1", "--directory", str(store / "runs")]
    return tether.start("http.server", arguments, log=log_of("reports"), environment=environment)


def _start_worker(environment: dict[str, str], pool: str = settings.POOL) -> tether.Tethered:
    arguments = ["worker", "start", "--pool", pool, "--name", _worker_of(pool)]
    return tether.start("prefect", arguments, log=log_of("worker"), environment=environment)


def _worker_of(pool: str) -> str:
    return settings.WORKER if pool == settings.POOL else f"{pool}@{socket.gethostname()}"


def _watch(running: list[tether.Tethered], environment: dict[str, str], pool: str = settings.POOL) -> None:
    """A worker that was killed is replaced; without the server there is nothing to replace it for."""
    from flows.registering import release_unbegun

    died: datetime | None = None
    while all(process.poll() is None for process in running[:-1]):
        if running[-1].poll() is not None:
            status, log = running[-1].returncode, log_of("worker")
            say(f"the worker ended (exit status {status}) and is started again; its log is {log}")
            died = datetime.now(UTC)
            time.sleep(_WORKER_PAUSE)
            tether.stop(running[-1])
            running[-1] = _start_worker(environment, pool)
        # Not at once: a process that it had just started may outlive it, and begins within that time.
        if died and datetime.now(UTC) - died > _UNBEGUN:
            with suppress(httpx.HTTPError):  # a server that does not answer is asked again at the next death
                release_unbegun(pool, _worker_of(pool), died)
            died = None
        time.sleep(0.5)
    raise MachineError(f"the server ended; see the logs in {log_of('server').parent}")


def _taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_reachable(host).strip("[]"), port))
        except OSError:
            return True
    return False
