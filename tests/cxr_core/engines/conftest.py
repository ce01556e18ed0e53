"""A test of a backend called ``tensorrt`` runs over the doubles of NVIDIA's libraries."""

from collections.abc import Iterator

import pytest

from tests.nvidia import doubled


@pytest.fixture(autouse=True)
def _doubles(request: pytest.FixtureRequest) -> Iterator[None]:
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    if "tensorrt" not in (parameters.get("name"), parameters.get("folder")):
        yield
        return
    with doubled():
        yield
