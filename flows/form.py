"""What the form in the Prefect UI offers: the profiles, the backends, and every field of a profile to change.

A submitted form carries its defaults, which cannot be told from choices. So each override is optional,
and None means "as in the profile".
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema, create_model
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from cxr_core.config import Profile
from cxr_core.engines import registry
from cxr_core.refs import Frozen
from flows.settings import PROFILES

_CHOSEN_ELSEWHERE = {"name", "precisions", "backends"}


class _Section(Frozen):
    model_config = ConfigDict(title="change")  # what the form calls the choice that is not None


class Blank:
    """Marks an optional field that the form shows as a plain one: left blank it is None, with no type to choose."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
        if len(kinds) != 1:
            return schema
        return {**{name: value for name, value in schema.items() if name != "anyOf"}, **kinds[0]}


def _choice(names: list[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": names})


# What is known is read from the machine, so that a new profile or backend is offered without a change here.
ProfileName = Annotated[str, _choice(sorted(path.stem for path in PROFILES.glob("*.yaml")))]
BackendName = Annotated[str, _choice(list(registry.known_backends()))]


def _optional(field: FieldInfo, annotation: Any) -> tuple[Any, Any]:
    default = field.get_default(call_default_factory=True)
    text = field.description or ""
    described = ". ".join(part for part in (text, f"Blank: as in the profile (usually {_plain(default)})") if part)
    # Bounds stay with the type, so that a wrong value is refused in the form.
    bounded = Annotated[annotation, *field.metadata] if field.metadata else annotation
    return _blank(bounded, described)


def _blank(annotation: Any, described: str | None) -> tuple[Any, Any]:
    return Annotated[annotation | None, Blank()], Field(
        None, description=described, json_schema_extra=lambda schema: schema.pop("default", None)
    )


def _plain(default: Any) -> str:
    return ", ".join(str(part) for part in default) or "none" if isinstance(default, tuple) else str(default)


def _overridable(model: type[BaseModel]) -> type[Frozen]:
    """A model with the same fields, each optional."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if model is Profile and name in _CHOSEN_ELSEWHERE:
            continue
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            section = _overridable(annotation)
            # With a choice of None the form keeps a section folded until it is wanted.
            fields[name] = (section | None, Field(None, description=section.__doc__))
        else:
            fields[name] = _optional(field, annotation)
    name = model.__name__.replace("Config", "") + "Overrides"
    made: type[Frozen] = create_model(name, __base__=_Section, __doc__=model.__doc__, **fields)
    return made


if TYPE_CHECKING:
    Overrides = Frozen
else:
    Overrides = _overridable(Profile)
    """Every field of a profile, section by section; what is None stays as the profile has it."""
