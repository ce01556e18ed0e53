"""Four pipelines at once on one store and one server, on either database: all green, nothing computed twice."""

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Place
from tests.serving import DOUBLES, free_port, serving, with_doubles

pytestmark = pytest.mark.slow


def _tool(name: str) -> str | None:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(installed[-1]) if installed else shutil.which(name)


@pytest.fixture
def postgresql() -> Iterator[str]:
    """Debian's PostgreSQL on loopback with an empty database; the address for Prefect."""
    initdb, control = _tool("initdb"), _tool("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
    # It refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # Not below pytest's own folders, which nobody else may enter.
    folder, port = Path(tempfile.mkdtemp(prefix="cxr-postgresql-")), free_port()
    if as_user:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL)

    run(initdb, "-D", str(data), "-U", "prefect", "--auth=trust", "-E", "UTF8", "--no-locale")
    run(control, "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        run(control, "-D", str(data), "-m", "fast", "-w", "stop")
        shutil.rmtree(folder)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_four_at_once_are_all_green_and_build_each_engine_once(
    copied: Callable[[], Place], database: str, request: pytest.FixtureRequest
) -> None:
    place = copied()
    environment = with_doubles()
    if database == "postgresql":
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = request.getfixturevalue("postgresql")
    with serving(place, **environment) as served:
        runs = [served.start("full/full", profile_file=str(DOUBLES / "doubles.yaml"), data="phantom") for _ in range(4)]
        assert [served.ended(run, 600)["type"] for run in runs] == ["COMPLETED"] * 4
        done = [served.executed_by_store(run) for run in runs]
        assert [served.executed_by_prefect(run) for run in runs] == done
    accounts = [place.json("report", "--run", run) for run in runs]
    computed = Counter(s["key"] for account in accounts for s in account["stages"] if s["state"] == "Completed")
    assert computed
    assert set(computed.values()) == {1}
    assert sum(name.startswith("engine[") for names in done for name in names) == 2  # fp32 and int8 of the double
    assert all(account["rows"] == accounts[0]["rows"] for account in accounts)
