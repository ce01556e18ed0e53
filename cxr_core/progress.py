"""How a long core function tells how far it is. The caller decides what to do with it."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""``progress(done, total, text)``: cheap, may be called often; ``text`` is short and human."""


def silent(done: int, total: int, text: str) -> None:
    """The default: tell nobody."""
