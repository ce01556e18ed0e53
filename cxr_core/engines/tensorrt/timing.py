"""TensorRT's timing cache: what tactics cost on this GPU, kept from build to build so that the next one is faster.

A file a GPU model, capability, driver and TensorRT version. Builds of other processes may write it meanwhile: it is
read and written under a lock, what the others measured is merged in, and it is replaced whole.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import JsonValue


def cache_file(folder: Path, environment: Mapping[str, JsonValue]) -> Path:
    """Where the cache of that environment lies; what it is of stands in the file beside it."""
    text = json.dumps(dict(environment), sort_keys=True)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.timing"


def begin(settings: Any, file: Path | None) -> tuple[Any, str]:
    """Gives the build a cache: what the file holds, or an empty one. Returns it and what was found.

    The cache must live until the build is over, so the caller holds it. ``found`` is ``warm``, ``cold`` where there is
    no file, or ``refused`` where TensorRT does not take it.
    """
    found = "cold"
    if file is not None and (content := _read(file)):
        timing = settings.create_timing_cache(content)
        if timing is not None and settings.set_timing_cache(timing, False):
            return timing, "warm"
        found = "refused"
    timing = settings.create_timing_cache(b"")
    settings.set_timing_cache(timing, False)
    return timing, found


def keep(settings: Any, timing: Any, file: Path, environment: Mapping[str, JsonValue]) -> None:
    """Merges what is in the file by now into ``timing`` and replaces the file.

    Raises:
        OSError: the folder cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _locked(file):
        others = _read(file)
        if others and (meanwhile := settings.create_timing_cache(others)) is not None:
            timing.combine(meanwhile, False)  # one of another device is refused, and then overwritten
        _replace(file, bytes(memoryview(timing.serialize())))
        _replace(file.with_suffix(".json"), (json.dumps(dict(environment), indent=1, sort_keys=True) + "\n").encode())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _replace(file: Path, content: bytes) -> None:
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    descriptor = os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
