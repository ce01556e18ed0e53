"""The CPU: its name, the instruction sets that decide which precision runs, and how many threads to take."""

import hashlib
import os
import platform
import re
from functools import cache
from pathlib import Path

from cxr_core.config import EngineConfig
from cxr_core.engines.cgroup import ROOT, cpu_quota
from cxr_core.refs import Frozen

# Arithmetic instruction sets only: the kernel adds and drops other flags (mitigations) with every update,
# and none of those changes what an engine computes. The last line is ARM's names.
_ARITHMETIC = re.compile(
    r"^(sse\w*|ssse3|avx\w*|amx\w*|fma\w*|f16c|bmi[12]"
    r"|asimd\w*|fphp|sve\w*|sme\w*|i8mm|bf16)$"
)


class Processor(Frozen):
    """A CPU model and its arithmetic instruction sets, sorted, as Linux spells them."""

    name: str
    flags: tuple[str, ...]

    def has(self, *flags: str) -> bool:
        """Whether it has at least one of these instruction sets."""
        return any(flag in self.flags for flag in flags)

    @property
    def flags_digest(self) -> str:
        """Twelve hex digits that change when the set of arithmetic instructions does."""
        return hashlib.sha256(" ".join(self.flags).encode()).hexdigest()[:12]


@cache
def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """This machine's CPU. Where ``cpuinfo`` is not to be had, the platform's name and no flags."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    name = _field(text, "model name") or platform.processor() or platform.machine()
    flags = (_field(text, "flags") or _field(text, "Features")).split()
    return Processor(name=" ".join(name.split()), flags=tuple(sorted({f for f in flags if _ARITHMETIC.match(f)})))


def processors(root: Path = ROOT) -> int:
    """How many processors this process may use; a container's or taskset's limit counts. Of a quota in time the whole
    processors: with more threads all of them are stopped, again and again."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, max(1, int(cpu_quota(root) or allowed)))


def thread_count(config: EngineConfig) -> int:
    """The threads an engine is opened with; 0 in the config takes all."""
    return config.threads or processors()


def _field(text: str, key: str) -> str:
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""
