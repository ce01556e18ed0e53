"""The control groups that this process is in: what they grant it of the CPU, and how often they stopped it.

Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst (``cpu.max``, ``cpu.stat``) and, for version 1,
Documentation/scheduler/sched-bwc.rst (``cpu.cfs_quota_us``, ``cpu.stat``).
"""

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path("/")


class Throttled(NamedTuple):
    """Counted since a group was made: ``periods`` in which its quota was enforced, those among them in which it stopped
    the group, and the ``seconds`` of standing still, summed over processors."""

    periods: int
    stopped: int
    seconds: float


def cpu_quota(root: Path = ROOT) -> float | None:
    """Processors' worth of time that the tightest of the groups grants; None without a quota."""
    found = []
    for group in _groups(root):
        version_1 = (read(group / "cpu.cfs_quota_us"), read(group / "cpu.cfs_period_us"))
        limit = read(group / "cpu.max").split() or [text.strip() for text in version_1]
        if len(limit) == 2 and all(text.isdecimal() for text in limit):  # no quota is "max" or -1
            found.append(int(limit[0]) / int(limit[1]))
    return min(found, default=None)


def throttled(root: Path = ROOT) -> dict[Path, Throttled]:
    """Each group that counts, by its folder."""
    found = {}
    for group in _groups(root):
        counts = {name: int(count) for name, count in re.findall(r"^(\w+) (\d+)$", read(group / "cpu.stat"), re.M)}
        if "nr_throttled" in counts:
            seconds = counts.get("throttled_usec", 0) / 1e6 + counts.get("throttled_time", 0) / 1e9
            found[group] = Throttled(counts.get("nr_periods", 0), counts["nr_throttled"], seconds)
    return found


def read(path: Path) -> str:
    """A file of the kernel's; empty where it is not to be had."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _groups(root: Path) -> list[Path]:
    """The process's own group and those around it. In a container the path may be the host's: then only the top, which
    is the container's own group, is there."""
    found = []
    for controllers, path in re.findall(r"^\d+:(.*?):(/.*)$", read(root / "proc/self/cgroup"), re.M):
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        found += [top / str(one).lstrip("/") for one in (PurePosixPath(path), *PurePosixPath(path).parents)]
    return found
