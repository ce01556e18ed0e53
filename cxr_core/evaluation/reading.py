"""How an unreadable file is told, without its folder: these messages can end up in a report."""

from pydantic import ValidationError


def what(error: Exception) -> str:
    """What was found instead, in a few words."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, ValidationError):
        found = [(".".join(map(str, problem["loc"])) or "content", problem["msg"]) for problem in error.errors()]
        return "; ".join(f"{place}: {message}" for place, message in found[:3])
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error)
