"""Debian's Chromium, driven by Playwright. Skipped, with the way to mend it, where either is missing."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ui.browser import Ui

_ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, started once."""
    playwright = pytest.importorskip("playwright.sync_api", reason="make setup-ui installs Playwright")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium on this machine: make setup-ui")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def ui(chromium: Any, tmp_path: Path) -> Iterator[Ui]:
    """A fresh page. What it showed at the end is kept beside the test's files."""
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(30_000)
    made = Ui(page, Path(os.environ.get("CXR_SCREENSHOTS") or tmp_path))
    yield made
    page.screenshot(path=str(tmp_path / "last.png"))
    page.close()
