"""The automations that ``cxr serve`` keeps on the server: what happens without anybody looking."""

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from cxr_core.errors import UsageError
from flows.settings import HEARTBEAT_SECONDS

LOST_VERDICT = "cxr.verdict.lost"
"""Emitted by a run for each branch that passed in the run before and does not now."""

_SILENCE = timedelta(seconds=3 * HEARTBEAT_SECONDS)
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")


def automate(client: SyncPrefectClient, notify: str | None) -> None:
    """Register, or bring up to date, every automation. Paused ones stay paused.

    Args:
        notify: ``TYPE/NAME`` of a notification block that is on the server; None leaves notifications as they are.

    Raises:
        UsageError: no such block; the message says how to make one.
    """
    wanted = [_silent_run_has_crashed()]
    if notify:
        block = _block(client, notify)
        wanted += [_tell_of_failed_nightly(block), _tell_of_lost_verdict(block)]
    for automation in wanted:
        there = client.read_automations_by_name(automation.name)
        if there:
            automation.enabled = there[0].enabled
            client.update_automation(there[0].id, automation)
        else:
            client.create_automation(automation)


def _block(client: SyncPrefectClient, notify: str) -> SendNotification:
    kind, _, name = notify.partition("/")
    try:
        document = client.read_block_document_by_name(name, kind)
    except ObjectNotFound as error:
        raise UsageError(
            f"--notify {notify}: the server has no such block; make one in its UI under Blocks (Slack, e-mail, "
            "webhook ...) and name it here as TYPE/NAME, such as slack-webhook/ops"
        ) from error
    return SendNotification(block_document_id=document.id, subject="", body="")


def _silent_run_has_crashed() -> AutomationCore:
    """A worker that was killed leaves its run Running for ever; nobody else would say that it is gone."""
    return AutomationCore(
        name="cxr: a run without heartbeat has crashed",
        description="Its process or its worker is gone; Retry goes on from the last finished stage.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in _ENDS)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=_SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message="no heartbeat for 90 s: its process is gone. Retry goes on from the last finished stage.",
            )
        ],
    )


def _tell_of_failed_nightly(block: SendNotification) -> AutomationCore:
    tagged = {"prefect.resource.id": ["prefect.tag.nightly"], "prefect.resource.role": ["tag"]}
    return AutomationCore(
        name="cxr: tell of a failed nightly",
        trigger=_each({"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}, "prefect.flow-run.*", tagged),
        actions=[
            _message(
                block,
                "cxr nightly {{ flow_run.name }} {{ flow_run.state.name }}",
                "{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
            )
        ],
    )


def _tell_of_lost_verdict(block: SendNotification) -> AutomationCore:
    return AutomationCore(
        name="cxr: tell of a lost verdict",
        trigger=_each({LOST_VERDICT}, "cxr.branch.*", {}),
        actions=[
            _message(
                block,
                "cxr: {{ event.payload.branch }} no longer passes",
                "pass -> {{ event.payload.verdict }}: {{ event.payload.reason }}",
            )
        ],
    )


def _each(events: set[str], resource: str, related: dict[str, list[str]]) -> EventTrigger:
    """Fires at each such event of such a resource."""
    return EventTrigger(
        expect=events,
        match=ResourceSpecification({"prefect.resource.id": [resource]}),
        match_related=ResourceSpecification(related),
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
    )


def _message(block: SendNotification, subject: str, body: str) -> SendNotification:
    return block.model_copy(update={"subject": subject, "body": body})
