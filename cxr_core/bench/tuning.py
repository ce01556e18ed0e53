"""How many streams carry the most images a second: a few numbers of them, tried in interleaved rounds."""

from collections.abc import Sequence

import numpy as np

from cxr_core.bench.loop import turn_on_streams
from cxr_core.bench.ratio import OverRounds, over_rounds
from cxr_core.config import BenchmarkConfig
from cxr_core.engines.contract import CpuExecution, Images, Stream, Streaming
from cxr_core.errors import MachineError
from cxr_core.refs import Frozen

_ROUNDS = 4


class StreamTrial(Frozen):
    """So many streams. ``images_per_second`` is None where the runner refused them, and ``refused`` is why."""

    streams: int
    images_per_second: OverRounds | None
    refused: str = ""


class TunedStreams(Frozen):
    """Every trial, and the number of ``streams`` with the highest rate among them."""

    streams: int
    trials: tuple[StreamTrial, ...]


def tuned_streams(runner: Streaming, inputs: Sequence[Images], config: BenchmarkConfig) -> TunedStreams:
    """Powers of two up to the runner's most, and that itself; each is measured once a round, in an order drawn anew.

    The first number that is refused ends the row. Answers are not looked at: those of the number chosen are, later.

    Raises:
        MachineError: not even one stream can be had.
    """
    opened: dict[int, Sequence[Stream]] = {}
    refused: list[StreamTrial] = []
    for count in stream_counts(runner.most_streams):
        try:
            opened[count] = runner.streams(count)
        except MachineError as error:
            if not opened:
                raise
            refused.append(StreamTrial(streams=count, images_per_second=None, refused=str(error)))
            break
    copied = transfers(runner, config)
    rates: dict[int, list[float]] = {count: [] for count in opened}
    random = np.random.default_rng(config.seed)
    for _ in range(_ROUNDS):
        for count in random.permutation(list(opened)).tolist():
            rates[count].append(_rate(opened[count], inputs, config.round_seconds / 2, copied))
    over = {count: over_rounds(found, config.seed) for count, found in rates.items()}
    trials = [StreamTrial(streams=count, images_per_second=rate) for count, rate in over.items()]
    return TunedStreams(streams=max(over, key=lambda count: over[count].value), trials=(*trials, *refused))


def stream_counts(most: int) -> list[int]:
    """Powers of two up to ``most``, and that itself."""
    return sorted({2**power for power in range(most.bit_length())} | {most})


def transfers(runner: Streaming, config: BenchmarkConfig) -> bool:
    """Whether each query takes images of its own; on a processor, which copies nothing, it always does."""
    return config.transfers or isinstance(runner.execution, CpuExecution)


def _rate(streams: Sequence[Stream], inputs: Sequence[Images], seconds: float, copied: bool) -> float:
    """Images a second of one turn; a query goes first, untimed, on each stream."""
    fed = [inputs[place % len(inputs)] for place in range(len(streams))]
    turn_on_streams(streams, fed, 0.0, transfers=copied)
    return turn_on_streams(streams, fed, seconds, transfers=copied).images_per_second
