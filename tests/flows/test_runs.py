"""Which runs may be forgotten: old ones, but never what a rebuild is compared with."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.runs import expired
from tasks.place import current_store


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))


def _run(name: str, days_ago: float, state: str, profile: str = "quick") -> None:
    started = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    current_store().write_run(name, {"started": started, "state": state, "profile": profile})


def test_old_runs_go_but_the_newest_and_the_last_green_of_each_profile_stay() -> None:
    _run("old-green", 200, "completed")
    _run("last-green", 150, "completed")
    _run("old-red", 140, "failed")
    _run("newest-red", 120, "failed")
    _run("other-green", 300, "completed", "full")
    _run("other-old", 400, "completed", "full")
    assert sorted(expired(90)) == ["old-green", "old-red", "other-old"]
    assert expired(500) == []
    for name in expired(90):
        current_store().drop_run(name)
    assert sorted(run.run_id for run in current_store().runs()) == ["last-green", "newest-red", "other-green"]
    current_store().drop_run("never-was")  # nothing to forget is no error


def test_a_young_run_stays_whatever_it_is() -> None:
    _run("a", 1, "failed")
    _run("b", 2, "interrupted")
    assert expired(90) == []
