"""What else a CPU did is read from the kernel's files, here made by hand, and marks figures; only standing still for
most of the time makes them untrue."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cxr_core.bench import cpu_state
from cxr_core.bench.cpu_state import CpuWatch, Reading, reading, watching_cpu
from cxr_core.bench.watching import watching
from cxr_core.engines.cgroup import Throttled
from cxr_core.errors import BranchError

TICK = os.sysconf("SC_CLK_TCK")
CPUINFO = "processor\t: {}\nmodel name\t: Some CPU\ncpu MHz\t\t: {}\ncache size\t: 1 KB\n"


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@dataclass
class Machine:
    """Three processors, each after ``idle`` + ``user`` + ``steal`` seconds; the process may use the first two."""

    root: Path
    idle: float = 100
    user: float = 50
    steal: float = 0
    files: dict[str, str] = field(default_factory=dict)

    def read(self, own: float = 0.0) -> Reading:
        row = f"{int(self.user * TICK)} 0 0 {int(self.idle * TICK)} 0 0 0 {int(self.steal * TICK)} 7 0"
        other = "0 0 0 0 0 0 0 99999 0 0"
        write(self.root, "proc/stat", f"cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 {row}\ncpu1 {row}\ncpu10 {other}\nintr 5 4 3\n")
        for name, text in self.files.items():
            write(self.root, name, text)
        return reading({0, 1}, self.root)._replace(own=own)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_steal_and_other_load_are_shares_of_the_processors_that_may_be_used(machine: Machine) -> None:
    before = machine.read(own=30)
    assert (before.whole, before.busy, before.steal) == (300, 100, 0)
    machine.idle, machine.user, machine.steal = 105, 54, 1  # ten seconds of each, eight of them busy, two stolen
    watch = CpuWatch(2, before, machine.read(own=35))
    assert watch.told() == {"processors": 2, "steal": 0.1, "other_load": 0.15, "slowed_by": []}
    assert watch.complaint() == "other processes took 15 % of the CPU's time: end them and measure again"
    machine.idle, machine.steal = 104, 2
    watch = CpuWatch(2, before, machine.read(own=38))
    assert watch.complaint() == "the CPU was slowed down: steal, 20 % of its time went to other machines"
    assert watch.told()["slowed_by"] and watch.untrue() == ""


def test_a_machine_at_rest_and_counts_that_go_back_are_no_complaint(machine: Machine) -> None:
    before = machine.read(own=30)
    machine.idle, machine.user = 105, 55
    watch = CpuWatch(2, before, machine.read(own=40.5))  # the process's time is counted finer than the processors'
    assert watch.told() == {"processors": 2, "steal": 0, "other_load": 0, "slowed_by": []} and not watch.complaint()
    machine.idle, machine.user = 99.9, 50.3
    assert CpuWatch(2, before, machine.read()).told() == {"processors": 2, "slowed_by": []}  # too short to tell


def test_what_is_not_told_is_said(tmp_path: Path) -> None:
    nothing = reading({0, 1}, tmp_path)
    assert CpuWatch(2, nothing, nothing).complaint() == (
        "steal and other load were not watched: /proc/stat tells nothing here"
    )


def test_clocks_are_the_governors_or_else_those_of_cpuinfo(machine: Machine) -> None:
    machine.files["proc/cpuinfo"] = "\n".join(CPUINFO.format(n, f"{2000 + n}.500") for n in (0, 1, 10)) + "\n"
    before = machine.read()
    assert before.clocks_mhz == (2000.5, 2001.5)
    machine.files |= {f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq": f"{3 + n}000000\n" for n in (0, 1)}
    after = machine.read()
    assert after.clocks_mhz == (3000, 4000)
    assert CpuWatch(2, before, after).told()["clock_mhz"] == [2000.5, 2500.75, 4000]


def test_a_core_that_was_too_hot_is_told(machine: Machine) -> None:
    machine.files["sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count"] = "7\n"
    before = machine.read()
    machine.files["sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count"] = "9\n"
    watch = CpuWatch(2, before, machine.read())
    assert watch.complaint() == "the CPU was slowed down: heat" and watch.told()["slowed_by"] == ["heat"]
    assert CpuWatch(2, watch.after, machine.read()).complaint() == ""


VERSIONS = {
    "2": ("0::/a/b\n", "sys/fs/cgroup/a/cpu.stat", "nr_periods {}\nnr_throttled {}\nthrottled_usec {}000000\n"),
    "1": ("4:memory:/x\n3:cpu,cpuacct:/a/b\n0::/\n", "sys/fs/cgroup/cpu/a/b/cpu.stat",
          "nr_periods {}\nnr_throttled {}\nthrottled_time {}000000000\n"),
    "in a container": ("3:cpuset:/x\n2:cpu:/docker/b0d3\n", "sys/fs/cgroup/cpu/cpu.stat",
                       "nr_periods {}\nnr_throttled {}\nthrottled_time {}000000000\n"),
}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("stopped", "seconds", "marked", "untrue"), [(5, 1, False, False), (60, 9, True, False), (90, 12, True, True)]
)
def test_a_quota_that_stops_the_engine_marks_it_and_makes_it_untrue_where_it_is_most_of_the_time(
    version: str, stopped: int, seconds: int, marked: bool, untrue: bool, machine: Machine
) -> None:
    groups, where, form = VERSIONS[version]
    machine.files |= {"proc/self/cgroup": groups, where: form.format(1000, 40, 3)}
    before = machine.read()._replace(moment=0)
    assert list(before.throttled.values()) == [Throttled(1000, 40, 3)]
    machine.files[where] = form.format(1100, 40 + stopped, 3 + seconds)
    watch = CpuWatch(2, before, machine.read()._replace(moment=10))
    assert watch.told()["throttled_periods"] == [stopped, 100] and watch.told()["throttled_seconds"] == seconds
    says = f"the CPU was slowed down: the quota of a control group, in {stopped} of 100 periods"
    assert watch.complaint() == (says if marked else "")
    assert watch.untrue().startswith("the quota of a control group stopped the engine for 60 % of the time") == untrue


def test_what_was_measured_while_standing_still_is_not_valid(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    group = machine.root / "group"
    still = [machine.read()._replace(moment=m, throttled={group: Throttled(0, 0, s)}) for m, s in ((0, 0), (10, 1e6))]
    monkeypatch.setattr(cpu_state, "reading", lambda processors: still.pop(0))
    refused = pytest.raises(BranchError, match="not a valid measurement: the quota of a control group stopped")
    with refused, watching_cpu():
        pass


def test_this_machine_is_read() -> None:
    with watching("cpu") as watch:
        pass
    told = watch.told()
    assert watch.kind == "cpu" and told["processors"] == len(os.sched_getaffinity(0))
    before, after = watch.before, watch.after
    assert after.whole >= before.whole > before.busy > 0 and after.own >= before.own > 0
    assert after.moment > before.moment and all(0 < mhz < 10_000 for mhz in after.clocks_mhz)
