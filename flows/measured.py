"""What ``cxr bench`` measured, for a person: each figure with its unit, its count and its interval."""

from typing import Any

from rich.table import Table

from cxr_core.bench.ab import AbResult
from cxr_core.bench.load import LoadResult, per_second
from cxr_core.bench.ratio import OverRounds
from cxr_core.bench.subject import Subject
from cxr_core.bench.summary import LatencySummary
from cxr_core.bench.sweep import SweepResult
from flows.showing import output


def print_benchmark(measured: dict[str, Any]) -> None:
    """The whole document."""
    output.print_json(data=measured)


def print_load(found: LoadResult) -> None:
    """Latency and service time side by side, then whether the engine keeps up."""
    load = found.load
    _line(
        f"{_of(found.engine)}\n{load.arrivals:,} queries of one image in {load.seconds:g} s (Poisson, seed "
        f"{load.seed}): {per_second(load.arrived_per_second)} arrived a second, "
        f"{per_second(load.served_per_second)} were served"
    )
    table = _table("ms", "median", "p90", "p95", "p99", "max", "mean", "queries")
    for name, one in (("from falling due", load.latency), ("of the engine's call", load.service)):
        table.add_row(name, *_percentiles(one), _ms(one.max_ms), _ms(one.mean_ms), f"{one.count:,}")
    output.print(table)
    if load.unserved:
        _line("What was given up counts with the time that it had waited: these latencies are lower bounds.")
    expected = (
        "" if load.expected_mean_ms is None else f"; by queueing theory {_ms(load.expected_mean_ms)} ms on average"
    )
    _line(f"queue: {load.queue.mean:,.1f} on average, {load.queue.most:,} at most{expected}")
    _end(load.says, found.reason)


def print_sweep(found: SweepResult) -> None:
    """A line a batch, then the knee."""
    _line(_of(found.engine))
    table = _table("batch", "images/s [95 %]", "median ms", "p90", "p95", "p99", "ms an image", "queries")
    for one in found.batches:
        image = _ms(one.latency.median_ms / one.batch)
        table.add_row(
            f"{one.batch}{' <' if one.batch == found.knee.batch else ''}",
            _interval(one.images_per_second),
            *_percentiles(one.latency),
            image,
            f"{one.latency.count:,}",
        )
    output.print(table)
    _end(f"{found.knee.says}; {found.rounds} rounds", found.reason)


def print_ab(found: AbResult) -> None:
    """Both engines, the ratios, the machine's drift and the verdict."""
    _line(f"A: {_of(found.a.engine)}\nB: {_of(found.b.engine)}")
    table = _table("", "A", "B", "speed of A / B [95 %]", "A is")
    rates = [one.throughput.images_per_second for one in (found.a, found.b)]
    medians = [one.latency.median_ms for one in (found.a, found.b)]
    table.add_row(
        f"images/s, batch {found.a.throughput.batch}",
        *(f"{rate:,.0f}" for rate in rates),
        _interval(found.throughput.ratio, "x"),
        found.throughput.verdict,
    )
    table.add_row("median ms, batch 1", *map(_ms, medians), _interval(found.latency.ratio, "x"), found.latency.verdict)
    output.print(table)
    if found.drift:
        drift = found.drift
        _line(
            f"drift of the machine over {found.ended.rounds} rounds: {100 * drift.value:+.1f} % "
            f"[{100 * drift.low:+.1f}, {100 * drift.high:+.1f}]; rounds go A B, B A, so that it falls on both"
        )
    same = found.a.engine.engine_digest == found.b.engine.engine_digest
    told = "A and B are the same engine: the intervals show what this machine can tell apart"
    _end(told if same else f"A is {found.verdict}" if found.verdict != "inconclusive" else "inconclusive", found.reason)


def _of(one: Subject) -> str:
    fake = "FAKE, a test double: " if one.fake else ""
    return f"{fake}{one.precision}@{one.backend} {one.engine_digest[:19]} on {one.device}"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold underline", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _percentiles(one: LatencySummary) -> list[str]:
    """Median, p90, p95, p99; blank where the count does not carry one."""
    values = (one.median_ms, one.p90_ms, one.p95_ms, one.p99_ms)
    return ["" if value is None else _ms(value) for value in values]


def _ms(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _interval(one: OverRounds, unit: str = "") -> str:
    figures = [f"{value:.3f}" if unit else f"{value:,.0f}" for value in (one.value, one.low, one.high)]
    return f"{figures[0]}{unit} [{figures[1]}, {figures[2]}]"


def _end(says: str, reason: str) -> None:
    _line(says)
    if reason:
        _line(f"doubtful: {reason}")


def _line(text: str) -> None:
    output.print(text, markup=False, highlight=False, soft_wrap=True)
