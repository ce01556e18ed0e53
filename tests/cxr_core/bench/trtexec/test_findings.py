# ruff: noqa: E501 - tables of cases, one a line
"""The rules neither miss nor cry wolf: logs with one fault each, and the same logs without it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy.stats import chi2_contingency

from cxr_core.bench.trtexec.accuracy import Printed, read_accuracies, sample_size
from cxr_core.bench.trtexec.cards import CARDS, Card, card_named, card_of
from cxr_core.bench.trtexec.claims import two_proportions
from cxr_core.bench.trtexec.context import Context, read_context
from cxr_core.bench.trtexec.exports import read_layers, read_profile, read_times
from cxr_core.bench.trtexec.importing import Imported, import_logs
from cxr_core.bench.trtexec.logs import Device, read_log
from cxr_core.engines.capability import lacking
from cxr_core.errors import UsageError
from cxr_core.refs import Precision
from tests.cxr_core.bench.trtexec.conftest import Write

T4 = ("Tesla T4", "7.5", 40, 1.59)
A10 = ("NVIDIA A10", "8.6", 72, 1.695)
MODEL = {"gflop_per_image": 3.0, "parameters": 17_550_000}


def found_in(result: Imported) -> set[tuple[str, str]]:
    return {(finding.rule, finding.precision) for finding in result.findings}


class Desk:
    """Writes logs and a context beside each other and imports them."""

    def __init__(self, folder: Path, write: Write) -> None:
        self.folder, self.write = folder, write

    def __call__(self, logs: dict[str, dict[str, Any]], accuracy: str | None = None, **context: Any) -> Imported:
        listed = []
        for precision, figures in logs.items():
            size = figures.pop("engine_bytes", None)
            self.write(f"{precision}.log", **figures)
            listed.append({"precision": precision, "log": f"{precision}.log", "engine_bytes": size})
        if accuracy is not None:
            (self.folder / "accuracy.log").write_text(accuracy)
            context["accuracy_log"] = "accuracy.log"
        file = self.folder / "context.yaml"
        file.write_text(yaml.safe_dump({"logs": listed, **context}))
        return import_logs([], file)


@pytest.fixture
def desk(tmp_path: Path, write: Write) -> Desk:
    return Desk(tmp_path, write)


SOUND = {
    "fp32": {"engine_bytes": 71_000_000}, "tf32": {"engine_bytes": 71_000_000},
    "fp16": {"engine_bytes": 36_000_000}, "int8": {"engine_bytes": 19_000_000},
}  # fmt: skip


def sound() -> dict[str, dict[str, Any]]:
    return {precision: dict(figures) for precision, figures in SOUND.items()}


def test_a_sound_set_of_logs_raises_nothing(desk: Desk) -> None:
    result = desk(
        sound(), "fp32: accuracy = 0.9215\nint8 accuracy = 0.9199\n", device="A100", dataset={"test": 624, "val": 16}, **MODEL,
        claims=[{"precision": "int8", "over": "fp32", "metric": "throughput", "percent": 50}],
    )  # fmt: skip
    assert result.findings == ()
    assert [row.images_per_second for row in result.rows] == [1000] * 4
    fp32 = result.rows[0]
    assert (fp32.images, fp32.accuracy) == (624, 575 / 624) and fp32.accuracy_interval is not None
    assert fp32.reason == "" and result.fastest is not None


# One figure of one log is changed; the rule must name exactly that precision.
FAULTY: list[tuple[str, str, str, dict[str, Any], dict[str, Any]]] = [
    ("batch 8 of an 8.2 log", "batch-multiplied", "fp16", {"command": "--loadEngine=a --batch=8", "times": 8, "version": 8201}, {}),
    ("batch 8192, 79 queries", "batch-multiplied", "fp16", {"command": "--batch=8192", "times": 8192, "queries": 79, "compute": 1314.55, "walltime": 14.2, "percents": ()}, {"gflop_per_image": None}),
    ("batch 2", "batch-multiplied", "fp16", {"command": "--batch=2", "times": 2}, {}),
    ("too fast for a T4", "above-roofline", "fp16", {"device": T4, "queries": 90_000, "compute": 0.03}, {}),
    ("a throughput of other queries", "throughput-contradicted", "fp16", {"times": 5}, {}),
    ("a multiplied batch without its command line", "throughput-contradicted", "fp16", {"command": "", "times": 8, "version": 8201}, {}),
    ("a throughput below the queries", "throughput-contradicted", "fp16", {"times": 0.5, "command": "--batch=8"}, {}),
    ("too fast with a batch behind a mask's", "above-roofline", "fp16", {"device": T4, "command": "--shapes=mask:1x5,input:64x1x224x224", "queries": 1500, "compute": 1.9}, {}),
    ("too fast for sparse tensor cores too", "above-roofline", "fp16", {"device": A10, "command": "--loadEngine=a --sparsity=force", "queries": 300_000, "compute": 0.009}, {}),
    ("a card without sparse tensor cores", "above-roofline", "fp16", {"device": T4, "command": "--loadEngine=a --sparsity=force", "queries": 90_000, "compute": 0.03}, {}),
    ("too fast with a bound batch", "above-roofline", "fp16", {"device": T4, "binding": "64x1x224x224", "queries": 1500, "compute": 1.9}, {}),
    ("too fast with a batch in --shapes", "above-roofline", "fp16", {"device": T4, "command": "--shapes=input:64x1x224x224", "queries": 1500, "compute": 1.9}, {}),
    ("an unknown card by its multiprocessors", "above-roofline", "fp32", {"device": ("Some Card", "7.5", 40, 1.59), "queries": 9000, "compute": 0.3, "engine_bytes": 71_000_000}, {}),
    ("fp32 beyond its cores, without TF32", "above-roofline", "fp32", {"device": A10, "command": "--loadEngine=a --noTF32", "queries": 45_000, "compute": 0.06, "engine_bytes": 71_000_000}, {}),
    ("an implicit batch too fast for a T4", "above-roofline", "fp16", {"device": T4, "command": "--deploy=a.prototxt --batch=64", "times": 64, "version": 8201, "queries": 1500, "compute": 1.9}, {}),
    ("more queries than six digits carry, printed times the batch", "batch-multiplied", "fp16", {"command": "--batch=8", "times": 8, "version": 8201, "queries": 33_333, "compute": 0.0873641, "trace": 8 * 33_333}, {}),
    ("fp16 with fp32 weights", "weights-not-lowered", "fp16", {"engine_bytes": 70_500_000}, {}),
    ("int8 with fp32 weights", "weights-not-lowered", "int8", {"engine_bytes": 71_000_000}, {}),
    ("bf16 with fp32 weights", "weights-not-lowered", "bf16", {"engine_bytes": 71_000_000}, {}),
    ("int8 on Pascal GP100", "precision-unsupported", "int8", {"device": ("Tesla P100-PCIE-16GB", "6.0", 56, 1.3285), "engine_bytes": 19_000_000}, {}),
    ("tf32 on Turing", "precision-unsupported", "tf32", {"device": T4, "engine_bytes": 71_000_000}, {}),
    ("bf16 on Turing", "precision-unsupported", "bf16", {"device": T4, "engine_bytes": 36_000_000}, {}),
    ("fp8 on Ampere", "precision-unsupported", "fp8", {"device": ("NVIDIA A10", "8.6", 72, 1.695), "engine_bytes": 19_000_000}, {}),
    ("fp16 on Pascal GP104", "precision-unsupported", "fp16", {"device": ("Tesla P4", "6.1", 20, 1.1), "engine_bytes": 36_000_000}, {}),
    ("p99 of 100 queries", "too-few-queries", "fp16", {"queries": 100, "compute": 29.4}, {}),
    ("p90 of 50 queries", "too-few-queries", "fp16", {"queries": 50, "compute": 58.8, "percents": (90,)}, {}),
    ("p99.9999999 of 3000 queries", "too-few-queries", "fp16", {"percents": (99, 99.9999999)}, {}),
    ("p99 of 661 queries", "too-few-queries", "fp16", {"queries": 661, "compute": 4.4, "percents": (99,)}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "rule", "precision", "figures", "context"), FAULTY, ids=[case[0] for case in FAULTY])
def test_each_fault_is_found_and_nothing_else(
    desk: Desk, name: str, rule: str, precision: str, figures: dict[str, Any], context: dict[str, Any]
) -> None:
    logs = sound()
    logs[precision] = {**logs.get(precision, {}), **figures}
    if "device" not in figures:
        context = {"device": "A100", **context}
    result = desk(logs, **{**MODEL, **context})
    assert found_in(result) == {(rule, precision)}
    (finding,) = result.findings
    assert finding.arithmetic and finding.says and any(digit in finding.arithmetic for digit in "0123456789")
    row = next(row for row in result.rows if row.precision == precision)
    assert (row.images_per_second is None) == (
        rule in ("batch-multiplied", "throughput-contradicted", "above-roofline")
    )
    assert (row.reason == rule) == (finding.severity == "error")


# The same neighbourhoods without the fault.
HARMLESS: list[tuple[str, str, dict[str, Any]]] = [
    ("batch 1", "fp16", {"command": "--batch=1"}),
    ("a batch that was not multiplied in", "fp16", {"command": "--loadEngine=a --batch=8", "version": 101200}),
    ("several streams", "fp16", {"command": "--streams=8", "queries": 16384, "walltime": 29.9981, "compute": 6.9321}),
    ("fast, and just below the roof", "fp16", {"device": T4, "queries": 60_000, "compute": 0.045}),
    ("a throughput rounded by hand", "fp16", {"times": 1.05}),
    ("sparse tensor cores are twice as fast", "fp16", {"device": A10, "command": "--loadEngine=a --sparsity=enable", "queries": 240_000, "compute": 0.012}),
    ("a batch that is no number", "fp16", {"command": f"--batch=² --shapes=x:{'9' * 5000}x3", "binding": "9" * 5000}),
    ("the largest and the least of all", "fp16", {"percents": (0, 100)}),
    ("a bound batch below the roof", "fp16", {"device": T4, "binding": "16x1x224x224", "queries": 1500, "compute": 1.9}),
    ("Caffe's batch is real", "fp16", {"command": "--deploy=net.prototxt --model=a.caffemodel --batch=8", "times": 8, "version": 8201}),
    ("UFF's batch is real", "fp16", {"command": "--uff=net.uff --uffInput=x,3,224,224 --batch=8", "times": 8, "version": 8201}),
    ("fp32 beyond its cores, by TF32", "fp32", {"device": A10, "queries": 45_000, "compute": 0.06, "engine_bytes": 71_000_000}),
    ("faster than the card of a like name", "fp16", {"device": ("NVIDIA GeForce RTX 3090 Ti", "8.6", 84, 1.86), "queries": 156_000, "compute": 0.018}),
    ("an unknown card's tensor cores beyond its FP32", "fp16", {"device": ("Some Card", "7.5", 40, 1.59), "queries": 30_000, "compute": 0.09}),
    ("fp32 with fp32 weights", "fp32", {"engine_bytes": 75_000_000}),
    ("tf32 with fp32 weights", "tf32", {"engine_bytes": 71_000_000}),
    ("int8 with half of its weights in fp16", "int8", {"engine_bytes": 30_000_000}),
    ("fp16 with a large plan", "fp16", {"engine_bytes": 45_000_000}),
    ("int8 on Pascal GP104", "int8", {"device": ("Tesla P4", "6.1", 20, 1.1), "engine_bytes": 19_000_000}),
    ("fp16 on Pascal GP100", "fp16", {"device": ("Tesla P100-SXM2-16GB", "6.0", 56, 1.48), "engine_bytes": 36_000_000}),
    ("int8 on Volta", "int8", {"device": ("Tesla V100-SXM2-16GB", "7.0", 80, 1.53), "engine_bytes": 19_000_000}),
    ("fp8 on Hopper", "fp8", {"device": ("NVIDIA H100 80GB HBM3", "9.0", 132, 1.98), "engine_bytes": 19_000_000}),
    ("p99 of 662 queries", "fp16", {"queries": 662, "compute": 4.4, "percents": (99,)}),
    ("p90 of 64 queries", "fp16", {"queries": 64, "compute": 45.0, "percents": (90,)}),
    ("no percentile of few queries", "fp16", {"queries": 20, "compute": 140.0, "percents": ()}),
    ("unstable, and nothing claimed", "fp16", {"variation": 35.0}),
    ("an unknown card without its clock", "fp16", {"device": ("Some Card", "12.9", 40, 1.5), "queries": 90_000, "compute": 0.03}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "precision", "figures"), HARMLESS, ids=[case[0] for case in HARMLESS])
def test_what_only_looks_like_a_fault_raises_nothing(
    desk: Desk, name: str, precision: str, figures: dict[str, Any]
) -> None:
    logs = sound()
    logs[precision] = {**logs.get(precision, {}), **figures}
    context = {} if "device" in figures else {"device": "A100"}
    assert found_in(desk(logs, **{**MODEL, **context})) == set()


@pytest.mark.parametrize(
    ("spreads", "percent", "raised"),
    [((19.1136, 19.1903), 22.937, True), ((10.0, 10.0), 15.0, False), ((10.0, 10.0), 14.0, True), ((None, None), 0.5, False)],
)  # fmt: skip
def test_a_claimed_gain_below_the_spread_of_one_run_each(
    desk: Desk, spreads: tuple[float | None, float | None], percent: float, raised: bool
) -> None:
    logs = {"fp16": {"variation": spreads[0]}, "fp32": {"variation": spreads[1]}, "int8": {"variation": 30.0}}
    claim = {"precision": "fp16", "over": "fp32", "metric": "throughput", "percent": percent}
    assert found_in(desk(logs, claims=[claim])) == ({("noise-exceeds-difference", "fp16")} if raised else set())


@pytest.mark.parametrize(
    ("accuracy", "dataset", "rules"),
    [
        ("int8 accuracy = 0.9062\nfp32 accuracy = 0.8812", {"test": 624, "val": 16},
         {("accuracy-within-noise", "int8"), ("wrong-sample-size", "int8"), ("wrong-sample-size", "fp32")}),
        ("int8 accuracy = 0.9062\nfp32 accuracy = 0.8812", {"test": 640}, {("accuracy-within-noise", "int8")}),
        ("int8 accuracy = 0.9503\nfp32 accuracy = 0.9006", {"test": 624}, set()),  # 593 and 562: p = 0.0008
        ("int8 accuracy = 0.9519\nfp32 accuracy = 0.9006", {"test": 100}, {("wrong-sample-size", "int8"), ("wrong-sample-size", "fp32")}),
        ("int8 accuracy = 90.6%\nfp32 accuracy = 90.1%", {"test": 10_000}, {("accuracy-within-noise", "int8")}),
        ("int8 accuracy = 0.9\nfp32 accuracy = 0.8125", {"test": 80}, {("accuracy-within-noise", "int8")}),
        ("int8 accuracy = 1.0\nfp32 accuracy = 1.0", {"test": 1}, {("accuracy-within-noise", "int8")}),
    ],
)  # fmt: skip
def test_accuracies_and_how_many_images_stand_behind_them(
    desk: Desk, accuracy: str, dataset: dict[str, int], rules: set[tuple[str, str]]
) -> None:
    claim = {"precision": "int8", "over": "fp32", "metric": "accuracy", "points": 2.5}
    result = desk({"int8": {}, "fp32": {}}, accuracy, dataset=dataset, claims=[claim])
    assert found_in(result) == rules
    wrong = {precision for rule, precision in rules if rule == "wrong-sample-size"}
    assert {row.precision for row in result.rows if row.accuracy is None} == wrong


def test_an_accuracy_difference_that_nobody_claims_is_no_finding(desk: Desk) -> None:
    assert (
        desk({"int8": {}, "fp32": {}}, "int8 accuracy = 0.9062\nfp32 accuracy = 0.8812", dataset={"test": 640}).findings
        == ()
    )


@pytest.mark.parametrize(("fp16", "raised"), [(1000, False), (700, False), (699, True)])
def test_a_claimed_gain_in_throughput_that_is_a_loss(desk: Desk, fp16: int, raised: bool) -> None:
    # 64 images a query against 1: what the logs print would say the opposite.
    logs = {"fp16": {"queries": 3 * fp16, "walltime": 3.0, "binding": "64x1x8x8"},
            "fp32": {"queries": 3 * 44_800, "compute": 0.02, "command": "--batch=1"}}  # fmt: skip
    claim = {"precision": "fp16", "over": "fp32", "metric": "throughput", "percent": 10}
    result = desk(logs, claims=[claim])
    assert found_in(result) == ({("claim-contradicted", "fp16")} if raised else set())
    if raised:
        assert result.findings[0].arithmetic == "throughput 44,736 < 44,800 of fp32; 10 % more is claimed"


@pytest.mark.parametrize(
    ("int8", "rules"),
    [
        ("0.8510", {"claim-contradicted"}),
        ("0.8990", {"claim-contradicted", "accuracy-within-noise"}),
        ("0.9503", set()),
    ],
)
def test_a_claimed_gain_in_accuracy_that_is_a_loss(desk: Desk, int8: str, rules: set[str]) -> None:
    claim = {"precision": "int8", "over": "fp32", "metric": "accuracy", "points": 2.5}
    text = f"int8 accuracy = {int8}\nfp32 accuracy = 0.9006"
    result = desk({"int8": {}, "fp32": {}}, text, dataset={"test": 624}, claims=[claim])
    assert found_in(result) == {(rule, "int8") for rule in rules}
    for finding in result.findings:
        assert "fewer than fp32" in finding.says or "show a loss" in finding.says


def test_what_the_context_names_as_something_else_is_no_log(tmp_path: Path, desk: Desk) -> None:
    desk({"fp16": {}, "fp32": {}}, "fp16 accuracy = 0.9006", dataset={"test": 624})
    every = sorted(tmp_path.iterdir())
    assert [path.name for path in every] == ["accuracy.log", "context.yaml", "fp16.log", "fp32.log"]
    result = import_logs(every, tmp_path / "context.yaml")
    assert [row.precision for row in result.rows] == ["fp16", "fp32"]
    with pytest.raises(UsageError, match="nothing to import"):
        import_logs(every[:1], tmp_path / "context.yaml")
    with pytest.raises(UsageError, match=r"accuracy\.log holds no line '=== Performance summary"):
        import_logs(every[:1], None)


def test_a_rule_that_lacks_something_says_what(desk: Desk) -> None:
    def lacking_in(result: Imported) -> dict[str, str]:
        return {one.rule: one.lacks for one in result.not_applied if one.precision in ("fp16", "")}

    claims = [{"precision": "fp16", "over": "bf16", "metric": "throughput", "percent": 5},
              {"precision": "fp16", "over": "fp32", "metric": "accuracy", "points": 1}]  # fmt: skip
    bare = lacking_in(desk({"fp16": {}, "fp32": {}}, "fp16 accuracy = 0.9", claims=claims))
    assert {rule: lacks.split(":")[0] for rule, lacks in bare.items()} == {
        "above-roofline": "gflop_per_image", "weights-not-lowered": "parameters and engine_bytes",
        "precision-not-run": "layers and profile (--exportLayerInfo, --exportProfile)",
        "precision-unsupported": "the card", "claim-contradicted": "an accuracy of fp16 and of fp32",
        "wrong-sample-size": "dataset",
    }  # fmt: skip
    unknown = desk(sound(), device="Tesla M4O", **MODEL)
    assert unknown.findings == () and lacking_in(unknown)["above-roofline"].startswith(
        f"the card: Tesla M4O is none of the {len(CARDS)} known ones; state it"
    )
    ti = ("NVIDIA GeForce RTX 3090 Ti", "8.6", 84, 1.86)
    of_log = desk({"fp16": {"device": ti, "engine_bytes": 36_000_000}}, **MODEL)
    assert lacking_in(of_log)["above-roofline"] == "the peak of NVIDIA GeForce RTX 3090 Ti in fp16"
    stated = {"name": "3090 Ti", "capability": "8.6", "peak": {"fp32": 40, "fp16": 160}}
    logs = {"fp16": {"device": ti, "engine_bytes": 36_000_000, "queries": 300_000, "compute": 0.009}}
    assert found_in(desk(logs, device=stated, **MODEL)) == {("above-roofline", "fp16")}
    whole = desk(sound(), device="A100", **MODEL)
    assert {one.rule for one in whole.not_applied} == {"precision-not-run"} and whole.findings == ()


def test_two_runs_a_precision_are_not_judged_by_one(tmp_path: Path, write: Write) -> None:
    names = ["a.fp16.log", "b.fp16.log", "a.fp32.log"]
    paths = [write(name, variation=20.0, command="--loadEngine=x") for name in names]
    (tmp_path / "c.yaml").write_text("claims: [{precision: fp16, over: fp32, metric: throughput, percent: 5}]")
    assert import_logs(paths, tmp_path / "c.yaml").findings == ()


# Figures of logs that people published: throughput, walltime, total and mean of GPU compute, and the CV where printed.
PUBLIC = {
    "github.com/NVIDIA/TensorRT/issues/2129": (546.168, 29.9981, 113.576, 6.9321, (99,), 16384),
    "github.com/NVIDIA/TensorRT/issues/4177": (130.298, 3.00082, 2.96536, 7.58404, (90, 95, 99), 391),
    "github.com/hmorimitsu/ptlflow/issues/65": (32.7261, 3.08622, 3.06354, 30.3322, (90, 95, 99), 101),
    "github.com/WongKinYiu/yolov7/pull/329": (716.632, 3.00294, 2.9833, 1.38629, (99,), 2152),
}


@pytest.mark.parametrize("source", PUBLIC)
def test_published_logs(source: str, tmp_path: Path) -> None:
    throughput, walltime, total, mean, percents, queries = PUBLIC[source]
    tail = ", ".join(f"percentile({percent}%) = {mean:g} ms" for percent in percents)
    spread = f"min = {mean:g} ms, max = {mean:g} ms, mean = {mean:g} ms, median = {mean:g} ms, {tail}"
    text = (
        f"[I] === Performance summary ===\n[I] Throughput: {throughput:g} qps\n[I] Latency: {spread}\n"
        f"[I] GPU Compute Time: {spread}\n[I] Total Host Walltime: {walltime:g} s\n"
        f"[I] Total GPU Compute Time: {total:g} s\n"
    )
    (tmp_path / "public.log").write_text(text)
    result = import_logs([tmp_path / "public.log"], None)
    assert result.rows[0].queries == queries == round(throughput * walltime)
    short = 99 in percents and queries < 662
    assert found_in(result) == ({("too-few-queries", "unknown")} if short else set())


def test_the_source_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(__file__).parents[5] / "shared" / "data" / "seed"
    if not folder.is_dir():
        pytest.skip("the source experiment's logs are not at ../shared/data/seed")
    result = import_logs([], folder / "context.yaml")
    every = ("int8", "fp16", "tf32", "fp32")
    assert found_in(result) == {
        *(("batch-multiplied", one) for one in every), *(("above-roofline", one) for one in every),
        *(("too-few-queries", one) for one in every), *(("wrong-sample-size", one) for one in every),
        ("weights-not-lowered", "int8"), ("weights-not-lowered", "fp16"),
        *(("precision-unsupported", one) for one in ("int8", "fp16", "tf32")),
        ("noise-exceeds-difference", "fp16"), ("accuracy-within-noise", "int8"),
    }  # fmt: skip
    said = {finding.rule: finding.arithmetic for finding in result.findings if finding.precision == "int8"}
    assert "/ 79 queries = 8192.0" in said["batch-multiplied"] and "6.84 TFLOP/s" in said["above-roofline"]
    assert "580 and 564 right of 640" in said["accuracy-within-noise"]
    assert [row.images_per_second for row in result.rows] == [None] * 4 and result.fastest is None


def times_of(computes: Sequence[float]) -> list[dict[str, float]]:
    return [
        {"startComputeMs": i, "endComputeMs": i + one, "computeMs": one, "latencyMs": one + 1}
        for i, one in enumerate(computes)
    ]


@pytest.fixture
def timed(tmp_path: Path, write: Write) -> Callable[..., Imported]:
    def imported(computes: Sequence[float], **figures: Any) -> Imported:
        write("fp16.log", **figures)
        (tmp_path / "times.json").write_text(json.dumps(times_of(computes)))
        (tmp_path / "c.yaml").write_text("logs: [{precision: fp16, log: fp16.log, times: times.json}]")
        return import_logs([], tmp_path / "c.yaml")

    return imported


def test_exported_times_count_queries_and_spread(timed: Callable[..., Imported]) -> None:
    result = timed([1, 2] * 20, queries=40, compute=1.5)
    row = result.rows[0]
    assert (row.queries, row.median_ms) == (40, 2.5) and row.variation == pytest.approx(100 / 3)
    assert found_in(result) == {("too-few-queries", "fp16")}


def test_a_warm_up_among_the_exported_times_hides_no_batch(timed: Callable[..., Imported]) -> None:
    # 8.2 exports the warm-up too, here 60 slow queries.
    result = timed([9.0] * 60 + [1.0, 2.0] * 500, queries=1000, compute=1.5, times=8, command="--batch=8", version=8201)
    row = result.rows[0]
    assert (row.queries, row.median_ms) == (1000, 2.5) and row.variation == pytest.approx(100 / 3)
    assert found_in(result) == {("batch-multiplied", "fp16")}


@pytest.mark.parametrize(
    ("words", "milliseconds", "raised", "lacks"),
    [
        (["FP16", "FP32"], [6.0, 4.0], False, ""),
        (["FP16", "FP32"], [4.0, 6.0], True, ""),
        (["FP32", "FP32"], [4.0, 6.0], True, ""),
        (["FP16", "a new word"], [4.0, 3.0], False, ""),
        (["FP32", "a new word"], [4.0, 6.0], False, "layers that tell their precision: 40% of the time do"),
        ([None, None], [4.0, 6.0], False, "layers that tell their precision: 0% of the time do"),
    ],
)
def test_what_the_layers_really_ran_in(
    tmp_path: Path, write: Write, words: list[str | None], milliseconds: list[float], raised: bool, lacks: str
) -> None:
    write("fp16.log")
    layers = [
        {"Name": f"conv{i}", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": f"Row major {word}"}]}
        if word
        else f"conv{i}"
        for i, word in enumerate(words)
    ]
    (tmp_path / "layers.json").write_text(json.dumps({"Layers": layers, "Bindings": []}))
    profiled = [
        {"name": f"conv{i}", "timeMs": time, "averageMs": time / 10, "percentage": 100 * time / sum(milliseconds)}
        for i, time in enumerate(milliseconds)
    ]
    (tmp_path / "profile.json").write_text(json.dumps([{"count": 10}, *profiled]))
    (tmp_path / "c.yaml").write_text(
        "logs: [{precision: fp16, log: fp16.log, layers: layers.json, profile: profile.json}]"
    )
    result = import_logs([], tmp_path / "c.yaml")
    assert found_in(result) == ({("precision-not-run", "fp16")} if raised else set())
    said = [one.lacks for one in result.not_applied if one.rule == "precision-not-run"]
    assert said[0].startswith(lacks) if lacks else not said, said


@pytest.mark.parametrize("computes", [[1.5] * 900, [1.7] * 1000, [1.5] * 500 + [2.5] * 1000])
def test_times_of_another_run_are_refused(timed: Callable[..., Imported], computes: list[float]) -> None:
    with pytest.raises(UsageError, match=r"fp16\.log and its exported times are not of one run"):
        timed(computes, queries=1000, compute=1.5)


@pytest.mark.parametrize(
    ("command", "name", "precision"),
    [
        ("--loadEngine=net.INT8.engine", "a.log", "int8"),
        ("--loadEngine=net_fp16.plan", "a.log", "fp16"),
        ("--onnx=net.onnx --fp16", "a.log", "fp16"),
        ("--onnx=net.onnx --int8 --fp16", "a.log", "int8"),
        ("--onnx=net.onnx", "a.log", "fp32"),
        ("--loadEngine=net.engine", "run-bf16.log", "bf16"),
        ("--onnx=model_fp32.onnx --fp16", "a.log", "fp16"),
        ("--onnx=model_fp32.onnx --saveEngine=a.engine --best", "run_fp16.log", "int8"),
        ("--onnx=net.onnx --saveEngine=net_fp16.engine", "a.log", "fp16"),
        (r"--onnx=net.onnx --saveEngine=C:\bf16\net.fp16.engine", "a.log", "fp16"),
        ("--deploy=net.prototxt --fp16", "a.log", "fp16"),
        ("--uff=net.uff", "a.log", "fp32"),
        ("--loadEngine=net.int8.engine --fp16", "a.log", "int8"),
        ("--loadEngine=net.engine", "a.log", "unknown"),
        ("--loadEngine=printf16bit.engine", "a.log", "unknown"),
        ("--onnx=net.onnx --stronglyTyped", "a.log", "unknown"),
        ("--onnx=net.int8.onnx --stronglyTyped", "a.log", "int8"),
    ],
)
def test_a_precision_is_read_off_names_and_options(write: Write, command: str, name: str, precision: str) -> None:
    assert import_logs([write(name, command=command)], None).rows[0].precision == precision


@pytest.mark.parametrize(("version", "precision"), [(8601, "fp32"), (101200, "fp32"), (110100, "unknown")])
def test_from_version_11_on_a_build_takes_its_precisions_from_the_network(
    write: Write, version: int, precision: str
) -> None:
    row = import_logs([write("a.log", command="--onnx=net.onnx", version=version)], None).rows[0]
    assert row.precision == precision


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML"),
        ("gpu: T4", "gpu: Extra inputs"),
        ("parameters: -1", "parameters: Input should be greater than 0"),
        ("gflop_per_image: .nan", "gflop_per_image: "),
        ("dataset: {test: 0}", "dataset.test"),
        ("- 1", "the whole: "),
        ("claims: [{precision: fp16, over: fp32, metric: accuracy, percent: 3}]", "stated in points"),
        ("claims: [{precision: fp16, over: fp16, metric: throughput, percent: 3}]", "two precisions"),
        ("logs: [{precision: fp64, log: a}]", "logs.0.precision"),
        ("logs: [{precision: fp16, log: a.log}, {precision: fp32, log: ./a.log}]", "a.log is named twice"),
        ("model: 2020-13-45", "is no YAML: month"),
        ("parameters: !!int x", "is no YAML"),
        ("model: !!timestamp x", "is no YAML"),
        (f"parameters: {'1' * 5000}", "is no YAML"),
        ("[" * 5000, "is no YAML"),
        (f"dataset: {{test: {'1' * 400}}}", "dataset.test: Input should be less"),
        (f"dataset: {{{', '.join(f's{i}: {i + 9}' for i in range(28))}}}", "dataset: "),
        ('accuracy_log: "a\\0b"', "accuracy_log: "),
        ("accuracy_log: none.log", "none.log cannot be read"),
        ("accuracy_log: /dev/null", "null cannot be read (it is no file)"),
        ("logs: [{precision: fp16, log: /dev/null}]", "null cannot be read (it is no file)"),
        ("logs: [{precision: fp16, log: none.log}]", "none.log cannot be read"),
    ],
)
def test_a_context_that_is_none_is_refused_by_its_field(text: str, said: str, tmp_path: Path, write: Write) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        import_logs([] if text.startswith("logs") else [write("a.log")], tmp_path / "c.yaml")
    assert said in str(caught.value)


def test_nothing_to_import_and_a_log_named_twice(write: Write, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to import"):
        import_logs([], None)
    path = write("a.log")
    with pytest.raises(UsageError, match=r"a\.log is named twice"):
        import_logs([path, tmp_path / "." / "a.log"], None)
    with pytest.raises(UsageError, match=r"none\.yaml cannot be read"):
        read_context(tmp_path / "none.yaml")


@pytest.mark.parametrize("reader", [read_log, read_accuracies, read_context, read_times, read_profile, read_layers])
def test_a_device_is_no_file(reader: Callable[[Path], object]) -> None:
    with pytest.raises(UsageError, match=r"/dev/null cannot be read \(.*it is no file"):
        reader(Path("/dev/null"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "holds no line"),
        ("accuracy = 0.9", "belongs to no precision"),
        ("fp16 accuracy = 1.2", "out of range"),
        ("fp16 accuracy = nan", "is no accuracy"),
        ("fp16 accuracy = 1.000e-01", "is no accuracy"),
        ("fp16 accuracy = -0.5", "is no accuracy"),
        ("fp16 accuracy = 0.9.1", "is no accuracy"),
        ("fp16 accuracy = 0,9215", "or write it 0.9215"),
    ],
)
def test_scores_that_are_none_are_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_accuracies(tmp_path / "a.log")


def test_digits_are_those_of_the_unit(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("fp16 accuracy = 90.6%\nfp32 accuracy = 0.9006\nint8 accuracy = 0.9\n")
    found = read_accuracies(tmp_path / "a.log")
    assert [one.half for one in found.values()] == pytest.approx([0.0005, 0.00005, 0.00005])


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.log").symlink_to("a.log")
    with pytest.raises(UsageError, match=r"a\.log cannot be read"):
        import_logs([tmp_path / "a.log"], None)


def test_the_fewest_images_that_fit() -> None:
    printed = [Printed(value=0.9062, half=5e-5), Printed(value=0.8812, half=5e-5)]
    assert sample_size(printed, {"test": 624, "val": 16}) == (640, "test + val")
    assert sample_size(printed, {"test": 624}) is None


@pytest.mark.parametrize(("first", "second", "total"), [(580, 564, 640), (593, 562, 624), (3, 9, 20)])
def test_two_proportions_are_the_chi_squared_test(first: int, second: int, total: int) -> None:
    statistic, chance = two_proportions(first, second, total)
    known = chi2_contingency([[first, total - first], [second, total - second]], correction=False)
    assert statistic**2 == pytest.approx(known.statistic) and chance == pytest.approx(known.pvalue)
    assert two_proportions(5, 5, 9) == (0.0, 1.0) == two_proportions(9, 9, 9)


def test_cards() -> None:
    assert all(card_named(card.name) == card for card in CARDS)
    named = {
        "NVIDIA H100 PCIe": "H100 PCIe",
        "Tesla P100-PCIE-16GB": "Tesla P100-PCIE",
        "nvidia a100-sxm4-80gb": "A100",
    }
    assert {name: getattr(card_named(name), "name", None) for name in named} == named
    others = (
        "Radeon RX 6900 XT", "RTX 3090 Ti", "NVIDIA GeForce RTX 3080 Ti", "GeForce RTX 2080 SUPER", "Tesla M4O",
        "NVIDIA H100 NVL", "NVIDIA H200 NVL", "NVIDIA GeForce RTX 3080 Laptop GPU", "NVIDIA GeForce RTX 4090 D", "NVIDIA",
    )  # fmt: skip
    assert {name for name in others if card_named(name)} == set()
    same = {"NVIDIA GeForce RTX 2080 Ti": "GeForce RTX 2080 Ti", "Tesla V100-PCIE-16GB": "Tesla V100",
            "NVIDIA A100 80GB PCIe": "A100", "NVIDIA H100 80GB HBM3": "H100", "Tesla T4 (16 GB)": "Tesla T4",
            "NVIDIA A10 Tensor Core GPU": "A10", "RTX 3090 24 GiB": "GeForce RTX 3090"}  # fmt: skip
    assert {name: getattr(card_named(name), "name", None) for name in same} == same
    stated = card_of(Device(name="New", capability="8.6", multiprocessors=10, clock_ghz=1.5))
    assert stated.peak == {Precision.FP32: pytest.approx(10 * 128 * 2 * 1.5 / 1000)}
    assert card_of(Device(name="Tesla T4", capability="9.0")).peak == {}  # its name and its capability disagree
    own = Context.model_validate({"device": {"name": "x", "capability": "9.9", "peak": {"fp32": 1}}}).card
    assert isinstance(own, Card) and own.peak_for(Precision.FP32) == (Precision.FP32, 1.0)
    assert own.peak_for(Precision.INT8) is None  # it has such arithmetic, and FP32's peak does not bound it
    able = {name: [p.value for p in Precision if not lacking(name, p)] for name in ("5.2", "6.1", "7.5", "8.6", "9.0")}
    assert able == {
        "5.2": ["fp32"], "6.1": ["fp32", "int8"], "7.5": ["fp32", "fp16", "int8"],
        "8.6": ["fp32", "tf32", "fp16", "bf16", "int8"], "9.0": ["fp32", "tf32", "fp16", "bf16", "fp8", "int8"],
    }  # fmt: skip
