"""The doubles of NVIDIA's libraries put before the real ones, in this process or in children."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from tests.conftest import PROJECT

NVIDIA = PROJECT / "tests" / "doubles" / "nvidia"
_MODULES = ("tensorrt", "pynvml", "cuda.bindings.runtime", "cuda.bindings", "cuda")


@contextmanager
def doubled(*told: str) -> Iterator[None]:
    """In this process, told those things. Leaving it brings the real ones, or none, back."""
    real = {name: sys.modules.pop(name) for name in _MODULES if name in sys.modules}
    with mock.patch.dict(os.environ, {"CXR_FAKE_NVIDIA": ",".join(told)}):
        sys.path.insert(0, str(NVIDIA))
        try:
            importlib.import_module("tensorrt")  # now: its version is what it is told here
            yield
        finally:
            sys.path.remove(str(NVIDIA))
            for name in _MODULES:
                sys.modules.pop(name, None)
            sys.modules.update(real)


@contextmanager
def telling(*told: str) -> Iterator[None]:
    """Tell the doubles that are in place something else for a while."""
    with mock.patch.dict(os.environ, {"CXR_FAKE_NVIDIA": ",".join(told)}):
        yield


def children(*told: str) -> dict[str, str]:
    """The environment in which child processes find them."""
    return {"PYTHONPATH": str(NVIDIA), "CXR_FAKE_NVIDIA": ",".join(told)}
