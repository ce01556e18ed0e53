"""Which of a stage's parameters are not as a profile has them by default."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from cxr_core.config import Profile
from cxr_core.refs import Frozen, Record
from cxr_core.store.why import differences

# Parameters that hold a section of the profile under another name than the section's.
_SECTIONS = {"engine_config": "engine"}
_BRANCH = {"precision", "backend"}


def changed(record: Record) -> dict[str, JsonValue]:
    """Dotted names and values: fields that are not the profile's defaults, and plain values that have none."""
    return dict(_changed(record))


def _changed(record: Record) -> Iterator[tuple[str, JsonValue]]:
    parameters = record.parts.get("parameters")
    for name, value in parameters.items() if isinstance(parameters, dict) else ():
        section = record.stage if name == "config" else _SECTIONS.get(name, name)
        default = getattr(Profile.model_construct(name=""), section, None)
        if isinstance(value, Mapping) and isinstance(default, Frozen):
            standard = default.model_dump(mode="json")
            here = {field: standard.get(field) for field in value}  # what enters no key is in no record
            for difference in differences(here, value):
                yield difference.field, difference.later
        elif not isinstance(value, Mapping | list) and value is not None and name not in _BRANCH:
            yield name, value
