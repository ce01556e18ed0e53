"""One log beside what is known of it: which precision, how many images, how many queries."""

import re
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from cxr_core.bench.summary import latency_summary
from cxr_core.bench.trtexec.context import KnownLog
from cxr_core.bench.trtexec.exports import Query, latencies
from cxr_core.bench.trtexec.logs import TrtexecLog
from cxr_core.refs import Frozen, Precision

# trtexec prints six significant digits; a quotient of two such numbers is off by at most this share.
PRINTED = 1.5e-5


class Measured(Frozen):
    """A log with its precision ("unknown" where nothing says it) and its engine's size in bytes."""

    name: str
    precision: Precision | None
    log: TrtexecLog
    engine_bytes: int | None = None
    times: tuple[Query, ...] = ()

    @property
    def label(self) -> str:
        """The precision, or that it is not known."""
        return self.precision.value if self.precision else "unknown"

    @property
    def queries(self) -> int:
        """How many queries were timed.

        By the exported times; else the total of GPU compute over its mean, which no option multiplies; else, where six
        digits do not carry that many, the count printed; else throughput x walltime.
        """
        if self.times:
            return len(self.times)
        log = self.log
        if log.compute.mean > 0:
            count = log.compute_total * 1000 / log.compute.mean
            if count * PRINTED < 0.4:
                return max(1, round(count))
        return log.trace_queries or max(1, round(log.throughput * log.walltime))

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
        return int(value) if value and value.isdigit() else None

    @property
    def multiplied(self) -> bool:
        """Whether the printed throughput counts ``--batch`` images a query."""
        batch = self.batch_option
        if not batch or batch == 1:
            return False
        return abs(self.counted_per_query / batch - 1) < 1e-3

    @property
    def counted_per_query(self) -> float:
        """What the printed throughput counts for one query: 1, or what it was multiplied by."""
        return self.log.throughput * self.log.walltime / self.queries

    @property
    def images_per_query(self) -> int:
        """First dimension of the bound input; else of ``--shapes`` or ``--optShapes``; else 1."""
        for shape in self.log.bindings.values():
            return shape[0] if shape else 1
        for option in ("shapes", "optShapes"):
            if found := re.search(r":(\d+)(?:x\d+)*", self.log.option(option) or ""):
                return int(found[1])
        return 1

    @property
    def images_per_second(self) -> float:
        """What the log claims: its throughput, times the images of a query where that is not in it already."""
        return self.log.throughput * (1 if self.multiplied else self.images_per_query)

    def percentiles(self) -> Sequence[float]:
        """The percents for which the log prints a percentile."""
        return tuple(self.log.compute.percentiles)


def precision_of(log: TrtexecLog, name: str) -> Precision | None:
    """Read off the engine's file name, the log's own name, or the build options; None where a plan was only loaded.

    Without any option that lowers it, a build is FP32 in people's words.
    """
    for text in (PurePath(path or "").name for path in (log.option("loadEngine"), log.option("onnx"), name)):
        found = re.findall(rf"(?<![a-z0-9])({'|'.join(Precision)})(?![a-z0-9])", text.lower().replace("_", "-"))
        if found:
            return Precision(found[-1])
    for kind in (Precision.INT8, Precision.FP8, Precision.FP16, Precision.BF16):
        if log.option(kind.value) is not None:
            return kind
    if log.option("best") is not None:
        return Precision.INT8
    return Precision.FP32 if log.option("onnx") is not None else None


def measured(log: TrtexecLog, name: str, known: KnownLog | None, times: tuple[Query, ...] = ()) -> Measured:
    """A log with what the context says of it."""
    return Measured(
        name=name,
        precision=known.precision if known else precision_of(log, name),
        log=log,
        engine_bytes=known.engine_bytes if known else None,
        times=times,
    )


def median_latency(one: Measured) -> float:
    """Median latency in ms: of the exported times, else as printed."""
    return float(np.median(latencies(one.times))) if one.times else one.log.latency.median
