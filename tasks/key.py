"""What a content key is made of, in readable parts, and its sha256."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, JsonValue

from cxr_core.refs import Record, Ref

Parts = Callable[[Mapping[str, Any]], dict[str, JsonValue]]

CANNOT_CHANGE_A_RESULT = frozenset({"time_limit_seconds", "checkpoint_images"})
"""Configured fields that only say how long or how often; they are left out of every key."""


def key_of(parts: Mapping[str, JsonValue]) -> str:
    """sha256 hex of the canonical JSON of ``parts``."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def keyed(value: Any) -> JsonValue:
    """A value as it enters the key: references by digest alone, configs by their fields."""
    if isinstance(value, Ref):
        return value.digest
    if isinstance(value, Record):
        raise TypeError("a record is not keyed whole; name the output that the stage takes")
    if isinstance(value, BaseModel):
        return {
            name: keyed(getattr(value, name)) for name in type(value).model_fields if name not in CANNOT_CHANGE_A_RESULT
        }
    if isinstance(value, Mapping):
        return {str(name): keyed(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [keyed(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot enter a content key")
