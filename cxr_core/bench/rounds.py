"""ABBA: the engine and its reference take turns in one process, each going first in every other round."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from cxr_core.bench.audit import answers_before, batch_complaint, complaint, memory_complaint
from cxr_core.bench.inputs import Inputs, made_up
from cxr_core.bench.loop import Turn, turn
from cxr_core.config import BenchmarkConfig
from cxr_core.engines.contract import Images, Logits, Runner, Spans
from cxr_core.progress import Progress, silent


@dataclass
class Side:
    """One of the two engines: its runner, what it is fed, and its turns so far, one of each kind a round."""

    name: str
    runner: Runner
    single: Sequence[Images]
    batched: Sequence[Images]
    single_answers: Sequence[Logits] = ()
    batched_answers: Sequence[Logits] = ()
    latency: list[Turn] = field(default_factory=list)
    throughput: list[Turn] = field(default_factory=list)
    complaint: str = ""

    def prepare(self, seconds: float) -> None:
        """Untimed answers, the batch audit, and a warm-up of ``seconds`` over both shapes."""
        self.single_answers = answers_before(self.runner, self.single)
        self.batched_answers = answers_before(self.runner, self.batched)
        self._note(batch_complaint(self.runner, self.batched[0], self.batched_answers[0]))
        self._note(memory_complaint(self.runner, self.single))
        turn(self.runner, self.single, seconds / 2)
        turn(self.runner, self.batched, seconds / 2)

    def play(self, seconds: float) -> None:
        """One round's turn: half of it single queries, half batches. One query each goes first, untimed:
        the other engine has just emptied the caches."""
        self.runner(self.single[-1])
        single = turn(self.runner, self.single, seconds / 2)
        self.runner(self.batched[-1])
        batched = turn(self.runner, self.batched, seconds / 2)
        self._note(complaint(single, self.single, self.single_answers))
        self._note(complaint(batched, self.batched, self.batched_answers))
        self.latency.append(_light(single))
        self.throughput.append(_light(batched))

    @property
    def queries(self) -> int:
        """Latency queries so far."""
        return sum(len(turn.starts) for turn in self.latency)

    @property
    def milliseconds(self) -> NDArray[np.float64]:
        """All latencies in order."""
        return np.concatenate([turn.milliseconds for turn in self.latency])

    @property
    def spans(self) -> list[Spans]:
        """Where each latency query's time went; empty where the runner does not tell."""
        return [parts for turn in self.latency for parts in turn.spans]

    def _note(self, sentence: str) -> None:
        if sentence and not self.complaint:
            self.complaint = f"{self.name}: {sentence}"


def side(name: str, runner: Runner, config: BenchmarkConfig, inputs: Inputs | None = None) -> Side:
    """An engine made ready, not yet warmed up. Both sides are fed the same images, made-up ones without ``inputs``."""
    height, width = runner.input_shape[2:]
    fed = inputs or made_up(config.throughput_batch, height, width, config.seed)
    return Side(name, runner, fed.single, fed.batched)


def alternate(engine: Side, reference: Side, config: BenchmarkConfig, progress: Progress = silent) -> str:
    """Plays rounds until every floor holds; what was not reached in ``longest_seconds`` as a sentence.

    The rounds of the config always run. Further pairs of rounds follow until both sides have their
    latency queries or the time is over. The number of rounds stays even.
    """
    start = perf_counter()
    for one in (engine, reference):
        one.prepare(config.warmup_seconds)
    played = 0
    while played < config.rounds or _wanting(engine, reference, config):
        if played >= config.rounds and perf_counter() - start > config.longest_seconds:
            return _shortfall(engine, reference, config)
        for order in ((engine, reference), (reference, engine)):
            for one in order:
                one.play(config.round_seconds)
            played += 1
            progress(played, max(config.rounds, played), "rounds measured")
    return ""


def _wanting(engine: Side, reference: Side, config: BenchmarkConfig) -> bool:
    return min(engine.queries, reference.queries) < config.iterations


def _shortfall(engine: Side, reference: Side, config: BenchmarkConfig) -> str:
    found = min(engine.queries, reference.queries)
    return (
        f"floor not met: {found} of {config.iterations} latency queries in {config.longest_seconds:g} s; "
        "percentiles that this count does not carry are blank"
    )


def _light(full: Turn) -> Turn:
    return Turn(full.starts, full.stops, full.bound, (), full.spans)
