"""Where the store is. Bound to the process's environment, so that a form field cannot point elsewhere."""

import os
import threading
from functools import cache
from pathlib import Path

from cxr_core.store import FlockTable, Store

DEFAULT_STORE = Path(".cxr/store")

# ``cache`` alone lets two threads that ask first at once have one each, and a lock taken in one table is unknown in the
# other.
_opening = threading.Lock()


def store_root() -> Path:
    """``CXR_STORE``, or ``.cxr/store`` in the working directory."""
    return Path(os.environ.get("CXR_STORE") or DEFAULT_STORE).absolute()


def current_store() -> Store:
    """The store of this process, opened once.

    Raises:
        StoreError: it cannot be used; the message says why and what to do.
    """
    return _opened(store_root())[0]


def lock_table() -> FlockTable:
    """The key locks of this process on the current store; one table, so that its threads exclude each other."""
    return _opened(store_root())[1]


def _opened(root: Path) -> tuple[Store, FlockTable]:
    with _opening:
        return _once(root)


@cache
def _once(root: Path) -> tuple[Store, FlockTable]:
    store = Store.open(root)
    return store, store.lock_table()
