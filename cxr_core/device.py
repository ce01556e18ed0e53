"""One lock per device, held by the process that computes on it. Of devices that are alike any free one is taken.

``flock`` on a file of this user's temporary folder: the kernel frees it when the holder dies, so
nothing is ever left locked. The file's content says who holds it; it is only for messages.
"""

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic_core import from_json

Waiting = Callable[[str], None]

GPUS = ("GPU-", "MIG-")  # how UUIDs of GPUs, and of slices of one, begin
_AGAIN = 0.05  # seconds; the kernel has no waiting for one of several locks
_UNSIGNED = 1.0  # seconds in which a holder will have signed: it does so right after it has the lock


def lock_path(device: str) -> Path:
    """Where the lock of that device is. ``CXR_DEVICE_LOCKS`` names another folder."""
    default = Path(tempfile.gettempdir()) / f"cxr-devices-{os.getuid()}"
    folder = Path(os.environ.get("CXR_DEVICE_LOCKS", default))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{device}.lock"


@contextmanager
def hold(devices: Sequence[str], purpose: str, waiting: Waiting = lambda holder: None) -> Iterator[str]:
    """Hold one of the devices alone, the first that is free, and yield its name.

    ``waiting(holders)`` is called once if others have all of them.
    """
    with ExitStack() as opened:
        locks = {}
        for device in devices:
            locks[device] = os.open(lock_path(device), os.O_RDWR | os.O_CREAT, 0o600)
            opened.callback(os.close, locks[device])
        if (held := _first_free(locks)) is None:
            waiting("; ".join(holder(device) for device in devices))
            held = _awaited(locks)
        os.ftruncate(locks[held], 0)
        os.pwrite(locks[held], json.dumps({"pid": os.getpid(), "purpose": purpose}).encode(), 0)
        try:
            yield held
        finally:
            os.ftruncate(locks[held], 0)  # or the next holder's waiters could read this name


def _first_free(locks: dict[str, int]) -> str | None:
    for device, descriptor in locks.items():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return device
    return None


def _awaited(locks: dict[str, int]) -> str:
    if len(locks) == 1:
        ((device, descriptor),) = locks.items()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return device
    while (held := _first_free(locks)) is None:
        time.sleep(_AGAIN)
    return held


def confine(device: str) -> None:
    """CUDA in this process sees that GPU alone, as its first. Before CUDA has started; later it changes nothing."""
    if device.startswith(GPUS):
        os.environ["CUDA_VISIBLE_DEVICES"] = device


def holder(device: str) -> str:
    """Who holds the device, in words. Asked of a held one: a name not yet written is waited for, a second at most."""
    deadline = time.monotonic() + _UNSIGNED
    while True:
        try:
            about = from_json(lock_path(device).read_bytes())
            return f"{about['purpose']} (process {about['pid']})"
        except (OSError, ValueError, KeyError, TypeError):
            if time.monotonic() >= deadline:
                return "another process"
            time.sleep(_AGAIN)
