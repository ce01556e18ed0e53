"""A log of trtexec 8 to 11 as a value, and back. Numbers are taken as printed; nothing is computed here.

The lines and their changes over the versions: NVIDIA/TensorRT, samples/common/sampleReporting.cpp,
sampleDevice.cpp and sampleInference.cpp at the tags 8.2.1, v8.6.1, v10.0 and v11.1.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from cxr_core.bench.trtexec.files import read_file
from cxr_core.errors import UsageError
from cxr_core.refs import Frozen

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]

LARGEST = 1 << 28
"""Bytes of the largest log that is read; a verbose build writes some tens of millions."""

# Of a figure that is not 0: far beyond any clock and card, and far from where arithmetic overflows.
_LEAST, _MOST = 1e-9, 1e12

_SPREADS = {
    "Latency": "latency",
    "End-to-End Host Latency": "end_to_end",
    "Enqueue Time": "enqueue",
    "H2D Latency": "h2d",
    "GPU Compute Time": "compute",
    "D2H Latency": "d2h",
}
_SECONDS = {"Total Host Walltime": "walltime", "Total GPU Compute Time": "compute_total"}

_LINE = re.compile(r"(?:\[(?P<time>\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d)\] )?(?:\[(?P<severity>[FEWIV])\] ?)?(?P<body>.*)")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NUMBER = r"[-+]?(?:[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?|nan|inf)"
_METRIC = re.compile(rf"({'|'.join(map(re.escape, ('Throughput', *_SPREADS, *_SECONDS)))}): (.*\S)\s*")
_STATISTIC = re.compile(rf"(min|max|mean|median|percentile\(({_NUMBER})%\)) = (\S+) ms(?:, |$)")
_VARIATION = re.compile(r"\* GPU compute time is unstable, with coefficient of variance = (\S+)%\.")
_HINT = "If not already in use, locking GPU clock frequency or adding --useSpinWait may improve the stability."
_BANNER = re.compile(r"&&&& (RUNNING|PASSED|FAILED) TensorRT\.trtexec \[TensorRT v(\d{1,9})\](?: \[b\d+\])? # (.*)")
_OPTION = re.compile(r""" ['"]?--""")
_BINDING = re.compile(r"Input binding for (\S+) with dimensions ([0-9]{1,9}(?:x[0-9]{1,9})*) is created\.")
_TRACE = re.compile(rf"Timing trace has (\d{{1,12}}) queries over ({_NUMBER}) s")
_DEVICE = {
    "Selected Device": "name",
    "Compute Capability": "capability",
    "SMs": "multiprocessors",
    "Compute Clock Rate": "clock_ghz",
    "Application Compute Clock Rate": "clock_ghz",
}


class Spread(Frozen):
    """Milliseconds over all queries. ``percentiles`` by percent, as printed: 99 alone before 8.5, then 90, 95, 99."""

    min: Share
    max: Share
    mean: Share
    median: Share
    percentiles: dict[Percent, Share]


class Device(Frozen):
    """The card that trtexec says it ran on."""

    name: str
    capability: Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")]
    multiprocessors: Annotated[int, Field(gt=0, le=10_000)] | None = None
    clock_ghz: Positive | None = None


class TrtexecLog(Frozen):
    """What a log states of one measurement.

    ``throughput`` is in queries/s as printed, which before version 10 is multiplied by ``--batch``. ``walltime`` and
    ``compute_total`` are in seconds, ``variation`` is the coefficient of variation of GPU compute time in percent,
    printed above a limit only. ``bindings`` are input shapes as bound, ``trace_queries`` the count as printed.
    """

    version: str | None = None
    command: tuple[str, ...] = ()
    device: Device | None = None
    bindings: Mapping[str, tuple[int, ...]] = Field(default_factory=dict)
    trace_queries: Annotated[int, Field(gt=0)] | None = None
    throughput: Positive
    latency: Spread
    end_to_end: Spread | None = None
    enqueue: Spread | None = None
    h2d: Spread | None = None
    compute: Spread
    d2h: Spread | None = None
    walltime: Positive
    compute_total: Positive
    variation: Share | None = None

    def option(self, name: str) -> str | None:
        """The value of ``--name=value`` on the command line, "" for a bare flag, None where it is not given."""
        for word in self.command:
            flag, _, value = word.partition("=")
            if flag == f"--{name}":
                return value
        return None


def read_log(path: Path) -> TrtexecLog:
    """The measurement in a log file: UTF-8, or UTF-16 as a redirection by PowerShell leaves it.

    Raises:
        UsageError: no log of trtexec 8 to 11, cut short, of several runs, or with a number that is none.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path} holds more than {LARGEST:,} bytes; cut it down to its performance summary")
        data = read_file(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); name a log file of trtexec") from error
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return parse_log(data.decode("utf-16" if wide else "utf-8-sig", errors="replace"), str(path))


def parse_log(text: str, name: str) -> TrtexecLog:
    """The measurement in a log's text. ``name`` is for messages. Raises as ``read_log``."""
    found: dict[str, object] = {}
    device: dict[str, object] = {}
    bindings: dict[str, tuple[int, ...]] = {}
    summaries = 0
    started: set[str] = set()  # run by a banner of its own, or by a shell's echo of its command
    for body in _bodies(text):
        banner = _BANNER.fullmatch(body)
        typed = "trtexec" in body.split(" ", 1)[0] and _OPTION.search(body) is not None
        if body.startswith("=== Performance summary ==="):
            summaries += 1
            if summaries > 1:
                raise _several(name)
        elif typed or (banner and banner[1] == "RUNNING"):
            way = "typed" if typed else "banner"
            if summaries or way in started:
                raise _several(name)
            started.add(way)
            if banner:
                found.update(version=_version(banner[2]), command=_words(banner[3]))
            else:
                found.setdefault("command", _words(body))
        elif metric := _METRIC.fullmatch(body):
            if summaries:
                found.update(_metric(metric[1], metric[2], name))
        elif banner:
            if banner[1] == "FAILED":
                raise UsageError(f"{name}: trtexec says that this run FAILED; measure again")
            found.update(version=_version(banner[2]), command=_words(banner[3]))
        elif body.startswith("TensorRT version: "):
            found["version"] = body.removeprefix("TensorRT version: ").strip()
        elif variation := _VARIATION.fullmatch(body.strip()):
            found["variation"] = _number(variation[1], name, body)
        elif binding := _BINDING.fullmatch(body.strip()):
            bindings[binding[1]] = tuple(map(int, binding[2].split("x")))
        elif trace := _TRACE.fullmatch(body.strip()):
            found["trace_queries"] = int(trace[1])
        else:
            label, colon, value = body.partition(": ")
            if colon and label in _DEVICE:
                clock = value.endswith(" GHz")
                device[_DEVICE[label]] = _in_unit(value, " GHz", name) if clock else value.strip()
    if not summaries:
        raise UsageError(
            f"{name} holds no line '=== Performance summary ===': it is no log of trtexec 8 to 11, or was cut before "
            "its end; write one with `trtexec ... > LOG 2>&1`"
        )
    return _log(found, device, bindings, name)


def _several(name: str) -> UsageError:
    return UsageError(
        f"{name} holds several performance summaries, or starts of several runs; give each run a file of its own"
    )


def _log(
    found: dict[str, object], device: dict[str, object], bindings: dict[str, tuple[int, ...]], name: str
) -> TrtexecLog:
    needed = {"throughput": "Throughput", **{field: label for label, field in {**_SPREADS, **_SECONDS}.items()}}
    required = [field for field, known in TrtexecLog.model_fields.items() if known.is_required()]
    absent = [needed[field] for field in required if field not in found]
    if absent:
        raise UsageError(f"{name} is cut short: its summary lacks {', '.join(absent)}; copy the whole log")
    try:
        known = Device.model_validate(device) if {"name", "capability"} <= device.keys() else None
        return TrtexecLog.model_validate({**found, "device": known, "bindings": bindings})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{name}: {place} cannot be {first['input']!r} ({first['msg']}); such a run measured nothing"
        ) from error


def _bodies(text: str) -> Iterator[str]:
    """Lines without their prefix. Verbose lines are left out: explanations there begin with the metrics' own names."""
    for line in text.splitlines():
        match = _LINE.fullmatch(_COLOUR.sub("", line).rstrip())
        if match is not None and match["severity"] != "V":
            yield match["body"]


def _metric(label: str, rest: str, name: str) -> dict[str, object]:
    if label == "Throughput":
        return {"throughput": _in_unit(rest, " qps", name)}
    if label in _SECONDS:
        return {_SECONDS[label]: _in_unit(rest, " s", name)}
    values: dict[str, float] = {}
    percentiles: dict[float, float] = {}
    for statistic, percent, value in _STATISTIC.findall(rest):
        number = _number(value, name, rest)
        if percent:
            percentiles[float(percent)] = number
        else:
            values[statistic] = number
    return {_SPREADS[label]: {**values, "percentiles": percentiles}} if values else {}


def _in_unit(text: str, unit: str, name: str) -> float:
    # A line cut within its number still holds one: only its unit shows that it is whole.
    if not text.endswith(unit):
        raise UsageError(f"{name}: {text!r} is no number in{unit}; copy the whole log")
    return _number(text.removesuffix(unit), name, text)


def _number(text: str, name: str, line: str) -> float:
    if re.fullmatch(r"[0-9.]*,[0-9.,]*", text):
        raise UsageError(f"{name}: {text!r} is written with a decimal comma; run trtexec with LC_ALL=C")
    if not re.fullmatch(_NUMBER, text):
        raise UsageError(f"{name}: {text!r} is no number, in {line!r}; copy the log again")
    number = float(text)
    if not (number == 0 or _LEAST <= abs(number) <= _MOST):  # so that NaN does not pass
        raise UsageError(f"{name}: {line!r} holds {text}; such a run measured nothing: run trtexec again")
    return number


def _version(digits: str) -> str:
    # 8401 is 8.4.1; from version 10 on, 100200 is 10.2.0.
    number = int(digits)
    unit = 10_000 if number >= 100_000 else 1_000
    return f"{number // unit}.{number % unit // 100}.{number % 100}"


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command, posix="\\" not in command))
    except ValueError:  # an odd quote
        return tuple(command.split())


def _joined(words: tuple[str, ...]) -> str:
    # Where there are backslashes, as in Windows' paths, ``_words`` leaves quotes as they are.
    return " ".join(words) if any("\\" in word for word in words) else shlex.join(words)


def text_of_log(log: TrtexecLog) -> str:
    """The log as trtexec prints it, as far as the value goes: ``parse_log`` of it is equal to ``log``.

    Of a log that was read, every line with a figure of the summary comes back in the same words, less its time stamp;
    what the build and the trace said besides is not kept.
    """
    return "\n".join(_lines(log)) + "\n"


def _lines(log: TrtexecLog) -> Iterable[str]:
    if log.command:
        yield _joined(log.command)
    if log.device is not None:
        yield "[I] === Device Information ==="
        labels = {field: label for label, field in _DEVICE.items() if not label.startswith("Application")}
        for field, value in log.device.model_dump(exclude_none=True).items():
            yield f"[I] {labels[field]}: {_text(value)}{' GHz' if field == 'clock_ghz' else ''}"
    if log.version:
        yield f"[I] TensorRT version: {log.version}"
    for name, shape in log.bindings.items():
        yield f"[I] Input binding for {name} with dimensions {'x'.join(map(str, shape))} is created."
    if log.trace_queries:
        yield f"[I] Timing trace has {log.trace_queries} queries over {_text(log.walltime)} s"
    yield "[I] === Performance summary ==="
    yield f"[I] Throughput: {_text(log.throughput)} qps"
    for label, field in _SPREADS.items():
        spread: Spread | None = getattr(log, field)
        if spread is not None:
            yield f"[I] {label}: {_spread(spread)}"
    for label, field in _SECONDS.items():
        yield f"[I] {label}: {_text(getattr(log, field))} s"
    if log.variation is not None:
        yield f"[W] * GPU compute time is unstable, with coefficient of variance = {_text(log.variation)}%."
        yield f"[W]   {_HINT}"
    yield "[I] Explanations of the performance metrics are printed in the verbose logs."


def _spread(spread: Spread) -> str:
    values = {name: getattr(spread, name) for name in ("min", "max", "mean", "median")}
    values |= {f"percentile({_text(percent)}%)": value for percent, value in spread.percentiles.items()}
    return ", ".join(f"{name} = {_text(value)} ms" for name, value in values.items())


def _text(value: object) -> str:
    # Six digits, as C++ streams print; more where the value has more, so that nothing is lost.
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
