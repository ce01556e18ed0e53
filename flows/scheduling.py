"""``cxr schedule``: the nightly and the weekly, shown, paused, resumed and set to other times."""

from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule
from rich.table import Table

from cxr_core.errors import UsageError
from flows.answering import answer
from flows.registering import NIGHTLY, schedules
from flows.showing import output


def show(*, as_json: bool) -> None:
    """Every schedule: when, where, whether it is active, what it runs."""
    with get_client(sync_client=True) as client:
        _tell(client, as_json)


def pause(slug: str, *, as_json: bool) -> None:
    """It fires no more until it is resumed, also after a restart of the server."""
    _change(slug, as_json, active=False)


def resume(slug: str, *, as_json: bool) -> None:
    """The opposite of pause."""
    _change(slug, as_json, active=True)


def set_time(slug: str, cron: str | None, time_zone: str | None, *, as_json: bool) -> None:
    """Give a schedule another time.

    Raises:
        UsageError: no such time zone, or no cron line.
    """
    if cron is None and time_zone is None:
        raise UsageError("nothing to set: give --cron, --timezone or both")
    if time_zone is not None:
        _check_zone(time_zone)
    with get_client(sync_client=True) as client:
        before = _named(client, slug).schedule
        line = cron or (before.cron if isinstance(before, CronSchedule) else None)
        if line is None:
            raise UsageError(f"schedule {slug} has no cron line; give one with --cron")
        zone = time_zone or before.timezone or "UTC"  # type: ignore[union-attr]
        try:
            wanted = CronSchedule(cron=line, timezone=zone)
        except ValueError as error:
            raise UsageError(f'--cron {line!r}: five fields are expected, such as "0 2 * * *" for 02:00') from error
        _update(client, slug, schedule=wanted)
        _tell(client, as_json)


def _change(slug: str, as_json: bool, **changes: Any) -> None:
    with get_client(sync_client=True) as client:
        _update(client, slug, **changes)
        _tell(client, as_json)


def _named(client: SyncPrefectClient, slug: str) -> DeploymentSchedule:
    found = {str(schedule.slug): schedule for schedule in schedules(client)}
    if slug not in found:
        raise UsageError(f"no schedule {slug}; there are {', '.join(sorted(found)) or 'none'}")
    return found[slug]


def _update(client: SyncPrefectClient, slug: str, **changes: Any) -> None:
    schedule = _named(client, slug)
    deployment = client.read_deployment_by_name(NIGHTLY)
    # Parameters that are not named again would be dropped.
    given = {"parameters": schedule.parameters, **changes}
    client.update_deployment_schedule(deployment.id, schedule.id, **given)


def _check_zone(name: str) -> None:
    import difflib

    if name in available_timezones():
        ZoneInfo(name)
        return
    near = difflib.get_close_matches(name, sorted(available_timezones()), n=1)
    hint = f"did you mean {near[0]}?" if near else "names are such as Europe/Berlin or UTC"
    raise UsageError(f"--timezone {name}: there is no such time zone; {hint}")


def _tell(client: SyncPrefectClient, as_json: bool) -> None:
    rows = [_plain(schedule) for schedule in schedules(client)]
    if as_json:
        answer(rows)
        return
    table = Table("schedule", "state", "when", "time zone", "runs with")
    for row in rows:
        given = ", ".join(f"{name} {value}" for name, value in row["parameters"].items())
        table.add_row(row["name"], "active" if row["active"] else "paused", row["when"], row["timezone"], given)
    output.print(table)


def _plain(schedule: DeploymentSchedule) -> dict[str, Any]:
    when = schedule.schedule
    return {
        "name": schedule.slug,
        "active": schedule.active,
        "when": when.cron if isinstance(when, CronSchedule) else str(getattr(when, "interval", when)),
        "timezone": getattr(when, "timezone", None) or "UTC",
        "parameters": dict(schedule.parameters),
    }
