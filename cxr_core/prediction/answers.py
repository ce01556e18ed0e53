"""File by file: an answer, out of scope, or why it cannot be read. No file stops the others."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cxr_core.data.decode import read_picture
from cxr_core.data.layout import IMAGE_SUFFIXES
from cxr_core.data.litter import walk
from cxr_core.data.refusal import ImageRefused
from cxr_core.data.scope import why_out_of_scope
from cxr_core.errors import CxrError, UsageError
from cxr_core.prediction.agreement import Agreement, Share
from cxr_core.prediction.model import Model


class Status(StrEnum):
    """What became of a file."""

    LABELLED = "labelled"
    OUT_OF_SCOPE = "out of scope"
    REFUSED = "refused"


@dataclass(frozen=True)
class Answer:
    """Of one file. ``label`` and ``probability`` of PNEUMONIA if labelled, ``reason`` if not.

    ``file`` is the path as given, in UTF-8 whatever its bytes.
    """

    file: str
    status: Status
    label: str | None = None
    probability: float | None = None
    share: Share | None = None
    reason: str = ""


def answers(files: Iterable[Path], model: Model, agreement: Agreement, *, check_scope: bool) -> Iterator[Answer]:
    """One for each file, in their order; one picture is in memory at a time."""
    for file in files:
        name = _shown(file)
        try:
            yield _answered(file, name, model, agreement, check_scope)
        except ImageRefused as refusal:
            yield Answer(name, Status.REFUSED, reason=str(refusal).removeprefix(f"{refusal.where}: "))
        except CxrError as error:
            yield Answer(name, Status.REFUSED, reason=str(error))
        except MemoryError:
            yield Answer(name, Status.REFUSED, reason="it takes more memory than there is; save it with fewer pixels")
        except Exception as error:  # noqa: BLE001  a decoder that meets foreign bytes must not cost the other files
            yield Answer(name, Status.REFUSED, reason=f"it cannot be decoded: {type(error).__name__} {error}")


def files_at(paths: Iterable[Path]) -> tuple[list[Path], list[Answer]]:
    """Files as named, and of folders whatever is called as an image is; and the folders inside that cannot be read.

    Raises:
        UsageError: nothing is there.
    """
    files: list[Path] = []
    unread: list[OSError] = []
    for path in paths:
        if _is_folder(path):
            names = walk(path, unread.append).files
            files.extend(path / name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES)
        else:
            files.append(path)
    refused = [
        Answer(_shown(error.filename), Status.REFUSED, reason=f"the folder cannot be read ({error.strerror})")
        for error in unread
    ]
    return files, refused


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        # In that order: within a folder that may not be entered, is_symlink raises too.
        if isinstance(error, (FileNotFoundError, NotADirectoryError)) and not path.is_symlink():
            raise UsageError(f"no file or folder at {path}") from error
        return False  # its row will say why


def _shown(path: Path | str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _answered(file: Path, name: str, model: Model, agreement: Agreement, check_scope: bool) -> Answer:
    picture = read_picture(file)
    if check_scope and (reason := why_out_of_scope(picture)):
        return Answer(name, Status.OUT_OF_SCOPE, reason=reason)
    probability = model.probability(picture.image)
    return Answer(name, Status.LABELLED, model.label(probability), probability, agreement.share(probability))
