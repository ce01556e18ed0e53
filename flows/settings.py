"""Prefect's settings, made before Prefect is imported: its own home, no telemetry, a quiet terminal."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PROFILES = PROJECT / "deployments" / "profiles"

POOL = "cxr"
WORKER = "cxr-local"
HEARTBEAT_SECONDS = 30  # between two signs of life of a flow run

_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",  # a server that nobody asked for would outlive us
    # The newer interface is not complete; the older one works offline and behind any address.
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_UI_API_URL": "/api",
    "PREFECT_CLI_PROMPT": "false",
    # Runs, their logs and artifacts leave the database after its retention period (90 days); the store keeps its own.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # Run logs go to the server in full; the terminal shows progress bars and, at the end, what failed.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}


def prefect_home() -> Path:
    """``CXR_PREFECT_HOME``, or ``.cxr/prefect`` in the working directory; never the user's own ``~/.prefect``."""
    return Path(os.environ.get("CXR_PREFECT_HOME") or ".cxr/prefect").absolute()


def prepare() -> None:
    """Put the settings into the environment before Prefect is imported; what the user has set already stays."""
    os.environ["PREFECT_HOME"] = str(prefect_home())
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def profile_path(name: str) -> Path:
    """The file of a named profile; a name with a slash or ending in ``.yaml`` is a path."""
    return Path(name) if "/" in name or name.endswith(".yaml") else PROFILES / f"{name}.yaml"
