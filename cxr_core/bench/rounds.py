"""ABBA: the engine and its reference take turns in one process, each going first in every other round."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cxr_core.bench.audit import answers_before, batch_complaint, complaint, memory_complaint
from cxr_core.bench.inputs import Inputs, made_up
from cxr_core.bench.loop import Turn, turn, turn_on_streams
from cxr_core.bench.ratio import Drift, OverRounds, drift_over_rounds, over_rounds
from cxr_core.bench.roofline import Roofline, roofline_complaint, rooflines
from cxr_core.bench.summary import ThroughputSummary, throughput_summary
from cxr_core.bench.tuning import TunedStreams, transfers, tuned_streams
from cxr_core.bench.warmup import Warmup, warm_up
from cxr_core.config import BenchmarkConfig, EngineConfig
from cxr_core.engines.contract import (
    CpuExecution,
    Execution,
    GpuExecution,
    Images,
    Logits,
    Runner,
    Spans,
    Stream,
    Streaming,
)
from cxr_core.engines.metadata import EngineMetadata
from cxr_core.progress import Progress, silent
from cxr_core.refs import Frozen

_DRIFT = 0.1  # the machine's, beyond which absolute figures are doubtful: as far as windows of a warm-up may differ


class Ended(Frozen):
    """What ended the rounds: every floor held, or ``longest_seconds`` were over. ``reason`` is empty if all held."""

    by: Literal["floors", "time"]
    rounds: int
    seconds: float
    reason: str


@dataclass
class Side:
    """One of the two engines: its runner, what it is fed, and its turns so far, one of each kind a round.

    ``alone`` is the stream of single queries, ``streams`` are those of batches, both empty where the runner has none or
    the one is its own call.
    ``execution`` is how the last turn's queries were executed; None there too. ``tuned`` is how the number of streams
    was found, None where it was stated.
    """

    name: str
    runner: Runner
    single: Sequence[Images]
    batched: Sequence[Images]
    alone: Sequence[Stream] = ()
    streams: Sequence[Stream] = ()
    tuned: TunedStreams | None = None
    transfers: bool = True
    single_answers: Sequence[Logits] = ()
    batched_answers: Sequence[Logits] = ()
    latency: list[Turn] = field(default_factory=list)
    throughput: list[Turn] = field(default_factory=list)
    warmup: dict[str, Warmup] = field(default_factory=dict)
    execution: Execution | None = None
    complaint: str = ""

    def prepare(self, config: BenchmarkConfig) -> None:
        """Untimed answers, the audits, and a warm-up over both shapes, half of the time each."""
        self.single_answers = answers_before(self.runner, self.single)
        self.batched_answers = answers_before(self.runner, self.batched)
        self.note(batch_complaint(self.runner, self.batched[0], self.batched_answers[0]))
        for inputs in (self.single, self.batched):
            self.note(memory_complaint(self.runner, inputs))
        least, longest = config.warmup_seconds / 2, config.warmup_longest_seconds / 2
        self.warmup = {
            "latency": warm_up(self.runner, self.single, least, longest),
            "throughput": warm_up(self.runner, self.batched, least, longest),
        }

    def play(self, seconds: float) -> None:
        """One round's turn: half of it single queries on one stream, half batches on all of them."""
        self.latency.append(self._turn(self.single, self.single_answers, self.alone, seconds / 2))
        self.throughput.append(self._turn(self.batched, self.batched_answers, self.streams, seconds / 2))
        if isinstance(self.runner, Streaming):
            self.execution = self.runner.execution

    def _turn(
        self, inputs: Sequence[Images], expected: Sequence[Logits], streams: Sequence[Stream], seconds: float
    ) -> Turn:
        """A query goes first, untimed, on each stream: the other engine has just emptied the caches."""
        if not streams:
            self.runner(inputs[-1])
            done = turn(self.runner, inputs, seconds)
        else:
            if not self.transfers:
                places = [place % len(inputs) for place in range(len(streams))]
                inputs, expected = [inputs[i] for i in places], [expected[i] for i in places]
            turn_on_streams(streams, inputs, 0.0, transfers=self.transfers)
            done = turn_on_streams(streams, inputs, seconds, transfers=self.transfers)
        self.note(complaint(done, inputs, expected))
        return done.without_answers()

    def otherwise(self, asked: EngineConfig, streams: int) -> str:
        """A sentence for how queries were executed otherwise than by default, or than asked; empty where not.

        ``streams`` is the number asked for, 0 for the best.
        """
        found = [*self._otherwise_at_once(streams), *self._otherwise_on_a_gpu(asked)]
        return f"{self.name}: {', '.join(found)}" if found else ""

    def _otherwise_at_once(self, streams: int) -> list[str]:
        if self.execution is None:
            return ["throughput is that of one stream, as this backend has no others"] if streams != 1 else []
        if (held := self.execution.streams) == 1 and not self.tuned:
            return []
        tried = [str(one.streams) for one in self.tuned.trials if not one.refused] if self.tuned else []
        best = f", the best of {', '.join(tried)}" if tried else ""
        return [f"throughput is that of {held} stream{'s' if held > 1 else ''}{best}"]

    def _otherwise_on_a_gpu(self, asked: EngineConfig) -> list[str]:
        if not isinstance(how := self.execution, GpuExecution):
            return []
        found = (
            "copies to and from the GPU are left out of latency and throughput" if not how.transfers else "",
            "ran without the CUDA graph that was asked for" if asked.cuda_graph and not how.cuda_graph else "",
            f"{'spun' if how.spin_wait else 'slept'} while waiting, other than asked"
            if asked.spin_wait != how.spin_wait
            else "",
        )
        return [one for one in found if one]

    @property
    def queries(self) -> int:
        """Latency queries so far."""
        return sum(len(turn.starts) for turn in self.latency)

    @property
    def milliseconds(self) -> NDArray[np.float64]:
        """All latencies in order."""
        return np.concatenate([turn.milliseconds for turn in self.latency])

    @property
    def throughput_summary(self) -> ThroughputSummary:
        """Over all rounds."""
        return throughput_summary(
            batch=len(self.batched[0]),
            queries=sum(len(turn.starts) for turn in self.throughput),
            images=sum(int(turn.bound.sum()) for turn in self.throughput),
            seconds=sum(turn.seconds for turn in self.throughput),
        )

    def median_ms(self, seed: int) -> OverRounds:
        """The median latency of a round, over rounds."""
        return over_rounds([float(np.median(turn.milliseconds)) for turn in self.latency], seed)

    @property
    def unsteady(self) -> str:
        """A sentence where the warm-up ended by its limit; empty where not."""
        found = [f"{kind} by {one.spread:.2f}" for kind, one in self.warmup.items() if not one.stable]
        seconds = sum(one.seconds for one in self.warmup.values())
        return (
            f"{self.name}: not steady after {seconds:.1f} s of warm-up ({', '.join(found)} in 3 windows)"
            if found
            else ""
        )

    @property
    def spans(self) -> list[Spans]:
        """Where each latency query's time went; empty where the runner does not tell."""
        return [parts for turn in self.latency for parts in turn.spans]

    def note(self, sentence: str) -> None:
        """Keeps the first complaint of all."""
        if sentence and not self.complaint:
            self.complaint = f"{self.name}: {sentence}"


def side(
    name: str,
    runner: Runner,
    config: BenchmarkConfig,
    inputs: Inputs | None = None,
    tuned: TunedStreams | None = None,
) -> Side:
    """An engine made ready, not yet warmed up. Both sides are fed the same images, made-up ones without ``inputs``.

    ``tuned`` is what was found before where ``config.streams`` is 0; without it the number of streams is tried out now.

    Raises:
        MachineError: so many streams cannot be had.
    """
    height, width = runner.input_shape[2:]
    fed = inputs or made_up(config.throughput_batch, height, width, config.seed)
    one = Side(name, runner, fed.single, fed.batched)
    if isinstance(runner, Streaming):
        if config.streams == 0:
            one.tuned = tuned or tuned_streams(runner, fed.batched, config)
        one.alone = runner.streams(1)
        one.streams = runner.streams(one.tuned.streams if one.tuned else config.streams)
        one.transfers = transfers(runner, config)
        if isinstance(runner.execution, CpuExecution):
            # One stream is the runner's own call there, and the loop over calls takes less of a query's time.
            one.alone, one.streams = (), one.streams if len(one.streams) > 1 else ()
    return one


def both_sides(
    names: tuple[str, str],
    runners: tuple[Runner, Runner],
    known: tuple[EngineMetadata, EngineMetadata],
    config: BenchmarkConfig,
    inputs: Inputs | None = None,
) -> tuple[Side, Side]:
    """The two made ready. Each has its own best number of streams; an engine against itself has one, found once."""
    first = side(names[0], runners[0], config, inputs)
    same = known[0].engine_digest == known[1].engine_digest
    return first, side(names[1], runners[1], config, inputs, first.tuned if same else None)


def note_rooflines(
    sides: Sequence[Side], metadata: Sequence[EngineMetadata], config: BenchmarkConfig, engine_config: EngineConfig
) -> list[Roofline | None]:
    """How far each is from its device's peak, once the rounds are over; who is above it gets a complaint."""
    rates = [one.throughput_summary.images_per_second for one in sides]
    found = rooflines(list(zip(metadata, rates, strict=True)), config, engine_config)
    for one, roof in zip(sides, found, strict=True):
        one.note(roofline_complaint(roof))
    return found


def alternate(engine: Side, reference: Side, config: BenchmarkConfig, progress: Progress = silent) -> Ended:
    """Plays rounds until every floor holds, or ``longest_seconds`` are over.

    The rounds of the config always run. Further pairs of rounds follow until both sides have their latency
    queries and the interval of each one's median is no wider than ``median_width``. The number of rounds stays
    even.
    """
    start = perf_counter()
    for one in (engine, reference):
        one.prepare(config)
    played = 0
    while played < config.rounds or _wanting(engine, reference, config):
        if played >= config.rounds and perf_counter() - start > config.longest_seconds:
            reason = "; ".join(_wanting(engine, reference, config))
            return Ended(by="time", rounds=played, seconds=perf_counter() - start, reason=reason)
        for order in ((engine, reference), (reference, engine)):
            for one in order:
                one.play(config.round_seconds)
            played += 1
            progress(played, max(config.rounds, played), "rounds measured")
    return Ended(by="floors", rounds=played, seconds=perf_counter() - start, reason="")


def ratios_by_round(engine: Side, reference: Side) -> tuple[list[float], list[float]]:
    """Of median latency and of throughput, one a round; above 1 the engine is faster."""
    latency = [
        float(np.median(b.milliseconds) / np.median(a.milliseconds))
        for a, b in zip(engine.latency, reference.latency, strict=True)
    ]
    throughput = [
        a.images_per_second / b.images_per_second for a, b in zip(engine.throughput, reference.throughput, strict=True)
    ]
    return latency, throughput


def drift(engine: Side, reference: Side) -> Drift | None:
    """By how much the machine's speed moved over the rounds: the geometric mean of both sides' throughput."""
    rates = [[turn.images_per_second for turn in one.throughput] for one in (engine, reference)]
    return drift_over_rounds(np.sqrt(np.prod(rates, axis=0)).tolist())


def drifting(found: Drift | None) -> str:
    """A sentence where it surely moved by more than a tenth; empty where not. The ratio of the two holds all the same:
    they take turns, A B, B A."""
    if found is None or (found.low < _DRIFT and found.high > -_DRIFT):
        return ""
    return (
        f"the machine's speed moved by {100 * found.value:+.0f} % over the rounds "
        f"[{100 * found.low:+.0f}, {100 * found.high:+.0f}]: ratios hold, absolute figures are of no one speed"
    )


def _wanting(engine: Side, reference: Side, config: BenchmarkConfig) -> list[str]:
    """Which floors do not hold yet, as sentences."""
    found, queries = [], min(engine.queries, reference.queries)
    if queries < config.iterations:
        found.append(
            f"floor not met: {queries} of {config.iterations} latency queries in {config.longest_seconds:g} s; "
            "percentiles that this count does not carry are blank"
        )
    width, name = max((one.median_ms(config.seed).width, one.name) for one in (engine, reference))
    if width > config.median_width:
        found.append(
            f"floor not met: after {config.longest_seconds:g} s the interval of the {name}'s median latency is "
            f"{100 * width:.0f} % wide, asked for were {100 * config.median_width:g} %"
        )
    return found
