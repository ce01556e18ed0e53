"""A second machine takes a whole run from a mirror and computes nothing."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMOKE, Place

pytestmark = pytest.mark.slow


def test_a_second_machine_computes_nothing(smoke: tuple[Place, dict[str, Any]], tmp_path: Path) -> None:
    url = f"file://{tmp_path}/mirror"
    pushed = smoke[0].json("store", "push", url)
    assert pushed["left"] == [] and pushed["records"] >= len(smoke[1]["stages"]) - 1
    reading, pulling = Place(tmp_path / "reading"), Place(tmp_path / "pulling")
    run = reading.json(*SMOKE, CXR_MIRROR=url)
    assert [stage["name"] for stage in run["stages"] if not stage["cached"]] == []
    assert pulling.json("store", "pull", url)["left"] == []
    run = pulling.json(*SMOKE)
    assert [stage["name"] for stage in run["stages"] if not stage["cached"]] == []
    for place in (reading, pulling):
        assert place.json("store", "verify")["new_damage"] == []
