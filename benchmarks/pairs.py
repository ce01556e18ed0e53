"""Two sides measured in turns."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Paired:
    """Ratios of ours to the other side, one a round; ``unit`` is what both sides are measured in."""

    bench: str
    what: str
    target: str
    unit: str
    mine: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.mine, self.others, strict=True)]

    @property
    def ours(self) -> str:
        return f"{statistics.median(self.mine):.4g} {self.unit}"

    @property
    def other(self) -> str:
        return f"{statistics.median(self.others):.4g} {self.unit}"

    def text(self) -> str:
        """Median and range of the ratios."""
        return f"{statistics.median(self.ratios):.2f} [{min(self.ratios):.2f}, {max(self.ratios):.2f}]"

    def row(self) -> tuple[str, ...]:
        """For the table."""
        return self.what, self.ours, self.other, self.text(), self.target, str(len(self.ratios))

    def plain(self) -> dict[str, object]:
        """For JSON: every round, so that anyone can work it out again."""
        return {
            "what": self.what,
            "target": self.target,
            "unit": self.unit,
            "ours": self.mine,
            "other": self.others,
            "ratio_median": statistics.median(self.ratios),
        }


@dataclass
class Growth:
    """What each step of a series added."""

    bench: str
    what: str
    unit: str
    steps: list[float] = field(default_factory=list)

    def row(self) -> tuple[str, ...]:
        """For the table."""
        said = f"median {statistics.median(self.steps):.3g} {self.unit}".strip()
        return (
            self.what,
            said,
            "",
            f"sum {sum(self.steps):.4g}, largest {max(self.steps):.3g}",
            "",
            str(len(self.steps)),
        )

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {"what": self.what, "unit": self.unit, "steps": self.steps}


@dataclass
class Beside:
    """One figure of both sides (None: the other has none), measured once, whose ratio would say nothing."""

    bench: str
    what: str
    unit: str
    target: str
    mine: float
    other: float | None

    def row(self) -> tuple[str, ...]:
        """For the table."""
        other = "" if self.other is None else f"{self.other:.4g} {self.unit}"
        return self.what, f"{self.mine:.4g} {self.unit}", other, "", self.target, "1"

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {"what": self.what, "target": self.target, "unit": self.unit, "ours": self.mine, "other": self.other}


def in_turns(pair: Paired, mine: Callable[[], float], other: Callable[[], float], rounds: int) -> Paired:
    """A B, B A, A B ...: each returns its figure. One round before is not counted."""
    for number in range(rounds + 1):
        sides = [(pair.mine, mine), (pair.others, other)]
        for kept, side in sides if number % 2 else reversed(sides):
            figure = side()
            if number:
                kept.append(figure)
    return pair


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
