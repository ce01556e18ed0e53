"""Branches over several GPUs: each in a child that holds one, over doubles of NVIDIA's libraries."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cxr_core.child import Finished, run_child
from cxr_core.engines.registry import backend
from tests.conftest import PROJECT
from tests.nvidia import children, doubled

GPU, SECOND = (f"GPU-46414b45-2d47-5055-2d55-5549442d313{last}" for last in (6, 7))
Branches = Callable[..., list[Finished]]


@pytest.fixture
def branches(graphs: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Branches:
    """Runs branches ``a`` and ``b`` at once on the devices of a machine that is told of. Each stays at work until all
    that ``until`` names have come to the meeting; ``waiting`` comes when a branch must wait for a device."""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("CXR_DEVICE_LOCKS", str(tmp_path / "locks"))
    monkeypatch.chdir(PROJECT)
    graph = graphs("fp32")

    def run(told: str, until: list[str]) -> list[Finished]:
        with doubled(told):
            devices = backend("tensorrt").devices()
        for name, value in children(told).items():
            monkeypatch.setenv(name, value)

        def branch(name: str) -> Finished:
            out = tmp_path / name
            out.mkdir()
            wish = {"out": str(out), "graph": str(graph), "meeting": str(meeting), "name": name, "until": until}
            return run_child(
                "tests.cxr_core.child_work:branch_on_gpu", wish, purpose=f"branch {name}", log=tmp_path / f"{name}.log",
                devices=devices, waiting=lambda who: (meeting / "waiting").write_text(who),
            )  # fmt: skip

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(branch, "ab"))

    return run


@pytest.mark.parametrize("told", ["devices:2", "slices:2"])
def test_two_branches_are_at_work_at_once_on_two_devices(told: str, branches: Branches, tmp_path: Path) -> None:
    done = branches(told, ["a", "b"])
    held = {one.device for one in done}
    assert held == {one.facts["device"] for one in done}
    assert held == {GPU, SECOND} if told == "devices:2" else {one[:4] for one in held if one} == {"MIG-"}
    assert len(held) == 2 and not (tmp_path / "meeting" / "waiting").exists()
    assert [(one.facts["shown"], one.facts["others"]) for one in done] == [(1, [])] * 2
    # Cards of one model have one timing cache.
    assert len(list((tmp_path / "cache").glob("*.timing"))) == 1


def test_two_branches_on_one_device_are_at_work_one_after_the_other(branches: Branches, tmp_path: Path) -> None:
    done = branches("devices:1", ["waiting"])
    assert [one.device for one in done] == [GPU] * 2
    assert [one.facts["others"] for one in done] == [[], []]
    assert (tmp_path / "meeting" / "waiting").read_text().startswith("branch ")
    assert sorted(str(one.facts["cache"]) for one in done) == ["cold", "warm"]
