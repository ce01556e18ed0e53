import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cxr_core.config import CompareConfig
from cxr_core.errors import DataError
from cxr_core.evaluation.compare import compare
from cxr_core.evaluation.intervals import wilson
from cxr_core.evaluation.rows import Comparison

CONFIG = CompareConfig(bootstrap=400)


@pytest.fixture
def run(tmp_path, synthetic):
    """A function: compare these branches (a function of folder and reference table makes them)."""
    reference = synthetic.answers()

    def of(make, name="run", config=CONFIG, spoil=lambda given: given, **changes):
        folder = tmp_path / name
        given = spoil({**synthetic.inputs(folder, reference, make(folder, reference)), **changes})
        facts = compare(**given, config=config)
        content = (given["out"] / "comparison.json").read_bytes()
        assert [p.name for p in given["out"].iterdir()] == ["comparison.json"]
        return Comparison.model_validate_json(content), facts, content

    return of


def _everything(synthetic):
    def make(folder, reference):
        s = synthetic
        return [
            s.done(folder, "fp32", "openvino", s.noisy(reference, 1e-6), s.benchmark(1.0, 900)),
            s.done(
                folder, "bf16", "openvino", s.noisy(reference, 0.0005), s.benchmark(1.8, 1600), note="native kernels"
            ),
            s.done(
                folder,
                "int8",
                "openvino",
                s.noisy(reference, 2.0),
                s.benchmark(3.0, 2700),
                effective={"int8": 0.7, "fp32": 0.3},
                effective_precision="mixed",
            ),
            s.undone("tf32", "openvino", "unsupported", "This CPU has no TF32."),
            s.undone("fp16", "openvino", "failed", "The child was killed (signal 9); mend: more memory."),
            s.done(folder, "fp32", "onnxruntime", reference, s.benchmark(1.0, 400)),
            s.done(
                folder,
                "fp16",
                "onnxruntime",
                s.noisy(reference, 0.0005),
                s.benchmark(1.3, 500),
                support="emulated",
                effective_precision="fp32",
            ),
        ]

    return make


def test_a_whole_run(run, synthetic):
    found, facts, _ = run(_everything(synthetic))
    assert facts["verdicts"] == {
        "fp32@openvino": "pass",
        "bf16@openvino": "pass",
        "int8@openvino": "fail",
        "tf32@openvino": "unsupported",
        "fp16@openvino": None,
        "fp32@onnxruntime": "pass",
        "fp16@onnxruntime": "pass",
    }
    assert facts["recommended"] == {"precision": "bf16", "backend": "openvino"}
    assert [(c.precision.value, c.backend) for c in found.recommended_by_backend] == [
        ("bf16", "openvino"),
        ("fp32", "onnxruntime"),
    ]
    assert found.counts.images == 360
    assert found.counts.splits == {"test": 360, "train": 30, "val": 10}
    assert found.rows[5].reason == "Is the reference."
    assert found.rows[6].reason.endswith("Asked for fp16, but it really runs fp32.")
    assert found.warnings == ("144 bare numbers are in train and in test.",)
    assert found.details[0].speed is not None
    assert len(found.details[0].speed.latency_curve_ms) == 101


def test_the_figures_of_a_row_are_those_of_its_files(run, synthetic):
    found, _, _ = run(_everything(synthetic))
    row, detail = found.rows[2], found.details[2]
    assert (row.precision, row.effective_precision, row.effective) == ("int8", "mixed", {"int8": 0.7, "fp32": 0.3})
    assert (row.engine_bytes, row.images_per_second, row.device) == (1_300_000, 2700, "A CPU")
    assert row.latency_ms is not None
    assert (row.latency_ms.count, row.latency_ms.p50 is None) == (800, False)
    assert detail.paired is not None
    assert detail.assessment is not None
    assert (row.flips, row.mcnemar_p) == (detail.paired.flips, pytest.approx(detail.paired.mcnemar_p))
    assert row.accuracy == pytest.approx(found.reference.metrics.accuracy + detail.paired.accuracy_difference.value)
    assert row.accuracy_interval is not None
    assert row.accuracy_interval[0] < row.accuracy < row.accuracy_interval[1]


def test_what_a_branch_lacks_is_none(run, synthetic):
    found, _, _ = run(_everything(synthetic))
    for row, state in ((found.rows[3], "unsupported"), (found.rows[4], None)):
        told = {"precision", "backend", "verdict", "reason"}
        assert all(value is None for name, value in row.model_dump().items() if name not in told)
        assert row.verdict == state
    assert "signal 9" in found.rows[4].reason


def test_the_same_inputs_give_the_same_bytes_in_another_process(run, synthetic, tmp_path):
    _, _, content = run(_everything(synthetic))
    again = tmp_path / "again"
    again.mkdir()
    code = (
        "import sys, json; from pathlib import Path; from pydantic import validate_call;"
        "from cxr_core.evaluation.compare import compare; validate_call(compare)(**json.loads(sys.argv[1]))"
    )
    folder = tmp_path / "run"
    arguments = {
        name: str(folder / file)
        for name, file in (
            ("branches", "branches.json"),
            ("reference_scores", "reference.csv"),
            ("split", "split.csv"),
            ("shortcuts", "shortcuts.json"),
            ("warnings", "warnings.json"),
        )
    }
    arguments |= {"out": str(again), "config": CONFIG.model_dump(), "threshold": synthetic.THRESHOLD}
    subprocess.run([sys.executable, "-c", code, json.dumps(arguments)], check=True)
    assert (again / "comparison.json").read_bytes() == content
    assert str(tmp_path).encode() not in content


def test_another_seed_moves_the_bootstrap_only(run, synthetic):
    one, _, _ = run(_everything(synthetic))
    two, _, _ = run(_everything(synthetic), "two", CompareConfig(bootstrap=400, seed=1))
    assert one.reference.metrics == two.reference.metrics
    assert one.reference.auc_interval != two.reference.auc_interval


def test_broken_answers_fail_and_take_no_sibling_down(run, synthetic):
    def make(folder, reference):
        margin = synthetic.margin_of(reference).copy()
        margin[5] = np.nan
        return [
            synthetic.done(folder, "fp16", "openvino", synthetic.with_margin(reference, margin)),
            synthetic.done(folder, "int8", "openvino", synthetic.with_margin(reference, margin * 0)),
            synthetic.done(folder, "fp32", "onnxruntime", reference),
        ]

    found, _, content = run(make)
    assert [row.verdict for row in found.rows] == ["fail", "fail", "pass"]
    assert found.rows[0].reason == "1 of 360 answers are not finite numbers."
    assert found.rows[1].reason.startswith("1 of 360 answers are not finite")
    assert found.rows[0].accuracy is None
    assert b"NaN" not in content


def test_constant_answers_fail(run, synthetic):
    found, _, _ = run(
        lambda folder, reference: [
            synthetic.done(folder, "int8", "openvino", synthetic.with_margin(reference, np.ones(len(reference))))
        ]
    )
    assert found.rows[0].verdict == "fail"
    assert "are the same, whatever the image" in found.rows[0].reason


@pytest.mark.parametrize(("sound", "verdict"), [(True, "inconclusive"), (False, "fail")])
def test_a_branch_whose_benchmark_failed_is_judged_by_its_answers_and_never_passes(run, synthetic, sound, verdict):
    reason = "benchmark fp32@onnxruntime failed: not a valid measurement: engine: query 3 was given 4 images"

    def unmeasured(folder, reference):
        scores = reference if sound else synthetic.with_margin(reference, np.ones(len(reference)))
        branch = synthetic.done(folder, "fp32", "onnxruntime", scores)
        return [branch | {"state": "failed", "reason": reason, "benchmark": None}]

    found, _, _ = run(unmeasured)
    row = found.rows[0]
    assert (row.verdict, row.images_per_second, row.ratio_to_reference, row.latency_ms) == (verdict, None, None, None)
    assert (row.reason == reason) is sound
    assert (row.accuracy is not None) is sound
    assert found.recommended is None


def test_a_test_double_says_so_and_is_never_recommended(run, synthetic):
    found, _, _ = run(lambda folder, reference: [synthetic.done(folder, "fp32", "fake", reference, fake=True)])
    assert found.rows[0].verdict == "pass"
    assert found.rows[0].device == "FAKE A CPU"
    assert found.rows[0].reason.startswith("FAKE, a test double.")
    assert found.recommended is None


def test_a_small_test_split_cannot_pass_a_narrow_margin(tmp_path, synthetic):
    reference = synthetic.answers(40)
    folder = tmp_path / "small"
    given = synthetic.inputs(
        folder,
        reference,
        [
            synthetic.done(folder, "int8", "openvino", reference),
            synthetic.done(folder, "fp32", "onnxruntime", reference),
        ],
    )
    facts = compare(**given, config=CONFIG)
    assert facts["verdicts"] == {"int8@openvino": "inconclusive", "fp32@onnxruntime": "pass"}


def test_images_of_one_patient_are_no_evidence_of_their_own(tmp_path, synthetic):
    """Each image five times: the interval of no share is as narrow as Wilson's, which takes all for evidence."""
    single = synthetic.answers()
    copies = [single.assign(file=single["file"].str.replace(".jpeg", f"-{i}.jpeg")) for i in range(5)]
    reference = pd.concat(copies).sort_values("file", ignore_index=True)
    given = synthetic.inputs(tmp_path, reference, [synthetic.done(tmp_path, "fp32", "onnxruntime", reference)])
    compare(**given, config=CONFIG)
    found = Comparison.model_validate_json((given["out"] / "comparison.json").read_bytes())
    row, figures, ill = found.rows[0], found.reference, int(reference["label"].sum())
    shares = [
        (row.accuracy, len(reference), row.accuracy_interval),
        (figures.metrics.accuracy, len(reference), figures.accuracy_interval),
        (figures.metrics.sensitivity, ill, figures.sensitivity_interval),
        (figures.metrics.specificity, len(reference) - ill, figures.specificity_interval),
        *((kind.sensitivity, kind.images, kind.sensitivity_interval) for kind in figures.subgroups),
    ]
    assert len(shares) == 6
    for share, images, (low, high) in shares:
        narrow = wilson(round(share * images), images)
        assert low < share < high
        assert high - low > 1.5 * (narrow[1] - narrow[0]), (share, images)


def test_subgroups_stand_against_all_normals_and_small_ones_are_hidden(tmp_path, synthetic):
    reference = synthetic.answers()
    kinds = reference["kind"].to_numpy(dtype=object).copy()
    kinds[np.flatnonzero(kinds == "virus")[:12]] = "fungus"
    reference["kind"] = kinds
    given = synthetic.inputs(tmp_path / "run", reference, [])
    compare(**given, config=CONFIG)
    found = Comparison.model_validate_json((given["out"] / "comparison.json").read_bytes()).reference.subgroups
    assert [group.kind for group in found] == ["bacteria", "fungus", "virus"]
    bacteria, fungus, virus = found
    assert (fungus.images, fungus.sensitivity, fungus.auc, fungus.called) == (12, None, None, None)
    ill = reference[reference["kind"] == "bacteria"]
    assert bacteria.sensitivity == pytest.approx((ill["probability"] >= synthetic.THRESHOLD).mean())
    assert virus.auc is not None
    assert bacteria.auc is not None
    assert virus.auc < bacteria.auc  # the made-up classifier finds bacteria easier


def test_scores_of_part_of_the_test_split_make_a_failed_row(run, synthetic):
    found, _, _ = run(
        lambda folder, reference: [
            synthetic.done(folder, "int8", "openvino", reference.iloc[5:]),
            synthetic.done(folder, "fp32", "onnxruntime", reference),
        ]
    )
    assert [row.verdict for row in found.rows] == [None, "pass"]
    assert found.details[0].state == "failed"
    assert re.search("reference's 360 images expected, found 355", found.rows[0].reason)
    assert found.rows[0].engine_bytes == 1_300_000


def test_a_damaged_benchmark_makes_a_failed_row(run, synthetic):
    def make(folder, reference):
        measured = synthetic.benchmark()
        del measured["throughput"]
        return [synthetic.done(folder, "fp32", "onnxruntime", reference, measured)]

    found, _, _ = run(make)
    assert "'throughput' is missing" in found.rows[0].reason


OTHER = "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"benchmark_engine": OTHER},
            "the benchmark must be of the row's engine sha256:aaaaaaaaaaaa, found",
        ),
        ({"scores_engine": OTHER}, "the scores must be of the row's engine"),
        ({"benchmark_engine": None}, "found none named"),
    ],
)
def test_the_engine_timed_must_be_the_engine_scored(run, synthetic, changes, words):
    found, _, _ = run(lambda folder, r: [{**synthetic.done(folder, "int8", "openvino", r), **changes}])
    assert (found.rows[0].verdict, found.rows[0].accuracy, found.recommended) == (None, None, None)
    assert words in found.rows[0].reason


@pytest.mark.parametrize(
    ("audit", "words"),
    [
        (lambda given: {file: [pair[0], pair[1] + 1] for file, pair in given.items()}, "otherwise when it is timed"),
        # Each a little, none much: 0.03 in the probability.
        (lambda given: {file: [0, (pair[1] - pair[0]) * 0.9] for file, pair in given.items()}, "on average"),
        (lambda given: {}, "found none"),
        (lambda given: None, "found none"),
        (lambda given: {"test/other.jpeg": [0, 1]}, "found 1 others, first test/other.jpeg"),
        (lambda given: {next(iter(given)): [0, float("nan")]}, "moves by nan"),
        (lambda given: {next(iter(given)): [0]}, "a benchmark expected"),
    ],
)
def test_answers_while_timed_must_be_those_while_scored(run, synthetic, audit, words):
    def make(folder, reference):
        branch = synthetic.done(folder, "int8", "openvino", reference)
        file = folder / branch["benchmark"]
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, "audit": audit(content["audit"])}))
        return [branch, synthetic.done(folder, "fp32", "onnxruntime", reference)]

    found, _, _ = run(make)
    assert [row.verdict for row in found.rows] == [None, "pass"]
    assert words in found.rows[0].reason


def test_a_done_branch_without_scores_is_a_failed_row(run, synthetic):
    found, _, _ = run(
        lambda folder, reference: [{**synthetic.done(folder, "fp32", "onnxruntime", reference), "scores": None}]
    )
    assert "scores are missing" in found.rows[0].reason


def _rewrite(name, change):
    """A spoiler: the file that ``compare`` is given under this name, changed."""

    def spoil(given):
        path = given[name]
        if path.suffix == ".csv":
            change(pd.read_csv(path)).to_csv(path, index=False)
        else:
            path.write_text(json.dumps(change(json.loads(path.read_text()))))
        return given

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_rewrite("reference_scores", lambda t: t.iloc[1:]), "all 360 test images expected, found 359"),
        (
            _rewrite("reference_scores", lambda t: t.assign(probability=np.nan)),
            "the reference must be a working network",
        ),
        (_rewrite("split", lambda t: t.assign(split="train")), "all 0 test images expected"),
        (_rewrite("branches", lambda b: b + b), "each branch may stand once, found twice: fp32@onnxruntime"),
        (_rewrite("branches", lambda b: [{**b[0], "precision": "fp64"}]), "a list of branches expected"),
        (_rewrite("branches", lambda b: [{**b[0], "colour": "red"}]), "colour"),
    ],
)
def test_unfit_inputs_are_refused(run, synthetic, spoil, words):
    with pytest.raises(DataError, match=words):
        run(lambda folder, reference: [synthetic.done(folder, "fp32", "onnxruntime", reference)], spoil=spoil)


def test_p_values_are_corrected_over_the_engines_but_the_reference(run, synthetic):
    def make(folder, reference):
        return [
            synthetic.done(folder, "bf16", "openvino", synthetic.flipped(reference, lost=6)),
            synthetic.done(folder, "int8", "openvino", synthetic.flipped(reference, lost=9)),
            synthetic.done(folder, "fp32", "onnxruntime", reference),
        ]

    found, _, _ = run(make)
    bf16, int8, own = (row.accuracy_difference for row in found.rows)
    assert int8.p_holm == pytest.approx(2 * int8.p)
    assert bf16.p_holm == pytest.approx(max(bf16.p, int8.p_holm))
    assert (own.p, own.p_holm) == (1.0, None)
    assert found.rows[0].mcnemar_p == pytest.approx(2 / 2**6)
    assert bf16.p >= found.rows[0].mcnemar_p  # some of the six may be of one patient
    assert found.rows[2].auc_difference.finding == "open"  # nothing changed, on too few normal images
    assert found.rows[0].delong_p is not None


def test_a_stated_budget_of_latency_or_size_decides_too(run, synthetic):
    def make(folder, reference):
        return [
            synthetic.done(folder, "int8", "openvino", reference),
            synthetic.undone("fp16", "openvino", "failed", "killed"),
            synthetic.done(folder, "fp32", "onnxruntime", reference),
        ]

    quick, _, _ = run(make)
    late, facts, _ = run(make, "late", CompareConfig(bootstrap=400, latency_ms=1.0))
    heavy, _, _ = run(make, "heavy", CompareConfig(bootstrap=400, engine_mb=1.0))
    assert [row.verdict for row in quick.rows] == ["pass", None, "pass"]
    assert [row.verdict for row in late.rows] == [row.verdict for row in heavy.rows] == ["fail", None, "fail"]
    assert facts["recommended"] is None
    assert late.budgets["latency_ms"] == 1.0
    assert "latency_ms" not in quick.budgets


def test_all_right_and_all_wrong_are_judged(run, synthetic):
    def sure(table, right):
        return synthetic.with_margin(table, np.where(table["label"] == 1, 4.0, -4.0) * (1 if right else -1))

    def make(folder, reference):
        return [
            synthetic.done(folder, "bf16", "openvino", sure(reference, True)),
            synthetic.done(folder, "int8", "openvino", sure(reference, False)),
            synthetic.done(folder, "fp32", "onnxruntime", reference),
        ]

    found, _, _ = run(make)
    best, worst = found.rows[:2]
    assert (best.accuracy, best.auc, worst.accuracy, worst.auc) == (1, 1, 0, 0)
    assert best.accuracy_interval[0] < 1 and worst.accuracy_interval[1] > 0
    for name in ("accuracy_interval", "sensitivity_interval", "specificity_interval", "auc_interval"):
        low, high = getattr(found.details[0].assessment, name)
        assert 0.9 < low < 1 and high == 1, name  # drawing patients alone would say 1 to 1
    assert best.accuracy_difference.finding == "not inferior"
    assert (worst.verdict, worst.accuracy_difference.finding) == ("fail", "inferior")
    assert worst.accuracy_difference.p < 1e-6
    assert worst.ppv == 0 and worst.f1 == 0


@pytest.mark.parametrize("images", [4, 6, 10])
def test_a_handful_of_images_shows_nothing_and_breaks_nothing(tmp_path, synthetic, images):
    folder, reference = tmp_path / "tiny", synthetic.answers(60).groupby("label").head(images // 2)
    reference = reference.sort_values("file", ignore_index=True)
    branch = synthetic.done(folder, "int8", "openvino", synthetic.noisy(reference, 0.01))
    given = synthetic.inputs(folder, reference, [branch, synthetic.done(folder, "fp32", "onnxruntime", reference)])
    assert compare(**given, config=CONFIG)["verdicts"] == {"int8@openvino": "inconclusive", "fp32@onnxruntime": "pass"}
