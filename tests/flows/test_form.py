"""The form in the UI: what is left blank is as in the profile, and a wrong value is refused by its schema."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from cxr_core.config import Profile, load_profile
from flows.form import Overrides
from flows.settings import PROFILES

SCHEMA: dict[str, Any] = Overrides.model_json_schema()


def _blank(model: type[BaseModel]) -> dict[str, Any]:
    """What the form sends when every section was unfolded and nothing was filled in."""
    sections = {
        name: info.annotation
        for name, info in model.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    }
    return {name: _blank(inner) if (inner := sections.get(name)) else None for name in model.model_fields}


@pytest.mark.parametrize("name", ["smoke", "quick", "full", "paper"])
def test_a_form_with_every_section_open_and_nothing_filled_in_is_exactly_the_profile(name: str) -> None:
    sent = _blank(Profile)
    for chosen_elsewhere in ("name", "precisions", "backends"):
        del sent[chosen_elsewhere]
    given = Overrides.model_validate(sent).model_dump(mode="json", exclude_none=True)
    file = PROFILES / f"{name}.yaml"
    assert load_profile(file, given) == load_profile(file)


def test_every_field_of_every_section_can_be_changed_and_is_described() -> None:
    for name, info in Profile.model_fields.items():
        if not hasattr(info.annotation, "model_fields"):
            continue
        section = SCHEMA["$defs"][str(info.annotation.__name__).replace("Config", "") + "Overrides"]  # type: ignore[union-attr]
        assert set(section["properties"]) == set(info.annotation.model_fields), name  # type: ignore[union-attr]
        for described in section["properties"].values():
            assert "as in the profile" in described["description"]
            assert "anyOf" not in described  # a plain field, with no type to choose
            assert "default" not in described  # or Prefect would refuse a null


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"train": {"images": -5}}, "greater than or equal to 1"),
        ({"train": {"imgaes": 5}}, "Extra inputs"),
        ({"benchmark": {"rounds": 3}}, "multiple of 2"),
        ({"variant": {"int8_method": "guess"}}, "minmax"),
    ],
)
def test_a_wrong_value_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Overrides.model_validate(given)


def test_a_value_reaches_the_profile() -> None:
    given = Overrides.model_validate({"train": {"images": 640}, "require": ["int8"]})
    found = load_profile(PROFILES / "quick.yaml", given.model_dump(mode="json", exclude_none=True))
    assert found.train.images == 640
    assert found.require == ("int8",)
    assert found.train.model == "cxr_small"
