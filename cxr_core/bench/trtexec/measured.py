"""One log beside what is known of it: which precision, how many images, how many queries."""

import re
from collections.abc import Sequence
from math import prod
from pathlib import PurePath

import numpy as np

from cxr_core.bench.summary import latency_summary
from cxr_core.bench.trtexec.context import KnownLog
from cxr_core.bench.trtexec.exports import Query, latencies
from cxr_core.bench.trtexec.logs import TrtexecLog
from cxr_core.engines.contract import Effective
from cxr_core.errors import UsageError
from cxr_core.refs import Frozen, Precision

# trtexec prints six significant digits; a quotient of two such numbers is off by at most this share.
PRINTED = 1.5e-5
# Throughput, walltime and two more such numbers, and what people rounded: a batch differs by far more.
EXACT = 1e-3

# Options that name what is built from, and those that lower a build, widest effect first.
_SOURCES = ("onnx", "deploy", "uff")
_LOWERING = {
    "int8": Precision.INT8,
    "best": Precision.INT8,
    "fp8": Precision.FP8,
    "fp16": Precision.FP16,
    "bf16": Precision.BF16,
}
# Exported times and their log are of one run where their mean GPU compute and their counts differ by less.
_SAME_RUN = 0.01

_SHAPE = re.compile(r":([0-9]{1,9}(?:x[0-9]{1,9})*)(?![0-9x])")


class Measured(Frozen):
    """A log with its precision ("unknown" where nothing says it), its engine's size in bytes, and what really ran."""

    name: str
    precision: Precision | None
    log: TrtexecLog
    engine_bytes: int | None = None
    times: tuple[Query, ...] = ()
    effective: Effective | None = None

    @property
    def label(self) -> str:
        """The precision, or that it is not known."""
        return self.precision.value if self.precision else "unknown"

    @property
    def queries(self) -> int:
        """How many queries were timed.

        By the total of GPU compute over its mean, which no option multiplies; where six digits do not carry that many,
        the count of the exported times or the one printed, if it is near: 8.2 lists its warm-up among the times, and
        multiplies what it prints by ``--batch``.
        """
        log = self.log
        if log.compute.mean == 0:
            return len(self.times) or log.trace_queries or max(1, round(log.throughput * log.walltime))
        count = log.compute_total * 1000 / log.compute.mean
        near = (one for one in (len(self.times), log.trace_queries) if one and abs(one - count) <= count * PRINTED)
        return next(near, max(1, round(count)))

    @property
    def variation(self) -> float | None:
        """Coefficient of variation of GPU compute time in percent: of the exported times, else as printed."""
        if self.times:
            return latency_summary([query.computeMs for query in self.times], 1).cv
        return self.log.variation

    @property
    def batch_option(self) -> int | None:
        """``--batch`` of the command line."""
        value = self.log.option("batch")
        return int(value) if value and re.fullmatch(r"[0-9]{1,9}", value) else None

    @property
    def implicit_batch(self) -> bool:
        """Whether the network was of Caffe or UFF: then a query really is of ``--batch`` images.

        With ONNX trtexec refuses the option; a loaded engine ignores it where its batch is explicit (NVIDIA/TensorRT,
        samples/common/sampleOptions.cpp and sampleReporting.cpp, 8.2 to 8.6).
        """
        return any(self.log.option(name) is not None for name in ("deploy", "uff"))

    @property
    def multiplied(self) -> bool:
        """Whether the printed throughput counts ``--batch`` images a query."""
        batch = self.batch_option
        if not batch or batch == 1:
            return False
        return abs(self.counted_per_query / batch - 1) < EXACT

    @property
    def counted_per_query(self) -> float:
        """What the printed throughput counts for one query: 1, or what it was multiplied by."""
        return self.log.throughput * self.log.walltime / self.queries

    @property
    def images_per_query(self) -> int:
        """``--batch`` where it is implicit, else the first dimension as bound, of ``--shapes`` or ``--optShapes``.

        Of several inputs that with the most values: others are masks, lengths and the like.
        """
        if self.implicit_batch:
            return self.batch_option or 1
        stated = (_SHAPE.findall(self.log.option(option) or "") for option in ("shapes", "optShapes"))
        asked = ([tuple(map(int, shape.split("x"))) for shape in shapes] for shapes in stated)
        shapes = next(filter(None, (list(self.log.bindings.values()), *asked)), [(1,)])
        return max(shapes, key=prod)[0]

    @property
    def images_per_second(self) -> float:
        """What the log claims: its throughput, times the images of a query where that is not in it already."""
        return self.log.throughput * (1 if self.multiplied else self.images_per_query)

    @property
    def answered_per_second(self) -> float:
        """Images that were answered: queries, times the images of each, over the walltime."""
        return self.queries * self.images_per_query / self.log.walltime

    def percentiles(self) -> Sequence[float]:
        """The percents for which the log prints a percentile; to trtexec 0 and 100 are the least and the largest."""
        return tuple(percent for percent in self.log.compute.percentiles if 0 < percent < 100)


def precision_of(log: TrtexecLog, name: str) -> Precision | None:
    """Read off the name of an engine that was only loaded, the build options, or the names of files built from and to.

    Without any option or name that lowers it, a build is FP32 in people's words, unless it takes its precisions from
    the network: with ``--stronglyTyped``, and always from version 11 on. None where nothing tells.
    """
    if (loaded := log.option("loadEngine")) and (found := _named(loaded)):
        return found  # nothing is built: what the options say is not so
    for option, kind in _LOWERING.items():
        if log.option(option) is not None:
            return kind
    names = (log.option("saveEngine"), *(log.option(source) for source in _SOURCES), name)
    told = next(filter(None, map(_named, filter(None, names))), None)
    built = any(log.option(source) is not None for source in _SOURCES)
    return told or (Precision.FP32 if built and not _strongly_typed(log) else None)


def _strongly_typed(log: TrtexecLog) -> bool:
    return log.option("stronglyTyped") is not None or re.match(r"1[1-9]\.", log.version or "") is not None


def _named(path: str) -> Precision | None:
    text = PurePath(path.replace("\\", "/")).name.lower().replace("_", "-")
    found = re.findall(rf"(?<![a-z0-9])({'|'.join(Precision)})(?![a-z0-9])", text)
    return Precision(found[-1]) if found else None


def measured(log: TrtexecLog, name: str, known: KnownLog | None, times: tuple[Query, ...] = ()) -> Measured:
    """A log with what the context says of it; of its exported times those after the warm-up.

    Raises:
        UsageError: the times are of another run.
    """
    one = Measured(
        name=name,
        precision=known.precision if known else precision_of(log, name),
        log=log,
        engine_bytes=known.engine_bytes if known else None,
        times=times,
    )
    return one.model_copy(update={"times": _timed(one)}) if times else one


def _timed(one: Measured) -> tuple[Query, ...]:
    # The warm-up, which 8.2 exports too, comes first.
    kept = one.times[-one.queries :]
    mean, printed = float(np.mean([query.computeMs for query in kept])), one.log.compute.mean
    if len(kept) < one.queries * (1 - _SAME_RUN) or abs(mean - printed) > _SAME_RUN * printed:
        raise UsageError(
            f"{one.name} and its exported times are not of one run: {one.queries:,} queries of {printed:g} ms GPU "
            f"compute in the log, {len(kept):,} of {mean:g} ms in the times; mend `times` in the context"
        )
    return kept


def median_latency(one: Measured) -> float:
    """Median latency in ms: of the exported times, else as printed."""
    return float(np.median(latencies(one.times))) if one.times else one.log.latency.median
