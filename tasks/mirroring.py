"""A mirror behind the store: what is missed here and is there is taken instead of computed. ``CXR_MIRROR`` names it."""

import os
from functools import cache

from cxr_core.child import stopping
from cxr_core.mirror import ReadThrough
from cxr_core.store import Store


def mirror_url() -> str | None:
    """``CXR_MIRROR``; None where workers read from their own store alone."""
    return os.environ.get("CXR_MIRROR") or None


def came_from_mirror(store: Store, key: str) -> bool:
    """Whether the record of a key, which is missed here, has just come from the mirror with all that it names.

    Raises:
        BranchError: this process was told to stop.
    """
    url = mirror_url()
    return url is not None and _behind(store, url).fetch(key, stopping)


@cache
def _behind(store: Store, url: str) -> ReadThrough:
    """One a process: a mirror that failed once is not waited for again."""
    return ReadThrough(store, url)
