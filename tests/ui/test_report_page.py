"""The report's page in a real browser: accessible, answering where it is pointed at, fit for a phone and for paper."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr_core.refs import Precision
from cxr_core.report.document import DataFacts, Failure, RunHeader
from cxr_core.report.report import report
from tests.cxr_core.evaluation import synthetic
from tests.cxr_core.report.test_int8 import searched

pytestmark = pytest.mark.slow

DESKTOP = {"width": 1400, "height": 1000}
PHONE = {"width": 375, "height": 750}
SHEET = {"width": 1032, "height": 703}  # A4 landscape within its margins, 96 dots an inch
KILLED = Failure(stage="engine", precision=Precision.FP16, backend="openvino", message="killed by signal 9")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with everything that a page can show but drift."""
    folder = tmp_path_factory.mktemp("report")
    header = RunHeader(profile="quick", looks_at_test=2, data=DataFacts(source="phantom", counts={"test": 360}))
    report(out=folder, run=header, failures=(KILLED,), int8=searched(), **synthetic.whole_run(folder / "run"))
    return (folder / "report.html").as_uri()


@pytest.fixture
def opened(chromium: Any, address: str) -> Iterator[Any]:
    """A function: the page, opened in a context of those options. It may ask the network for nothing."""
    contexts = []

    def of(viewport: dict[str, int], **options: Any) -> Any:
        contexts.append(chromium.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or problems.append(asked.url))
        page.goto(address)
        assert problems == []
        return page

    yield of
    for context in contexts:
        context.close()


def _faults(page: Any) -> list[str]:
    """What axe-core finds, each with how grave it is and where."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="make install")
    found = axe.Axe().run(page).response
    assert len(found["passes"]) > 15  # it has looked
    return [f"{one['impact']}: {one['id']} at {one['nodes'][0]['target']}" for one in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_fault(opened: Any, viewport: dict[str, int], scheme: str) -> None:
    page = opened(viewport, color_scheme=scheme, bypass_csp=True)  # axe evaluates code of its own
    assert _faults(page) == []


def test_axe_would_find_a_fault(opened: Any) -> None:
    page = opened(DESKTOP, bypass_csp=True)
    page.evaluate("document.querySelector('.case img').removeAttribute('alt')")
    page.evaluate("document.querySelector('.answer').style.color = '#aaa'")
    assert {fault.split(" at ")[0] for fault in _faults(page)} == {"critical: image-alt", "serious: color-contrast"}


def test_a_point_answers_the_mouse_and_the_arrow_keys(opened: Any) -> None:
    page = opened(DESKTOP)
    tip, plot = page.locator(".tip"), page.locator("figure svg").first
    assert tip.is_hidden()
    assert page.locator(".hint title").count() == 0  # else the browser would show a bubble of its own
    plot.locator(".hint").first.hover(force=True)
    assert "times FP32" in tip.inner_text()
    page.mouse.move(1, 1)
    assert tip.is_hidden()
    plot.focus()
    page.keyboard.press("ArrowRight")
    first = tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert first != tip.inner_text()
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_a_point_answers_a_finger_within_the_screen(opened: Any) -> None:
    page = opened(PHONE, has_touch=True, is_mobile=True)
    for plot in page.locator("figure svg").all():
        plot.locator(".hint").last.tap(force=True)
        box = page.locator(".tip").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
        assert box["y"] >= 0


def test_a_phone_scrolls_down_and_never_sideways(opened: Any) -> None:
    page = opened(PHONE, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("getComputedStyle(document.body).fontSize") == "16px"


def _cut(page: Any) -> list[str]:
    """Names of the tables that are wider than their place."""
    names: list[str] = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(t => t.scrollWidth > t.clientWidth).map(t => t.ariaLabel)"
    )
    return names


def test_a_small_desktop_cuts_no_table_but_that_of_all_figures(opened: Any) -> None:
    page = opened({"width": 1280, "height": 900})
    table = page.get_by_role("region", name="Decision table")
    assert table.evaluate("table => table.scrollWidth - table.clientWidth") == 0
    assert _cut(page) == ["Every figure of every engine"]


def test_on_paper_no_table_is_cut_and_it_is_dark_on_white(opened: Any, tmp_path: Path) -> None:
    page = opened(SHEET, color_scheme="dark")
    page.emulate_media(media="print")
    assert _cut(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= SHEET["width"]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
    assert page.pdf(path=str(tmp_path / "report.pdf"), prefer_css_page_size=True).startswith(b"%PDF")
