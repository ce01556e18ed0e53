"""A container's quota in time is read in both versions of control groups, and bounds the threads taken by default."""

import os
from pathlib import Path

import pytest

from cxr_core.engines.cgroup import cpu_quota
from cxr_core.engines.processor import processors


def laid_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "400000 100000", "sys/fs/cgroup/a/cpu.max": "100000 50000"}, 2),
        ("2:cpu,cpuacct:/a\n", {f"{V1}/a/cpu.cfs_quota_us": "300000\n", f"{V1}/a/cpu.cfs_period_us": "100000\n"}, 3),
        ("2:cpu:/host/x\n", {f"{V1}/cpu.cfs_quota_us": "50000\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, 0.5),
        ("2:cpu:/\n", {f"{V1}/cpu.cfs_quota_us": "-1\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, None),
        ("2:cpuset:/\n1:memory:/\n", {f"{V1}set/cpu.max": "1 1"}, None),
        ("no group", {}, None),
    ],
)
def test_the_tightest_quota_counts(groups: str, files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    assert cpu_quota(laid_out(tmp_path, files | {"proc/self/cgroup": groups})) == quota


@pytest.mark.parametrize(("quota", "most"), [("max", None), ("150000", 1), ("20000", 1), ("99900000", None)])
def test_no_more_threads_than_the_quota_pays_for(quota: str, most: int | None, tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota} 100000\n"}
    assert processors(laid_out(tmp_path, files)) == (most or len(os.sched_getaffinity(0)))
