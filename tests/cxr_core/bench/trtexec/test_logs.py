"""Logs and exports are read as they are, written back whole, and refused where they are none."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_core.bench.trtexec.exports import (
    read_layers,
    read_profile,
    read_times,
    write_layers,
    write_profile,
    write_times,
)
from cxr_core.bench.trtexec.logs import LARGEST, Spread, TrtexecLog, parse_log, read_log, text_of_log
from cxr_core.errors import UsageError
from tests.cxr_core.bench.trtexec.conftest import Write, log_text

T4 = ("Tesla T4", "7.5", 40, 1.59)


@pytest.mark.parametrize(
    ("version", "said"), [(8201, "8.2.1"), (8601, "8.6.1"), (100200, "10.2.0"), (110100, "11.1.0")]
)
def test_a_log_is_read(version: int, said: str) -> None:
    log = parse_log(
        log_text(version=version, command='--onnx="a b.onnx" --fp16', device=T4, binding="8x1x224x224"), "x"
    )
    assert (log.version, log.command) == (said, ("trtexec", "--onnx=a b.onnx", "--fp16"))
    assert (log.option("fp16"), log.option("onnx"), log.option("int8")) == ("", "a b.onnx", None)
    assert log.device is not None and (log.device.multiprocessors, log.device.clock_ghz) == (40, 1.59)
    assert (log.throughput, log.walltime, log.compute_total) == (1000, 3, 2.94)
    assert (log.compute.median, log.compute.percentiles) == (0.98, {90: 0.9898, 95: 0.9898, 99: 0.9898})
    assert log.bindings == {"input": (8, 1, 224, 224)} and log.variation is None


@pytest.mark.parametrize("prefix", ["", "[07/24/2022-22:58:54] "])
def test_prefixes_colours_line_ends_and_encodings_do_not_matter(prefix: str, tmp_path: Path) -> None:
    text = log_text(prefix=prefix, variation=3.5)
    expected = parse_log(text, "x")
    assert expected.variation == 3.5
    spoilt = {
        "crlf": text.replace("\n", "\r\n").encode(),
        "utf16": text.encode("utf-16"),
        "bom": text.encode("utf-8-sig"),
        "colour": text.replace("[11/", "\x1b[32m[11/").replace(" s\n", " s\x1b[0m\x1b[K\n").encode(),
    }
    for name, data in spoilt.items():
        (tmp_path / name).write_bytes(data)
        assert read_log(tmp_path / name) == expected, name


@pytest.mark.parametrize(
    "command",
    [
        '--loadEngine="a b.engine"',
        r"--loadEngine=C:\nets\a.engine --shapes=x:4x3x8x8",
        r'--loadEngine="C:\my nets\a.engine"',
        "--loadEngine='odd",
        r"--loadEngine='C:\odd",
    ],
)
def test_a_command_line_comes_back(command: str) -> None:
    log = parse_log(log_text(command=command), "x")
    assert len(log.command) > 1 and parse_log(text_of_log(log), "x") == log


def test_a_windows_command_line_keeps_its_paths() -> None:
    log = parse_log(log_text(command=r"--loadEngine=C:\nets\a.engine --shapes=x:4x3x8x8"), "x")
    assert log.option("loadEngine") == r"C:\nets\a.engine"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: "", "no line '=== Performance summary ==='"),
        (lambda text: "Throughput: 5 FPS\nLatency: 3 ms\n", "no log of trtexec 8 to 11"),
        (lambda text: text[: text.index("=== Performance")], "was cut before its end"),
        (lambda text: text[: text.index("GPU Compute Time: min")], "lacks GPU Compute Time"),
        (lambda text: text[: text.index("Total Host")], "lacks Total Host Walltime, Total GPU Compute Time"),
        (lambda text: text + text, "several performance summaries"),
        (lambda text: text + text[: text.index("[11/27")], "starts of several runs"),
        (lambda text: text[: text.index("[11/27")] + text, "starts of several runs"),
        (lambda text: text + "trtexec --loadEngine=b.engine\n", "starts of several runs"),
        (lambda text: "trtexec --onnx=a.onnx\ntrtexec --onnx=b.onnx\n" + text, "starts of several runs"),
        (lambda text: text.replace(" qps", ""), "'1000' is no number in qps"),
        (
            lambda text: text[: text.index("&&&& PASSED")].replace("Compute Time: 2.94 s", "Compute Time: 2."),
            "no number in s",
        ),
        (
            lambda text: text.replace(
                "&&&& RUNNING",
                "[I] Selected Device: A\n[I] Compute Capability: 8.0\n[I] Compute Clock Rate: 1,41 GHz\n&&&& RUNNING",
            ),
            "decimal comma",
        ),
        (lambda text: text.replace("median = 0.98 ms", "median = -nan(ind) ms"), "'-nan(ind)' is no number"),
        (lambda text: text.replace("percentile(99%) = 0.9898 ms", "percentile(99%) = inf ms"), "holds inf"),
        (lambda text: text.replace("min = 0.9702 ms", "min = 0,9702 ms"), "decimal comma"),
        (lambda text: text.replace("Throughput: 1000", "Throughput: 1.000,5"), "decimal comma"),
        (lambda text: text.replace("Throughput: 1000", "Throughput: nan"), "holds nan"),
        (lambda text: text.replace("Throughput: 1000", "Throughput: inf"), "holds inf"),
        (lambda text: text.replace("Throughput: 1000", "Throughput: 0"), "throughput cannot be 0.0"),
        (lambda text: text.replace("Compute Time: 2.94 s", "Compute Time: 1e308 s"), "holds 1e308"),
        (lambda text: text.replace("mean = 0.98 ms", "mean = 1e-320 ms"), "holds 1e-320"),
        (lambda text: text.replace("percentile(99%)", "percentile(150%)"), "cannot be 150.0"),
        (lambda text: _on("A", "seven", "40") + text, "capability cannot be 'seven'"),
        (lambda text: _on("A", "8.0", "-40") + text, "multiprocessors cannot be '-40'"),
        (lambda text: _on("A", "8.0", "1" * 400) + text, "multiprocessors cannot be '11"),
        (lambda text: text.replace("Walltime: 3 s", "Walltime: -3 s"), "walltime cannot be -3.0"),
        (lambda text: text.replace("Walltime: 3 s", "Walltime: 3 h"), "'3 h' is no number"),
        (lambda text: text.replace("median = 0.98 ms", "median = ?? ms"), "'??' is no number"),
        (lambda text: text.replace("RUNNING", "FAILED"), "FAILED"),
    ],
)
def test_what_is_no_whole_log_is_refused(spoil, said: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)some\.log.*{''.join(map(_escaped, said))}"):
        parse_log(spoil(log_text()), "some.log")


def _on(name: str, capability: str, multiprocessors: str) -> str:
    return f"[I] Selected Device: {name}\n[I] Compute Capability: {capability}\n[I] SMs: {multiprocessors}\n"


def test_numbers_too_long_to_be_any_are_not_taken() -> None:
    text = log_text().replace("[TensorRT v101200]", f"[TensorRT v{'1' * 5000}]")
    text += f"[I] Timing trace has {'9' * 5000} queries over 3 s\n"
    text += f"[I] Input binding for x with dimensions {'9' * 5000}x3 is created.\n"
    log = parse_log(text, "x")
    assert (log.version, log.trace_queries, log.bindings) == (None, None, {})


def _escaped(letter: str) -> str:
    return f"\\{letter}" if letter in "?.()[]+*" else letter


def test_a_file_that_cannot_be_read_or_is_too_large_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.log cannot be read \(No such file"):
        read_log(tmp_path / "none.log")
    with pytest.raises(UsageError, match="cannot be read"):
        read_log(tmp_path)
    with pytest.raises(UsageError, match=r"zero cannot be read \(it is no file"):
        read_log(Path("/dev/zero"))
    with (tmp_path / "large.log").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(UsageError, match=r"large\.log holds more than"):
        read_log(tmp_path / "large.log")


_FIGURE = st.floats(min_value=1e-6, max_value=1e7)
_SPREAD = st.builds(
    Spread, min=_FIGURE, max=_FIGURE, mean=_FIGURE, median=_FIGURE,
    percentiles=st.dictionaries(st.sampled_from([90.0, 95.0, 99.0, 99.9]), _FIGURE, min_size=1),
)  # fmt: skip
_LOG = st.builds(
    TrtexecLog,
    version=st.sampled_from(["8.2.1", "10.12.0", None]),
    command=st.sampled_from([(), ("trtexec", "--batch=8", "--loadEngine=a b.engine")]),
    bindings=st.dictionaries(st.sampled_from(["input", "x:0"]), st.just((4, 3, 8, 8)), max_size=1),
    trace_queries=st.none(),
    throughput=_FIGURE, latency=_SPREAD, end_to_end=st.none() | _SPREAD, enqueue=st.none() | _SPREAD,
    h2d=st.none() | _SPREAD, compute=_SPREAD, d2h=st.none() | _SPREAD, walltime=_FIGURE, compute_total=_FIGURE,
    variation=st.none() | _FIGURE,
)  # fmt: skip


@given(_LOG)
def test_what_is_written_reads_back_equal(log: TrtexecLog) -> None:
    assert parse_log(text_of_log(log), "x") == log


def test_a_log_cut_anywhere_is_refused_or_says_the_same() -> None:
    text = log_text(variation=3.5, device=T4)
    whole = parse_log(text, "x")
    for cut in range(len(text)):
        try:
            found = parse_log(text[:cut], "x")
        except UsageError as error:
            assert "x" in str(error)
        else:
            assert found in (whole, whole.model_copy(update={"variation": None})), text[:cut][-80:]


@given(st.text(max_size=300) | st.integers(0, 1500).flatmap(lambda cut: st.just(log_text()[:cut])))
def test_any_text_is_a_log_or_refused(text: str) -> None:
    try:
        assert parse_log(text, "x").throughput > 0
    except UsageError as error:
        assert "x" in str(error)


def test_a_device_and_a_trace_are_written_too() -> None:
    log = parse_log(log_text(device=T4) + "[I] Timing trace has 3000 queries over 3.0 s\n", "x")
    assert log.trace_queries == 3000 and parse_log(text_of_log(log), "x") == log


TIMES = [
    {"startEnqMs": 0, "endEnqMs": 0.1, "startH2dMs": 0, "endH2dMs": 0.2, "startComputeMs": 0.2, "endComputeMs": 1.5,
     "startD2hMs": 1.5, "endD2hMs": 1.6, "h2dMs": 0.2, "computeMs": 1.3, "d2hMs": 0.1, "latencyMs": 1.6},
    {"startComputeMs": 2, "endComputeMs": 3, "computeMs": 1, "latencyMs": 1.0, "endToEndMs": 1.4},
]  # fmt: skip
PROFILE = [
    {"count": 200},
    {"name": "Conv + \u00b5", "timeMs": 12.5, "averageMs": 0.0625, "medianMs": 0.06, "percentage": 75},
    {"name": "Reformat", "timeMs": 4.1, "averageMs": 0.02, "percentage": 25.0},
]
LAYERS = {"Layers": [{"Name": "conv", "LayerType": "CaskConvolution", "Inputs": []}, "plain"], "Bindings": ["input"]}


@pytest.mark.parametrize(
    ("read", "write", "rows"),
    [(read_times, write_times, TIMES), (read_profile, write_profile, PROFILE), (read_layers, write_layers, LAYERS)],
)
def test_exports_are_written_back_whole(read, write, rows, tmp_path: Path) -> None:
    source, copy = tmp_path / "source.json", tmp_path / "copy.json"
    source.write_text(json.dumps(rows))
    write(copy, read(source))
    assert json.loads(copy.read_text()) == rows


@pytest.mark.parametrize("read", [read_times, read_profile, read_layers])
@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "[1]", '[{"count": 1}, {"name": 3}]', '[{"latencyMs": NaN}]', "[" * 100_000, '{"Layers": 1}',
     '[{"startComputeMs": 0, "endComputeMs": 1, "computeMs": -1, "latencyMs": 1}]', "\udcff"],
)  # fmt: skip
def test_other_files_are_refused_by_name(read, text: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=r"file\.json"):
        read(tmp_path / "file.json")


def test_the_source_experiments_own_logs_come_back(write: Write) -> None:
    folder = Path(__file__).parents[5] / "shared" / "data" / "seed"
    if not folder.is_dir():
        pytest.skip("the source experiment's logs are not at ../shared/data/seed")
    for path in sorted(folder.glob("trtexec_*.log")):
        log = read_log(path)
        assert parse_log(text_of_log(log), "x") == log
        lines = [re.sub(r"^\[\S+\] (?=\[)", "", line) for line in path.read_text().splitlines() if line.strip()]
        assert text_of_log(log).splitlines() == lines
