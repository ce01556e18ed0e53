import base64
import hashlib
import io
import itertools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_core.config import CompareConfig
from cxr_core.errors import DataError
from cxr_core.evaluation.compare import compare
from cxr_core.evaluation.rows import Comparison
from cxr_core.refs import Precision
from cxr_core.report.document import DataFacts, Failure, Report, RunHeader, document
from cxr_core.report.drawing import COLOURS, INK, hint, inline_svg, lay_out, new_figure, style
from cxr_core.report.figures import shift
from cxr_core.report.look import CSS
from cxr_core.report.report import report

PROJECT = Path(__file__).resolve().parents[3]
PUBLISHED = RunHeader(
    profile="quick",
    looks_at_test=3,
    data=DataFacts(
        source="published",
        counts={"train": {"NORMAL": 1122, "PNEUMONIA": 3330}, "test": 522},
        digest="sha256:" + "b" * 64,
    ),
)
PHANTOM = RunHeader(profile="smoke", data=DataFacts(source="phantom"))
KILLED = Failure(
    stage="engine",
    precision=Precision.FP16,
    backend="openvino",
    message="killed by signal 9\nlog line",
    error="BranchError",
)
PLOTS = {
    f"{name}.png" for name in ("accuracy_speed", "calibration", "latency", "robustness", "roc", "shift", "training")
}
PAGES = {"report.html", "report-without-pictures.html"}


@pytest.fixture(scope="session")
def published(run, tmp_path_factory) -> tuple[Report, str, Path]:
    """The report of that run, on published data: document, page, folder."""
    folder = tmp_path_factory.mktemp("published")
    report(out=folder, run=PUBLISHED, **run)
    found = Report.model_validate_json((folder / "report.json").read_bytes())
    return found, (folder / "report.html").read_text(encoding="utf-8"), folder


@pytest.fixture
def written(tmp_path):
    """A function: the report of these arguments, as (document, page, folder)."""

    def of(**arguments):
        facts = report(out=tmp_path, **arguments)
        found = Report.model_validate_json((tmp_path / "report.json").read_bytes())
        assert facts["state"] == found.state
        return found, (tmp_path / "report.html").read_text(encoding="utf-8"), tmp_path

    return of


class _Tags(HTMLParser):
    """Tags that are opened and not closed, or closed in the wrong order; ids; visible text."""

    EMPTY = frozenset({"meta", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open, self.wrong, self.ids, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)


def _parsed(html: str) -> _Tags:
    tags = _Tags()
    tags.feed(html)
    tags.close()
    assert tags.open == []
    assert tags.wrong == []
    return tags


def test_a_whole_run(published):
    found, html, folder = published
    assert {path.name for path in folder.iterdir()} == PLOTS | PAGES | {"report.json", "model-card.md"}
    assert found.state == "completed"
    assert found.looks_at_test == 3
    assert found.recommended is not None
    assert (found.recommended.precision, found.recommended.backend) == ("bf16", "openvino")
    text = " ".join(" ".join(_parsed(html).text).split())
    expected_texts = (
        "Ship BF16 on openvino, 1.80 times as fast as FP32 there.",
        "On onnxruntime it is FP32.",
        "This CPU has no TF32.",
        "from scratch, 2,000 images seen",
        "train 1122 NORMAL + 3330 PNEUMONIA",
        "not a medical device",
        "children of 1 to 5 years from one hospital",
        "144 bare numbers",
        "shortcut: geometry",
        "3 (distinct checkpoints ever evaluated",
        "one image is 0.28 points",
        "bacteria",
        "virus",
        "called PNEUMONIA",
        "70 % int8",
    )
    for expected in expected_texts:
        assert expected in text, expected
    assert "PHANTOM" not in html
    assert "FAKE" not in html


def test_differences_and_what_the_split_can_show_stand_in_page_and_document(published):
    found, html, folder = published
    text = " ".join(" ".join(_parsed(html).text).split())
    int8 = next(row for row in found.rows if row.precision == "int8").accuracy_difference
    assert int8 is not None
    assert f"int8 openvino accuracy {100 * int8.value:+.2f} [{100 * int8.low:+.2f}, {100 * int8.high:+.2f}]" in text
    assert "open shows neither, which is not the same as equal" in text
    assert found.power is not None
    assert [one.figure for one in found.power.by_figure] == ["accuracy", "sensitivity", "specificity"]
    assert f"{found.power.by_figure[0].needed:,}" in text
    assert "The smallest loss that is found with 80 % power" in text
    written = json.loads((folder / "report.json").read_text())
    row = next(row for row in written["rows"] if row["precision"] == "int8")
    for name in ("accuracy", "sensitivity", "specificity", "auc"):
        assert set(row[f"{name}_difference"]) == {"value", "low", "high", "p", "p_holm", "margin", "finding"}


def test_the_shortcut_rows_stand_under_the_models(published):
    _, html, _ = published
    places = [html.index(words) for words in ("model (FP32 reference)", "shortcut: geometry", "shortcut: ridge32")]
    assert places == sorted(places)


def test_the_page_needs_no_network_and_is_whole(published):
    _, html, _ = published
    pictures = re.findall(r'<img src="data:image/png;base64,([A-Za-z0-9+/=]+)"', html)
    assert html.count("<img") == len(pictures) > 12
    markup = re.sub(r"<script>.*?</script>|data:image/png[^\"]*", "", html, flags=re.DOTALL)
    assert not re.search(r"https?:|//[a-z]|url\((?!#)|@import|<script|<link|srcset|\son[a-z]+=", markup)
    tags = _parsed(html)
    assert len(tags.ids) == len(set(tags.ids))
    assert html.count("<svg") == html.count('role="img"') == len(PLOTS)
    assert len(re.findall('<h2 id="', html)) >= html.count('<li><a href="#')
    references = set(re.findall(r'(?:href="|url\()#([^")]+)', html))
    assert references <= set(tags.ids)
    assert references


def test_colours_follow_the_page_and_are_told_by_shape_too(published):
    _, html, _ = published
    dark = CSS[CSS.index("prefers-color-scheme: dark") :]
    for precision in Precision:
        assert f"--{precision}:" in dark
        assert COLOURS[precision] not in re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    for sign in ("\u2713 pass", "\u2717 fail", "\u2013 unsupported"):
        assert sign in html


def test_phantoms_are_told_in_large_letters(run, written):
    found, html, _ = written(run=PHANTOM, comparison=run["comparison"])
    assert found.data is not None
    assert found.data.source == "phantom"
    assert '<div class="banner large">PHANTOM DATA' in html
    assert "<title>PHANTOM" in html


def test_a_double_says_fake(tmp_path_factory, synthetic, written):
    folder, reference = tmp_path_factory.mktemp("fake"), synthetic.answers(120)
    inputs = synthetic.inputs(folder, reference, [synthetic.done(folder, "fp32", "double", reference, fake=True)])
    compare(**inputs, config=CompareConfig(bootstrap=200))
    found, html, _ = written(run=PUBLISHED, comparison=inputs["out"] / "comparison.json")
    assert (found.rows[0].device, found.recommended) == ("FAKE A CPU", None)
    assert '<div class="banner large">FAKE' in html
    assert "double FAKE" in html
    assert "No precision can be recommended." in html


def test_a_failed_branch_is_a_row_and_the_state_is_failed(run, written):
    found, html, _ = written(run=PUBLISHED, failures=(KILLED,), comparison=run["comparison"])
    assert found.state == "failed"
    row = found.rows[-1]
    assert (row.precision, row.backend, row.verdict, row.accuracy) == ("fp16", "openvino", None, None)
    assert row.reason == "engine: killed by signal 9\nlog line"
    assert "1 of 6 branches broke" in html
    assert "! error" in html
    assert found.recommended is not None


def test_a_failure_that_has_a_row_gets_no_second_one(run):
    failure = KILLED.model_copy(update={"precision": Precision.INT8})
    compared = Comparison.model_validate_json(run["comparison"].read_bytes())
    found = document(PUBLISHED, compared, None, {}, (failure, KILLED, KILLED))
    branches = [f"{row.precision}@{row.backend}" for row in found.rows]
    assert (branches.count("int8@openvino"), branches.count("fp16@openvino"), len(branches)) == (1, 1, 6)


def test_without_a_comparison_the_report_says_what_stopped_the_run(run, written):
    gate = Failure(stage="parity", message="largest difference 0.3, 1e-5 allowed")
    found, html, folder = written(run=PHANTOM, checkpoint=run["checkpoint"], failures=(gate,))
    assert (found.state, found.rows, found.reference) == ("failed", (), None)
    assert "Stage parity failed: largest difference 0.3, 1e-5 allowed" in html
    assert "not compared" in html
    assert {path.name for path in folder.iterdir()} == PAGES | {"report.json", "model-card.md", "training.png"}
    _parsed(html)


def test_with_nothing_at_all_there_is_still_a_report(written):
    found, html, _ = written(
        run=RunHeader(profile="quick"), failures=(Failure(stage="ingest", message="no such folder"),)
    )
    assert found.data is None
    assert "Stage ingest failed: no such folder" in html
    _parsed(html)


def test_a_message_is_text_and_never_markup(written):
    _, html, _ = written(
        run=RunHeader(profile="quick"), failures=(Failure(stage="ingest", message="<script>alert(1)</script>"),)
    )
    assert "<script>alert" not in html
    assert html.count("<script>") == 1
    assert "&lt;script&gt;alert" in html


def test_the_one_script_is_the_one_that_the_policy_allows(published):
    _, html, _ = published
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (allowed,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert f"script-src &#39;sha256-{digest}&#39;" in allowed
    assert allowed.startswith("default-src &#39;none&#39;")


def test_every_plot_answers_where_it_is_pointed_at(published):
    found, html, _ = published
    for svg in re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL):
        width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
        hints = re.findall(r'class="hint" cx="([-\d.]+)" cy="([-\d.]+)" r="5"><title>([^<]+)</title>', svg)
        assert hints
        assert all(0 <= float(x) <= width and 0 <= float(y) <= height for x, y, _ in hints)
    ratio = next(row for row in found.rows if row.precision == "int8").ratio_to_reference
    assert f"int8 openvino: {ratio.value:.2f} times FP32 [{ratio.low:.2f}, {ratio.high:.2f}]" in html


@pytest.mark.parametrize(("factor", "edge"), [(1, 1), (0.1, 0.1), (0.01, 0.01), (1e-4, 1e-3), (0, 1e-3)])
def test_the_shifts_are_drawn_between_two_labelled_powers_of_ten(run, factor, edge):
    comparison = Comparison.model_validate_json(run["comparison"].read_bytes())
    scaled = [
        one.model_copy(
            update={"paired": one.paired.model_copy(update={"shift": tuple(factor * x for x in one.paired.shift)})}
        )
        for one in comparison.details
        if one.paired
    ]
    with style():
        figure = shift(comparison.model_copy(update={"details": tuple(scaled)}))
        lay_out(figure)
        (axes,) = figure.axes
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert max(abs(end) for one in scaled for end in one.paired.shift) <= edge
    assert axes.get_xlim() == (-edge, edge)
    assert {-edge, 0, edge} <= set(axes.get_xticks())
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_hint_lies_on_its_point():
    with style():
        figure, axes = new_figure()
        axes.plot([0, 10], [0, 1], "o", color=INK, gid="points")
        hint(axes, 10, 1, "<the last>")
        svg = inline_svg(figure, "plot", "A plot")
    x, y, text = re.search(r'class="hint" cx="([\d.]+)" cy="([\d.]+)" r="5"><title>(.*?)</title>', svg).groups()
    points = re.search(r'id="plot-points".*?</g>\s*</g>', svg, flags=re.DOTALL).group()
    drawn = [(float(a), float(b)) for a, b in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', points)]
    assert text == "&lt;the last&gt;"
    assert (float(x), float(y)) == pytest.approx(drawn[-1], abs=0.1)


def test_images_on_which_engines_disagree_are_shown_with_who_says_what(run, published):
    _, html, _ = published
    compared = Comparison.model_validate_json(run["comparison"].read_bytes())
    text = " ".join(" ".join(_parsed(html).text).split())
    first = compared.disagreements[0]
    assert first.otherwise == ("int8@openvino",)
    assert f"On {compared.disagreeing} of 360 test images at least one engine decides otherwise" in text
    assert f"\u2260 int8 openvino: {first.answers['int8@openvino']:.3f}" in text
    assert f"as the reference: 3 engines {first.file}" in text
    wrong = compared.reference.metrics.confusion
    assert f"wrong on {wrong.false_negative + wrong.false_positive} of 360 test images, the surest first" in text
    images = np.load(run["tensors"] / "images.npy")
    files = pd.read_csv(run["tensors"] / "index.csv")["file"].tolist()
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one))))
        for one in re.findall(r"data:image/png;base64,([^\"]+)", html)
    ]
    assert (shown[0] == images[files.index(first.file)]).all()
    assert [one.ndim for one in shown[:9]] == [2, 3, 3] * 3  # three pictures, each with FP32's map and INT8's
    assert all(one.ndim == 2 for one in shown[9:])
    assert "<span>fp32</span>" in html
    assert "<span>int8</span>" in html


def test_a_page_to_give_away_holds_no_radiograph_and_no_name_of_one(published):
    _, html, folder = published
    other = (folder / "report-without-pictures.html").read_text(encoding="utf-8")
    assert ".jpeg" in html
    assert not re.search(r"<img|data:image/png|\.jpeg", other)
    assert "This copy of the report holds no radiograph." in other
    _parsed(other)


def test_pictures_of_other_images_are_refused(run, tmp_path, synthetic):
    other = synthetic.tensors(tmp_path, synthetic.answers(30, seed=9))
    with pytest.raises(DataError, match="which was scored; mend"):
        report(run=PUBLISHED, out=tmp_path, comparison=run["comparison"], tensors=other)


def test_a_run_in_which_nothing_differs_says_so(tmp_path_factory, synthetic, written):
    folder, reference = tmp_path_factory.mktemp("same"), synthetic.answers(120, separation=30)
    inputs = synthetic.inputs(folder, reference, [synthetic.done(folder, "fp32", "onnxruntime", reference)])
    compare(**inputs, config=CompareConfig(bootstrap=200))
    given = {"comparison": inputs["out"] / "comparison.json", "tensors": synthetic.tensors(folder, reference)}
    _, html, _ = written(run=PUBLISHED, **given)
    assert "None: every engine decides as the FP32 reference does on all 120 test images." in html
    assert "None: the reference is right on all 120 test images." in html


def test_a_comparison_from_before_there_were_cases_still_makes_a_report(run, written, tmp_path_factory):
    old = json.loads(run["comparison"].read_text())
    for name in ("disagreeing", "disagreements", "worst"):
        del old[name]
    for detail in old["details"]:
        if detail["paired"]:
            del detail["paired"]["shift"]
    file = tmp_path_factory.mktemp("old") / "comparison.json"
    file.write_text(json.dumps(old))
    _, html, folder = written(run=PUBLISHED, comparison=file, tensors=run["tensors"])
    assert not (folder / "shift.png").exists()
    assert 'id="worst"' not in html
    _parsed(html)


def test_the_same_records_give_the_same_bytes_in_another_process(run, published, tmp_path_factory):
    _, _, folder = published
    again = tmp_path_factory.mktemp("again")
    code = (
        "import sys, json; from pydantic import validate_call;"
        "from cxr_core.report.report import report; validate_call(report)(**json.loads(sys.argv[1]))"
    )
    arguments = {name: str(path) for name, path in run.items()} | {
        "out": str(again),
        "run": PUBLISHED.model_dump(mode="json"),
    }
    subprocess.run([sys.executable, "-c", code, json.dumps(arguments)], check=True)
    for path in folder.iterdir():
        content = path.read_bytes()
        assert (again / path.name).read_bytes() == content, path.name
        assert str(again.parent).encode() not in content


def test_pictures_hold_no_date_and_no_version(published):
    _, _, folder = published
    for name in PLOTS:
        with Image.open(folder / name) as image:
            assert set(image.info) <= {"dpi"}
            assert image.width > 800
            assert len(image.convert("L").getcolors(10_000)) > 20  # something is drawn


def test_the_published_schema_describes_the_document(published):
    _, _, folder = published
    schema = json.loads((PROJECT / "docs" / "schemas" / "report.schema.json").read_text())
    content = json.loads((folder / "report.json").read_text())
    jsonschema.validate(content, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "rows": [{"precision": "fp64"}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "more": 1}, schema)


@pytest.mark.parametrize(
    ("argument", "content", "words"),
    [
        ("comparison", "{}", "what the stage compare writes expected"),
        ("comparison", "no json", "mend: run compare again"),
        ("checkpoint", "{}", "a checkpoint expected, but model: Field required"),
        ("parity", "[1]", "a JSON object expected"),
        ("occlusion", "{}", "what the stage occlusion writes expected"),
        ("robustness", "{}", "mend: run robustness again"),
    ],
)
def test_unreadable_inputs_are_refused(tmp_path, argument, content, words):
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "checkpoint.json").write_text(content)
    given = folder if argument == "checkpoint" else folder / "checkpoint.json"
    with pytest.raises(DataError, match=words):
        report(run=PUBLISHED, out=tmp_path, **{argument: given})


def test_pretrained_weights_are_named(run, written, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    known = json.loads((run["checkpoint"] / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps({**known, "pretrained": "hub"}))
    found, html, _ = written(run=PUBLISHED, comparison=run["comparison"], checkpoint=folder)
    assert "pretrained weights: hub" in html
    assert "from scratch" not in html
    assert found.model is not None
    assert found.model.pretrained == "hub"
