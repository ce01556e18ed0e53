"""Why a stage ran again: the parts of its key, field by field, against the nearest record."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from cxr_core.refs import Record

Parts = Mapping[str, JsonValue]
_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """One field that differs. ``earlier`` or ``later`` is None where the field is absent (``absent`` tells which)."""

    field: str
    earlier: JsonValue
    later: JsonValue
    absent: str = ""

    def __str__(self) -> str:
        if self.field.startswith("code."):
            change = {"earlier": " (new)", "later": " (gone)"}.get(self.absent, "")
            return f"code: {self.field.removeprefix('code.')}{change}"
        earlier = "absent" if self.absent == "earlier" else _short(self.earlier)
        later = "absent" if self.absent == "later" else _short(self.later)
        return f"{self.field} {earlier} -> {later}"


@dataclass(frozen=True)
class Explanation:
    """What was compared: the key parts in question, and the nearest record, or None where there is none to compare."""

    parts: Parts
    nearest: Record | None
    differences: tuple[Difference, ...]


def explanation(parts: Parts, others: Iterable[Record]) -> Explanation:
    """The differences to that one of ``others`` (newest first) with the fewest; of equals, the newest."""
    best: tuple[Record, tuple[Difference, ...]] | None = None
    for other in others:
        found = differences(other.parts, parts)
        if best is None or len(found) < len(best[1]):
            best = other, found
    return Explanation(parts, *best) if best else Explanation(parts, None, ())


def differences(earlier: Parts, later: Parts) -> tuple[Difference, ...]:
    """Every field that differs, by dotted name: parameters, inputs, environment, and the code last."""
    old, new = dict(_leaves(earlier, "")), dict(_leaves(later, ""))
    found = []
    for field in sorted(old.keys() | new.keys(), key=lambda name: (name.startswith("code."), name)):
        before, after = old.get(field, _ABSENT), new.get(field, _ABSENT)
        if before is _ABSENT:
            found.append(Difference(field, None, new[field], "earlier"))
        elif after is _ABSENT:
            found.append(Difference(field, old[field], None, "later"))
        elif before != after or type(before) is not type(after):
            found.append(Difference(field, old[field], new[field]))
    return tuple(found)


def fields(parts: Parts) -> int:
    """How many fields, at any depth, there are to differ."""
    return sum(1 for _ in _leaves(parts, ""))


def parameter(parts: Parts, name: str) -> JsonValue:
    """The first parameter of that name, at any depth; None where there is none."""
    return next((value for field, value in _leaves(parts.get("parameters", {}), "") if _last(field) == name), None)


def belongs(record: Record, stage: str, precision: str | None, backend: str | None) -> bool:
    """Whether a record is of that stage, and of that precision and backend where they are given."""
    return (
        record.stage == stage
        and (precision is None or parameter(record.parts, "precision") == precision)
        and (backend is None or parameter(record.parts, "backend") == backend)
    )


def _leaves(value: JsonValue | Parts, prefix: str) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{name}" if prefix else name)
    elif prefix:
        yield prefix, value if not isinstance(value, Mapping) else {}


def _last(field: str) -> str:
    return field.rpartition(".")[2]


def _short(value: JsonValue) -> str:
    if isinstance(value, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        return f"{value[:15]}.."
    return str(value)
