"""Runs: one folder each, with ``run.json``. It embeds the records that it names, so a refresh loses it nothing."""

import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cxr_core.errors import DamagedArtifact, UsageError
from cxr_core.store.artifacts import Artifacts
from cxr_core.store.disk import entries, fsync_folder, make_folder, translated
from cxr_core.store.documents import document_from_bytes, read_document, refs_in, write_document
from cxr_core.store.layout import Layout
from cxr_core.store.locks import held

_log = logging.getLogger("cxr.store")


@dataclass(frozen=True)
class Run:
    """A run's account: its id, when it started, and all that was written of it."""

    run_id: str
    started: datetime
    content: dict[str, Any]


@dataclass(frozen=True)
class Runs:
    """The runs of one store."""

    layout: Layout
    artifacts: Artifacts

    def write(self, run_id: str, content: Mapping[str, Any]) -> None:
        """Writes a run's account, over an earlier one of the same run.

        Raises:
            UsageError: no plain id, ``started`` is no ISO time, or not plain JSON.
            StoreError: the store cannot be written.
        """
        path = self.layout.run(run_id) / "run.json"
        if content.get("run_id", run_id) != run_id:
            raise UsageError(f"run {run_id} cannot be written with the account of run {content['run_id']!r}")
        _started(content, run_id)
        with translated(self.layout.root, "writing a run"), held(self.layout.store_lock, self.layout.root, shared=True):
            for ref in refs_in(dict(content)):
                self.artifacts.promise(ref)
            write_document(self.layout, path, {"run_id": run_id, **content}, "writing a run")

    def read(self, run_id: str) -> dict[str, Any]:
        """A run's account; ``latest`` is the run that started last.

        Raises:
            UsageError: no such run; the message names some that are there.
            DamagedArtifact: it is there and unreadable.
        """
        if run_id == "latest":
            newest = self.newest_first()
            if not newest:
                raise UsageError(f"no run in the store at {self.layout.root} yet: start one, or name another store")
            return newest[0].content
        path = self.layout.run(run_id) / "run.json"
        try:
            return read_run(path).content
        except FileNotFoundError:
            known = ", ".join(run.run_id for run in self.newest_first()[:5]) or "none"
            raise UsageError(f"no run {run_id} in the store at {self.layout.root}; newest there: {known}") from None
        except (OSError, ValueError) as error:
            raise DamagedArtifact(
                f"{path} cannot be read ({error}): its artifacts may be whole; `cxr store verify` notes the damage"
            ) from error

    def newest_first(self) -> list[Run]:
        """Every readable run, the last started first; others are skipped with a warning."""
        found = []
        with translated(self.layout.root, "listing runs"):
            run_ids = entries(self.layout.runs)
        for run_id in run_ids:
            path = self.layout.runs / run_id / "run.json"
            try:
                found.append(read_run(path))
            except (FileNotFoundError, NotADirectoryError):
                continue  # a run that has only begun
            except (OSError, ValueError) as error:
                _log.warning("run %s is skipped: %s", path, error)
        return sorted(found, key=lambda run: (run.started, run.run_id), reverse=True)

    def drop(self, run_id: str) -> None:
        """Forgets a run: its account and the files beside it. What only it named goes with the next gc.

        Raises:
            StoreError: the store cannot be written.
        """
        gone = self.layout.tmp / f"run-{run_id}"  # whole or gone; what a kill leaves there, gc sweeps
        with (
            translated(self.layout.root, "forgetting a run"),
            held(self.layout.store_lock, self.layout.root),
            suppress(FileNotFoundError),
        ):
            self.layout.run(run_id).rename(gone)
            fsync_folder(self.layout.runs)
        shutil.rmtree(gone, ignore_errors=True)

    def folder(self, run_id: str) -> Path:
        """The run's folder, made if need be: for what people read, next to its account. Not verified, not collected."""
        folder = self.layout.run(run_id)
        with translated(self.layout.root, "making a run's folder"):
            make_folder(folder)
        return folder


def read_run(path: Path) -> Run:
    """The run in a ``run.json``; its folder's name is its id.

    Raises:
        OSError: it cannot be read.
        ValueError: torn, damaged, foreign, or of another run.
    """
    if path.parent.is_symlink():
        raise ValueError("its folder is a symlink")
    return _run(read_document(path), path.parent.name)


def run_from_bytes(data: bytes, run_id: str) -> Run:
    """The run of that id in the bytes of a ``run.json``.

    Raises:
        ValueError: torn, damaged, foreign, or of another run.
    """
    return _run(document_from_bytes(data), run_id)


def _run(content: dict[str, Any], run_id: str) -> Run:
    if content.get("run_id") != run_id:
        raise ValueError(f"expected the account of run {run_id}, found that of {content.get('run_id')!r}")
    try:
        return Run(run_id, _started(content, run_id), content)
    except UsageError as error:
        raise ValueError(str(error)) from None


def _started(content: Mapping[str, Any], run_id: str) -> datetime:
    value = content.get("started")
    try:
        started = datetime.fromisoformat(str(value))
    except ValueError:
        raise UsageError(f"run {run_id}: expected `started` as an ISO time, found {value!r}") from None
    return started if started.tzinfo else started.replace(tzinfo=UTC)
