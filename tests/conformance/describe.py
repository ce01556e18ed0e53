"""Run in a process of its own: what a real module offers, as JSON on standard output. ``describe.py MODULE``."""

import enum
import importlib
import inspect
import json
import re
import sys
from typing import Any

_SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\)(?: -> (.+))?$")


def signatures(member: Any) -> list[dict[str, Any]]:
    """Parameters (without self) and what is returned, of every overload; from the docstring where it is compiled."""
    if inspect.isfunction(member):
        parameters = inspect.signature(member).parameters.values()
        required = [
            p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        return [{"names": [p.name for p in parameters], "required": len(required), "returns": ""}]
    found = [_SIGNATURE.match(line.strip()) for line in (getattr(member, "__doc__", "") or "").splitlines()]
    return [_signature(match[2], match[3] or "") for match in found if match and match[2] != "*args, **kwargs"]


def _signature(listed: str, returns: str) -> dict[str, Any]:
    parts = [part for part in _split(listed) if part and not part.startswith("self")]
    # ``int device`` and ``unsigned int flags`` in cuda.bindings, ``flags: int = 0`` in pybind11.
    names = [part.partition(":")[0].partition("=")[0].split()[-1] for part in parts]
    return {
        "names": names,
        "required": sum("=" not in part for part in parts),
        "returns": returns.split(".")[-1].split("::")[-1],
    }


def _split(listed: str) -> list[str]:
    """At commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in listed:
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def described(thing: Any) -> dict[str, Any]:
    """A class with its members, an enumeration with its values, or something callable."""
    values = getattr(thing, "__members__", None)
    if values is not None:
        return {"kind": "enum", "members": {name: {"kind": "value"} for name in values}}
    if inspect.isclass(thing):
        return {"kind": "class", "members": {name: _member(thing, name) for name in dir(thing) if _shown(name)}}
    return {"kind": "function" if callable(thing) else "value", "signatures": signatures(thing)}


def _shown(name: str) -> bool:
    return not name.startswith("_") or name == "__init__"


def _member(owner: Any, name: str) -> dict[str, Any]:
    static = inspect.getattr_static(owner, name)
    if isinstance(static, property):
        return {"kind": "property", "settable": static.fset is not None}
    member = getattr(owner, name)
    if inspect.isclass(member) and not issubclass(member, type):
        return described(member)
    return {"kind": "method", "signatures": signatures(member)} if callable(member) else {"kind": "value"}


if __name__ == "__main__":
    module = importlib.import_module(sys.argv[1])
    found = {name: described(getattr(module, name)) for name in dir(module) if _shown(name)}
    sys.stdout.write(json.dumps({"version": getattr(module, "__version__", ""), "names": found, "enum": enum.__name__}))
