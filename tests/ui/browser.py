"""What a person does in Prefect's UI: open a page, fill the form, press a button, read."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Ui:
    """One page of the browser."""

    page: Any
    screenshots: Path

    def open(self, address: str) -> None:
        self.page.goto(address, wait_until="domcontentloaded")

    def field(self, name: str) -> Any:
        """The form's field with that label."""
        label = self.page.locator(".schema-form-property").filter(
            has=self.page.get_by_text(f"{name} (Optional)", exact=True)
        )
        return label.last if name != "profile" else label.first

    def choose(self, field: str, *options: str) -> None:
        """Pick options of a select field."""
        control = self.field(field).locator("button.p-select-button__control, .p-select-button__control").first
        control.wait_for()
        control.focus()
        self.page.keyboard.press("ArrowDown")
        for option in options:
            self.page.locator(".p-select-option").get_by_text(option, exact=True).click()
        self.page.keyboard.press("Escape")

    def write(self, field: str, text: str) -> None:
        """Fill a text field."""
        self.field(field).locator("textarea, input").first.fill(text)

    def press(self, name: str) -> None:
        """A button with that text."""
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def confirm(self, name: str) -> None:
        """The button of the question that the UI asks before it acts."""
        self.page.locator(".p-modal, .p-modal__dialog").get_by_role("button", name=name, exact=True).last.click()

    def answer(self, act: Callable[[], None], path: str) -> Any:
        """Do something that asks the server for ``path`` (a regular expression); its answer.

        Done again after a 503, as a person would: SQLite was busy, and the page does not ask again by itself.
        """
        for _ in range(5):
            with self.page.expect_response(lambda response: re.search(path, response.url)) as answered:
                act()
            if answered.value.status != 503:
                break
            self.page.wait_for_timeout(2000)
        return answered.value

    def sees(self, text: str, seconds: float = 30) -> None:
        """Wait until the page shows that text."""
        self.page.get_by_text(text).first.wait_for(timeout=seconds * 1000)

    def shoot(self, name: str) -> None:
        """Keep a picture."""
        self.page.wait_for_timeout(1500)  # its fade-ins
        self.page.screenshot(path=str(self.screenshots / f"{name}.png"))
