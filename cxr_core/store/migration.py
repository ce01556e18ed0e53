"""How a store of an older format becomes one of this version's: in steps, each of which may be done twice."""

from collections.abc import Callable
from pathlib import Path

from cxr_core.store.disk import fsync_folder, make_folder, translated, write_atomic
from cxr_core.store.locks import give, take


def _leases(root: Path) -> None:
    make_folder(root / "leases")


STEPS: tuple[Callable[[Path], None], ...] = (_leases,)
"""The first makes format 2 of format 1, and so on. A kill at any instant of a step, then the step anew, is the step."""

FORMAT = 1 + len(STEPS)


def migrate(root: Path, format_now: Callable[[], int]) -> None:
    """Brings a store to ``FORMAT``, and says so in the file FORMAT only after each step.

    Raises:
        StoreError: the store cannot be written.
    """
    with translated(root, f"being migrated from format {format_now()} to {FORMAT}, which is needed once"):
        lock = take(root / "locks" / "store")
        assert lock is not None
        try:
            # Looked at once more: another process may have done it meanwhile.
            for number, step in enumerate(STEPS[format_now() - 1 :], start=format_now() + 1):
                step(root)
                write_format(root, number)
        finally:
            give(lock)


def write_format(root: Path, number: int) -> None:
    """Says durably which format the store has."""
    write_atomic(root / "FORMAT", f"{number}\n".encode(), root / "tmp")
    fsync_folder(root)
