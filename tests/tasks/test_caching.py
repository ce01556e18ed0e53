"""Prefect's caching engine over the store's records and locks."""

from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.schemas.objects import State

from cxr_core.refs import Record
from tasks.caching import RecordStorage
from tasks.key import key_of
from tasks.place import current_store, lock_table
from tasks.stage import stage
from tests.cxr_core.mirror.conftest import content_of

pytestmark = pytest.mark.slow  # starts a server


@stage("split", core="cxr_core.data.split:split")
def hit() -> dict[str, Any]:
    """A stage of which the store has a record."""
    return {}


@flow
def asked() -> tuple[str, str]:
    """What became of that stage: the name and the message of its state."""
    state: State[Record] = hit(return_state=True)
    return state.name or "", state.message or ""


def test_a_hit_that_is_withdrawn_before_it_is_read_fails_and_leaves_no_lock(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_STORE", str(tmp_path))
    store = current_store()
    parts = hit.cache_policy.parts({})  # type: ignore[union-attr]
    outputs = {"manifest.csv": store.put_bytes(b"all of it", "manifest.csv")}
    record = Record(stage="split", key=key_of(parts), parts=parts, outputs=outputs, seconds=1)
    store.write_action(record.key, content_of(record))
    assert asked()[0] == "Cached"

    read = RecordStorage.read_path

    def read_and_withdraw(self: RecordStorage, path: str, _sync: bool = True) -> bytes:
        found = read(self, path)
        (tmp_path / "actions" / record.key).unlink()
        return found

    monkeypatch.setattr(RecordStorage, "read_path", read_and_withdraw)
    name, why = asked()
    assert (name, "its stage has yet to run" in why) == ("Failed", True)
    assert not lock_table().is_locked(record.key)
