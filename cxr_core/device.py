"""One lock per device, held by the process that computes on it.

``flock`` on a file of this user's temporary folder: the kernel frees it when the holder dies, so
nothing is ever left locked. The file's content says who holds it; it is only for messages.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic_core import from_json

Waiting = Callable[[str], None]


def lock_path(device: str) -> Path:
    """Where the lock of that device is. ``CXR_DEVICE_LOCKS`` names another folder."""
    default = Path(tempfile.gettempdir()) / f"cxr-devices-{os.getuid()}"
    folder = Path(os.environ.get("CXR_DEVICE_LOCKS", default))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{device}.lock"


@contextmanager
def hold(device: str, purpose: str, waiting: Waiting = lambda holder: None) -> Iterator[None]:
    """Hold the device alone. ``waiting(holder)`` is called once if someone else has it."""
    descriptor = os.open(lock_path(device), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting(holder(device))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "purpose": purpose}).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(device: str) -> str:
    """Who took the device last, in words."""
    try:
        about = from_json(lock_path(device).read_bytes())
        return f"{about['purpose']} (process {about['pid']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
