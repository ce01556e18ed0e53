"""Backends by name. Only the chosen room is imported."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from cxr_core.engines.contract import Backend
from cxr_core.errors import MachineError, UsageError

GROUP = "cxr.backends"


def known_backends() -> tuple[str, ...]:
    """Names of all registered backends, sorted. Imports none of them."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        UsageError: no such backend; the message lists those that are registered.
        MachineError: its room cannot be imported, or two packages claim the name.
    """
    return _loaded(_entry_point(name))


def room(name: str) -> str:
    """The module that holds a backend, without importing it: what that backend's results depend on.

    Raises:
        UsageError, MachineError: as ``backend``.
    """
    return _entry_point(name).module


@cache
def _entry_point(name: str) -> EntryPoint:
    points = {point.value: point for point in entry_points(group=GROUP, name=name)}
    if not points:
        known = ", ".join(known_backends()) or "none (is the package installed? `pip install -e .`)"
        raise UsageError(f"unknown backend {name!r}; registered under {GROUP}: {known}")
    if len(points) > 1:
        claims = ", ".join(sorted(points))
        raise MachineError(f"backend {name!r} is registered more than once ({claims}); uninstall all but one package")
    return next(iter(points.values()))


@cache
def _loaded(point: EntryPoint) -> Backend:
    try:
        made = point.load()
    except (ImportError, AttributeError) as error:
        raise MachineError(
            f"backend {point.name!r} is registered as {point.value} but cannot be imported: {error}; "
            "reinstall the package that registers it"
        ) from error
    return cast(Backend, made())
