"""``cxr store push`` and ``cxr store pull``: what a store and a mirror of it lack, from the one to the other."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cxr_core.errors import UsageError
from cxr_core.mirror import Choose, Document, Mirror, Report, problem_of
from cxr_core.mirror import pull as pulled
from cxr_core.mirror import push as pushed
from cxr_core.refs import Ref
from cxr_core.store import Store
from flows.answering import answer
from flows.naming import resolve
from flows.runs import records_of
from flows.showing import output, progress_bars
from tasks.mirroring import mirror_url
from tasks.place import current_store

if TYPE_CHECKING:
    from tasks.progress import Reporter


def push(url: str, names: Sequence[str], run_id: str, force: bool, jobs: int, as_json: bool) -> int:
    """Send to the mirror what it lacks; 1 if something was left out."""
    mirror = Mirror.at(url)
    with progress_bars(), _reporter("push") as reporter:
        report = pushed(
            current_store(), mirror, choose=_chosen(names, run_id), force=force, jobs=jobs, progress=reporter.progress
        )
    return _told("pushed", url, report, as_json)


def pull(url: str, names: Sequence[str], run_id: str, force: bool, jobs: int, as_json: bool) -> int:
    """Take from the mirror what this store lacks; 1 if something was left out."""
    mirror = Mirror.at(url)
    with progress_bars(), _reporter("pull") as reporter, current_store().lease("pull"):
        report = pulled(
            current_store(), mirror, choose=_chosen(names, run_id), force=force, jobs=jobs, progress=reporter.progress
        )
    return _told("pulled", url, report, as_json)


def examine() -> dict[str, str | None]:
    """The mirror that workers here read through, and what is wrong with it, for ``cxr doctor``."""
    url = mirror_url()
    if url is None:
        return {"url": None, "problem": None}
    shown = url if "@" not in urlsplit(url).netloc else "(not shown: it has credentials in it)"
    return {"url": shown, "problem": problem_of(url)}


def _chosen(names: Sequence[str], run_id: str) -> Choose | None:
    if not names:
        return None
    return lambda store: set().union(*(_documents(store, name, run_id) for name in names))


def _documents(store: Store, name: str, run_id: str) -> set[Document]:
    """The documents that a name stands for: a run's with its records, a pin, a record, or those that left an artifact.

    Raises:
        UsageError: nothing, or several things, have that name.
    """
    if name == "latest" or any(run.run_id == name for run in store.runs()):
        run = str(store.read_run(name)["run_id"])
        return {Document("runs", run), *(Document("actions", record.key) for record in records_of(run, store))}
    found = resolve(name, run_id, store)
    if found.pin:
        return {Document("pins", found.pin)}
    if found.record:
        return {Document("actions", found.record.key)}
    return _makers(store, found.refs)


def _makers(store: Store, refs: Sequence[Ref]) -> set[Document]:
    digests = {ref.digest for ref in refs}
    records = [*store.records(), *(record for run in store.runs() for record in records_of(run.run_id, store))]
    found = {record.key for record in records if digests & {ref.digest for ref in record.outputs.values()}}
    if not found:
        raise UsageError(f"no record tells how {refs[0].digest} was made: name a run or a pin that has it")
    return {Document("actions", key) for key in found}


def _told(verb: str, url: str, report: Report, as_json: bool) -> int:
    if as_json:
        answer({**dataclasses.asdict(report), "mirror": url})
        return report.exit_code
    rest = f"{len(report.left)} things were left out:" if report.left else "the rest was there"
    output.print(
        f"{verb} {report.blobs:,} blobs, {report.bytes:,} bytes, {report.records} records, {report.runs} runs, "
        f"{report.pins} pins; {rest}",
        highlight=False,
    )
    for left in report.left:
        output.print(f"left out {left.what}: {left.reason}", markup=False, highlight=False, soft_wrap=True)
        output.print(f"  mend: {left.mend}", markup=False, highlight=False, soft_wrap=True)
    return report.exit_code


def _reporter(label: str) -> "Reporter":
    from tasks.progress import Reporter  # brings Prefect

    return Reporter(label)
