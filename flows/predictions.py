"""How the answers of ``cxr predict`` are written: lines for a person, one JSON document, a CSV file.

Each takes one answer at a time and keeps none in memory.
"""

import csv
import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from errno import EISDIR
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Self

from cxr_core.errors import UsageError
from cxr_core.prediction.answers import Answer, Status
from cxr_core.release.contents import NOTICE
from flows.showing import output

COLUMNS = (
    "file", "status", "label", "probability", "interval_low", "interval_high", "interval_images", "reason", "model",
    "notice",
)  # fmt: skip
PHANTOM = "PHANTOM MODEL: it has learned from generated pictures; no answer is about a patient."
_DIGITS = 6
_LISTS = {Status.LABELLED: "predictions", Status.OUT_OF_SCOPE: "out_of_scope", Status.REFUSED: "errors"}


class Writer(ABC):
    """A context manager: leaving it closes what it has open."""

    @abstractmethod
    def write(self, answer: Answer) -> None:
        """One more answer."""

    @abstractmethod
    def end(self, counts: Mapping[str, int]) -> None:
        """There are no more: ``counts`` by status."""

    def close(self) -> None:  # noqa: B027  most have nothing open
        """Whether it came to an end or not."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Lines(Writer):
    """For a person. Without ``each`` only what there is to say of all."""

    def __init__(self, about: Mapping[str, Any], *, each: bool) -> None:
        self._about, self._each = about, each

    def write(self, answer: Answer) -> None:
        """One line."""
        if not self._each:
            return
        if answer.probability is None:
            _say(f"{answer.status:<12} {'':20} {answer.file}: {answer.reason}")
            return
        share = f"[{answer.share.low:.2f}, {answer.share.high:.2f}]" if answer.share else ""
        _say(f"{answer.label:<12} {answer.probability:.3f} {share:<14} {answer.file}")

    def end(self, counts: Mapping[str, int]) -> None:
        """What the figures mean, and of which model they are."""
        about = self._about
        _say(", ".join(f"{count:,} {status}" for status, count in counts.items()))
        _say(f"model: {about['model']} ({about['digest'][:19]}); {about['proof']}")
        if release := about["release"]:
            forced = ", PROMOTED BY FORCE" if release["forced"] else ""
            branch = f"{release['precision']} on {release['backend']}"
            _say(f"release: {branch}, {release['verdict']}{forced}; the answers are its FP32 graph's, not its engine's")
        _say(f"the number is the calibrated probability of PNEUMONIA, which it is from {about['threshold']:.3f} on")
        _say(f"interval: {about['interval']}")
        if not about["scope"]["checked"]:
            _say(f"scope: not checked, {about['scope']['reason']}")
        if about["phantom"]:
            output.print(f"[bold]{PHANTOM}[/]", highlight=False, soft_wrap=True)
        _say(NOTICE)


class Document(Writer):
    """One JSON document on standard output. It is put there whole at the end, so that there is never half of one."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self._about = about
        self._lists: dict[Status, IO[str]] = {status: TemporaryFile("w+", encoding="utf-8") for status in Status}  # noqa: SIM115
        self._counts = dict.fromkeys(Status, 0)

    def write(self, answer: Answer) -> None:
        """Into the list of its status."""
        row: dict[str, Any] = {"file": answer.file}
        if answer.probability is None:
            row["reason" if answer.status is Status.OUT_OF_SCOPE else "error"] = answer.reason
        else:
            share = answer.share
            row |= {
                "label": answer.label,
                "probability": round(answer.probability, _DIGITS),
                "interval": [round(share.low, _DIGITS), round(share.high, _DIGITS)] if share else None,
                "interval_images": share.images if share else None,
            }
        self._lists[answer.status].write((",\n  " if self._counts[answer.status] else "\n  ") + json.dumps(row))
        self._counts[answer.status] += 1

    def end(self, counts: Mapping[str, int]) -> None:
        """Print it."""
        head = json.dumps({**self._about, "counts": dict(counts)}, indent=1)
        sys.stdout.write(head.removesuffix("\n}"))
        for status, kept in self._lists.items():
            kept.seek(0)
            sys.stdout.write(f',\n "{_LISTS[status]}": [')
            shutil.copyfileobj(kept, sys.stdout)
            sys.stdout.write("\n ]" if self._counts[status] else "]")
        sys.stdout.write("\n}\n")

    def close(self) -> None:
        """The lists' files go with it."""
        for kept in self._lists.values():
            kept.close()


class Table(Writer):
    """A CSV file, one row a file. It has its name once it is whole; a row is on disk as FILE.part before."""

    def __init__(self, about: Mapping[str, Any], file: Path) -> None:
        self._of_all = about["digest"], f"{PHANTOM + ' ' if about['phantom'] else ''}{NOTICE}"
        self._file, self._part = file, file.with_name(f"{file.name}.part")
        try:
            if file.is_dir():
                raise IsADirectoryError(EISDIR, "it is a folder")
            self._open = self._part.open("w", newline="", encoding="utf-8", buffering=1)
        except OSError as error:
            raise self._unwritable(error) from error
        self._rows = csv.writer(self._open, lineterminator="\n")
        self._row(COLUMNS)

    def write(self, answer: Answer) -> None:
        """One row; what a file has none of is empty."""
        share = answer.share
        self._row(
            (
                answer.file,
                answer.status,
                answer.label or "",
                "" if answer.probability is None else f"{answer.probability:.{_DIGITS}f}",
                f"{share.low:.{_DIGITS}f}" if share else "",
                f"{share.high:.{_DIGITS}f}" if share else "",
                share.images if share else "",
                answer.reason,
                *self._of_all,
            )
        )

    def end(self, counts: Mapping[str, int]) -> None:
        """Give it its name."""
        try:
            self._open.close()
            self._part.replace(self._file)
        except OSError as error:
            raise self._unwritable(error) from error

    def _row(self, cells: tuple[object, ...]) -> None:
        try:
            self._rows.writerow(cells)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(f"--csv {self._file} cannot be written: {error.strerror or error}; name another place")

    def close(self) -> None:
        """What is there of it stays as FILE.part."""
        self._open.close()


def _say(text: str) -> None:
    """One line, whatever is in it: a file's name may hold line ends, and codes that a terminal obeys."""
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    output.print(text, markup=False, highlight=False, soft_wrap=True)
