"""The three things that people do, done in a real browser: trigger the flow, look after the nightly, retry a branch."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Place
from tests.serving import DOUBLES, Served, serving, until, with_doubles
from tests.ui.browser import Ui


@pytest.fixture
def fault(tmp_path: Path) -> Path:
    """What the test double does wrong; a test heals it by emptying the file."""
    file = tmp_path / "fault"
    file.write_text("")
    return file


@pytest.fixture
def served(copied: Callable[[], Place], fault: Path) -> Iterator[Served]:
    with serving(copied(), **with_doubles(f"@{fault}")) as up:
        yield up


def _form(ui: Ui, served: Served) -> None:
    ui.open(f"{served.address}/deployments/deployment/{served.deployment('full/full')['id']}/run")
    ui.field("rebuild").get_by_text("nothing", exact=True).first.wait_for()  # the form has taken its defaults
    ui.page.wait_for_load_state("networkidle")


def _submit(ui: Ui) -> Any:
    """Press Submit; the server's answer to the run that the form asks for."""
    return ui.answer(lambda: ui.press("Submit"), "/create_flow_run$")


def _confirmed(ui: Ui, button: str, question: str) -> None:
    """Press a button of a run's page, and the one of the question that follows."""

    def act() -> None:
        ui.press(button)
        ui.confirm(question)

    answer = ui.answer(act, "/set_state$")
    assert answer.ok, answer.text()


def _submitted(ui: Ui) -> str:
    """Press Submit; the id of the run that it made."""
    answer = _submit(ui)
    assert answer.ok, answer.text()
    return str(answer.json()["id"])


def test_the_form_starts_a_run_and_its_page_shows_what_it_found(ui: Ui, served: Served) -> None:
    _form(ui, served)
    ui.shoot("form")
    ui.choose("profile", "smoke")
    run_id = _submitted(ui)
    given = served.call(f"/flow_runs/{run_id}")["parameters"]
    assert {name: value for name, value in given.items() if value not in (None, [], {})} == {
        "profile": "smoke",
        "rebuild": "nothing",
    }
    assert served.ended(run_id)["type"] == "COMPLETED"
    # Untouched but for the profile, it is exactly the profile: every stage was there from `cxr run --profile smoke`.
    assert served.executed_by_store(run_id) == []
    assert served.executed_by_prefect(run_id) == []
    ui.open(f"{served.address}/runs/flow-run/{run_id}")
    ui.sees("Completed")
    ui.sees(served.call(f"/flow_runs/{run_id}")["name"])
    ui.shoot("run")
    _artifacts(ui, served, run_id)


def _artifacts(ui: Ui, served: Served, run_id: str) -> None:
    found = served.call("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
    by_key = {artifact["key"]: artifact for artifact in found}
    ui.open(f"{served.address}/artifacts/artifact/{by_key['decision-table']['id']}")
    ui.sees("int8")
    ui.sees("verdict")
    ui.shoot("table")
    ui.open(f"{served.address}/artifacts/artifact/{by_key['plot-roc']['id']}")
    drawn = (
        "() => [...document.images].some(image => image.src.startsWith('data:image/png') && image.naturalWidth > 99)"
    )
    ui.page.wait_for_function(drawn)
    ui.open(f"{served.address}/artifacts/artifact/{by_key['report']['id']}")
    link = ui.page.get_by_role("link", name="The report")
    ui.open(link.get_attribute("href"))
    ui.sees("Decision table")


@pytest.mark.slow
def test_a_wrong_value_is_refused_in_the_form(ui: Ui, served: Served) -> None:
    _form(ui, served)
    ui.page.get_by_text("change", exact=True).first.click()  # unfold the overrides, and in them a section
    ui.page.get_by_text("change", exact=True).nth(1 + _section("train")).click()
    ui.field("Images").locator("input").first.fill("-5")
    answer = _submit(ui)
    assert answer.status == 409, answer.text()
    ui.sees("minimum")
    ui.shoot("refused")


def _section(name: str) -> int:
    from cxr_core.config import Profile

    sections = [field for field, info in Profile.model_fields.items() if hasattr(info.annotation, "model_fields")]
    return sections.index(name)


@pytest.mark.slow
def test_a_failed_branch_is_seen_and_retried_alone(ui: Ui, served: Served, fault: Path) -> None:
    fault.write_text("error:int8")
    _form(ui, served)
    ui.write("profile_file", str(DOUBLES / "doubles.yaml"))
    ui.write("data", "phantom")
    run_id = _submitted(ui)
    assert served.ended(run_id)["type"] == "FAILED"
    ui.open(f"{served.address}/runs/flow-run/{run_id}")
    ui.sees("Failed")
    ui.sees("engine int8@fake")
    ui.shoot("failed")

    fault.write_text("")
    _confirmed(ui, "Retry", "Retry")
    until(lambda: served.state(run_id)["type"] != "FAILED", 30, "the retry")
    assert served.ended(run_id)["type"] == "COMPLETED"
    ui.sees("Completed")
    ui.shoot("retried")
    redone = ["accuracy[int8@fake]", "benchmark[int8@fake]", "compare", "engine[int8@fake]", "report"]
    assert served.executed_by_store(run_id) == redone


@pytest.mark.slow
def test_the_nightly_is_paused_and_resumed(ui: Ui, served: Served) -> None:
    nightly = served.deployment("full/nightly")["id"]

    def active() -> dict[str, Any]:
        return {row["slug"]: row["active"] for row in served.call(f"/deployments/{nightly}/schedules")}

    assert active() == {"nightly": True, "weekly": True}
    ui.open(f"{served.address}/deployments/deployment/{nightly}")
    card = ui.page.locator(".deployment-schedule-card").filter(has_text="weekly")
    switch = card.locator(".p-toggle__control")
    switch.wait_for()
    ui.shoot("schedule")
    assert ui.answer(switch.click, f"{nightly}/schedules/").ok
    until(lambda: active() == {"nightly": True, "weekly": False}, 20, "a paused schedule")
    ui.page.reload()
    assert ui.answer(switch.click, f"{nightly}/schedules/").ok
    until(lambda: all(active().values()), 20, "all schedules active")
    assert all(row["active"] for row in served.place.json("schedule"))


@pytest.mark.slow
def test_a_run_is_cancelled_and_its_build_is_gone(ui: Ui, served: Served, fault: Path) -> None:
    fault.write_text("hang:int8")
    run_id = served.start(
        "full/full",
        profile_file=str(DOUBLES / "doubles.yaml"),
        data="phantom",
        overrides={"engine": {"time_limit_seconds": 600}},
    )

    def building() -> list[Path]:
        return list(served.place.store.glob("tmp/engine-*"))

    until(building, 240, "the build")
    ui.open(f"{served.address}/runs/flow-run/{run_id}")
    _confirmed(ui, "Cancel", "Confirm")
    until(lambda: not served.place.processes("cxr_core.child"), 60, "the child's end")
    assert served.ended(run_id)["type"] == "CANCELLED"
    fault.write_text("")
    again = served.start("full/full", profile_file=str(DOUBLES / "doubles.yaml"), data="phantom")
    assert served.ended(again)["type"] == "COMPLETED"
    assert served.place.json("store", "verify")["new_damage"] == []
