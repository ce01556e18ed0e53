"""A worker with a mirror behind its store: hits that another machine computed, and no failure of its own making."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import MissingArtifact
from cxr_core.mirror import Mirror, push
from cxr_core.store import Store
from tasks.caching import RecordStorage
from tests.cxr_core.mirror.conftest import content_of, fill


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], Store]:
    """``worker(url)``: the store of this process, with that mirror behind it."""

    def make(url: str | None) -> Store:
        monkeypatch.setenv("CXR_STORE", str(tmp_path / "worker"))
        monkeypatch.setenv("CXR_MIRROR", url or "")
        return Store.open(tmp_path / "worker")

    return make


@pytest.fixture
def computed(tmp_path: Path) -> tuple[dict[str, Any], str]:
    """What another machine computed, and the mirror that it was pushed to."""
    store, url = Store.open(tmp_path / "store"), f"file://{tmp_path}/mirror"
    filled = fill(store, tmp_path / "source")
    push(store, Mirror.at(url))
    return filled, url


def test_what_is_missed_here_comes_from_the_mirror(
    computed: tuple[dict[str, Any], str], worker: Callable[[str | None], Store]
) -> None:
    filled, url = computed
    key = filled["train"].key
    store = worker(None)
    with pytest.raises(MissingArtifact, match="no record"):
        RecordStorage().read_path(key)
    worker(url)
    with pytest.raises(MissingArtifact, match="to be computed anew"):
        RecordStorage(since=1.0).read_path(key)  # a refresh never asks it
    assert not list(store.records())
    assert RecordStorage().read_path(key) == content_of(filled["train"])
    store.verify_ref(filled["weights"])
    with pytest.raises(MissingArtifact):
        RecordStorage().read_path("0" * 64)


def test_a_mirror_that_is_not_there_is_a_miss(
    worker: Callable[[str | None], Store], caplog: pytest.LogCaptureFixture
) -> None:
    worker("file:///nowhere/at/all")
    for number in range(3):
        with pytest.raises(MissingArtifact, match="no record"):
            RecordStorage().read_path(f"{number:064x}")
    assert [record.levelname for record in caplog.records if record.name == "cxr.mirror"] == ["WARNING"]
