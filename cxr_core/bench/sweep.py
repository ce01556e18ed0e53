"""One engine over batch sizes: images a second, latency, and the batch from which on more gains little."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from cxr_core.bench.audit import answers_before, batch_complaint, complaint, memory_complaint, require_valid
from cxr_core.bench.inputs import batches as inputs_of
from cxr_core.bench.knee import agreement, knee
from cxr_core.bench.loop import Turn, turn
from cxr_core.bench.ratio import OverRounds, over_rounds
from cxr_core.bench.roofline import roofline_complaint, rooflines
from cxr_core.bench.subject import Subject, subject
from cxr_core.bench.summary import LatencySummary, latency_summary
from cxr_core.bench.warmup import Warmup, warm_up
from cxr_core.bench.watching import watching
from cxr_core.config import BenchmarkConfig, EngineConfig
from cxr_core.engines.contract import Images, Logits, Runner
from cxr_core.engines.opening import open_engine
from cxr_core.engines.registry import backend
from cxr_core.progress import Progress, silent
from cxr_core.refs import Frozen


class SweptBatch(Frozen):
    """``latency`` is of a query of so many images."""

    batch: int
    images_per_second: OverRounds
    latency: LatencySummary
    warmup: Warmup


class Knee(Frozen):
    """``batch`` is None where the curve has no knee; ``agreement`` is the share of resampled rounds that say so too."""

    batch: int | None
    agreement: float
    says: str


class SweepResult(Frozen):
    """``reason`` is what makes the figures doubtful; empty where nothing does."""

    engine: Subject
    batches: tuple[SweptBatch, ...]
    knee: Knee
    rounds: int
    reason: str


@dataclass
class _Rung:
    inputs: Sequence[Images]
    expected: Sequence[Logits]
    warmup: Warmup
    turns: list[Turn] = field(default_factory=list)

    @property
    def batch(self) -> int:
        return len(self.inputs[0])

    @property
    def rates(self) -> list[float]:
        return [one.images_per_second for one in self.turns]

    def swept(self, seed: int) -> SweptBatch:
        return SweptBatch(
            batch=self.batch,
            images_per_second=over_rounds(self.rates, seed),
            latency=latency_summary(np.concatenate([one.milliseconds for one in self.turns]), self.batch),
            warmup=self.warmup,
        )


def sweep(
    *,
    engine: Path,
    engine_metadata: Path,
    config: BenchmarkConfig,
    engine_config: EngineConfig,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Powers of two over the batches of ``engine_config``, the tuned one among them: a ``SweepResult`` as JSON.

    Each round measures every batch once, in an order drawn anew, so that the machine's drift falls on all alike.

    Raises:
        BranchError: answers while timed were not those given before, or a rate is above what the device computes.
        RefusedError, MachineError: the engine is not to be loaded here.
    """
    sizes = batch_sizes(engine_config)
    runner, known = open_engine(engine, engine_metadata, config=engine_config)
    with runner:
        height, width = runner.input_shape[2:]
        inputs = [inputs_of(size, height, width, config.seed) for size in sizes]
        rungs = [_rung(runner, one, config, len(sizes)) for one in inputs]
        remembered = (memory_complaint(runner, one) for one in inputs)
        wrong = next(filter(None, remembered), "") or batch_complaint(runner, inputs[-1][0], rungs[-1].expected[0])
        with watching(backend(known.backend).devices()[0]) as watch:
            wrong = wrong or _measure(runner, rungs, config, progress)
    rates = np.array([one.rates for one in rungs]).T
    if not wrong:
        wrong = roofline_complaint(rooflines([(known, float(rates.mean(axis=0).max()))], config, engine_config)[0])
    require_valid(wrong)
    unsteady = [f"batch {one.batch} by {one.warmup.spread:.2f}" for one in rungs if not one.warmup.stable]
    reasons = [f"not steady after the warm-up: {', '.join(unsteady)}" if unsteady else "", watch.complaint()]
    return SweepResult(
        engine=subject(known),
        batches=tuple(one.swept(config.seed) for one in rungs),
        knee=knee_of(sizes, rates, config.seed),
        rounds=config.rounds,
        reason="; ".join(filter(None, reasons)),
    ).model_dump(mode="json")


def batch_sizes(config: EngineConfig) -> list[int]:
    """The smallest batch, all powers of two above it, the tuned batch and the largest."""
    smallest, tuned, largest = config.batches
    between = {2**power for power in range(largest.bit_length()) if smallest < 2**power < largest}
    return sorted({smallest, tuned, largest} | between)


def knee_of(sizes: Sequence[int], rates: NDArray[np.float64], seed: int) -> Knee:
    """The knee of images a second [rounds, batches], and how sure it is."""
    means = np.exp(np.log(rates).mean(axis=0))
    found, share, best = knee(sizes, means), agreement(sizes, rates, seed), int(means.argmax())
    if found is not None:
        part = means[sizes.index(found)] / means[best]
        says = f"knee at batch {found}: {100 * part:.0f} % of the highest rate, which is at batch {sizes[best]}"
    elif best < 2:
        says = f"no knee: the rate is highest at batch {sizes[best]} already"
    else:
        says = f"no knee: the rate rises about evenly up to batch {sizes[best]}"
    return Knee(batch=found, agreement=share, says=f"{says} ({100 * share:.0f} % of resampled rounds agree)")


def _rung(runner: Runner, inputs: Sequence[Images], config: BenchmarkConfig, count: int) -> _Rung:
    expected = answers_before(runner, inputs)
    warmed = warm_up(runner, inputs, config.warmup_seconds / count, config.warmup_longest_seconds / count)
    return _Rung(inputs, expected, warmed)


def _measure(runner: Runner, rungs: Sequence[_Rung], config: BenchmarkConfig, progress: Progress) -> str:
    """All rounds; the first thing wrong with an answer, empty where all is well."""
    random = np.random.default_rng(config.seed)
    for number in range(config.rounds):
        for index in random.permutation(len(rungs)):
            rung = rungs[index]
            runner(rung.inputs[-1])  # untimed: another shape was bound before
            full = turn(runner, rung.inputs, config.round_seconds / 2)
            if wrong := complaint(full, rung.inputs, rung.expected):
                return f"batch {rung.batch}: {wrong}"
            rung.turns.append(full.without_answers())
        progress(number + 1, config.rounds, "rounds measured")
    return ""
