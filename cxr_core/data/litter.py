"""Walking a folder of radiographs: what is litter, and where in the folder the data set begins."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cxr_core.data.columns import LABELS, SPLITS
from cxr_core.errors import DataError

# What operating systems, archivers and file browsers leave behind without being asked.
_LITTER_FOLDERS = frozenset(
    {
        "__macosx",
        "@eadir",
        ".trash",
        ".trashes",
        ".git",
        ".ipynb_checkpoints",
        "$recycle.bin",
        ".spotlight-v100",
        ".fseventsd",
    }
)
_LITTER_FILES = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory", ".localized"})
_DEEPEST_NESTING = 3


def is_litter(name: str) -> bool:
    """Whether a file or folder of that name is litter (``._x`` is a resource fork written by macOS)."""
    low = name.lower()
    return low.startswith("._") or low in _LITTER_FILES or low in _LITTER_FOLDERS


@dataclass(frozen=True)
class Walk:
    """``files`` and ``litter`` are paths relative to the folder in posix form, sorted."""

    files: tuple[str, ...]
    litter: tuple[str, ...]


def _refuse(error: OSError) -> None:
    raise DataError(
        f"expected a readable folder at {error.filename}, found: {error.strerror}; check the path and its permissions"
    ) from error


def walk(folder: Path, unreadable: Callable[[OSError], None] = _refuse) -> Walk:
    """Every entry below ``folder`` that is no folder. Linked folders are entered, each real one once.

    ``unreadable`` is told of a folder that is missing or may not be read; where it returns, the others are walked.

    Raises:
        DataError: the folder, or one below it, is missing or may not be read.
    """
    files: list[str] = []
    litter: list[str] = []
    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back up would never end
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        prefix = os.path.relpath(here, folder).replace(os.sep, "/") + "/"
        prefix = prefix.removeprefix("./")
        inside = any(is_litter(part) for part in prefix.split("/"))
        for name in names:
            (litter if inside or is_litter(name) else files).append(prefix + name)
    return Walk(tuple(sorted(files)), tuple(sorted(litter)))


def data_root(folder: Path) -> Path:
    """Where the data set begins: ``folder``, or a folder inside, as the published zip nests ``chest_xray/chest_xray``.

    Raises:
        DataError: no folder named after a split or a label was found.
    """
    root = folder
    for _ in range(_DEEPEST_NESTING + 1):
        inside = _folders(root)
        if any(name.lower() in SPLITS for name in inside) or any(name.upper() in LABELS for name in inside):
            return root
        nested = [name for name in inside if name.lower() == "chest_xray"] or inside
        if len(nested) != 1:
            break
        root = root / nested[0]
    raise DataError(
        f"expected train|val|test folders with {'|'.join(LABELS)} in each, or {'|'.join(LABELS)} alone, in {folder}; "
        f"found folders {', '.join(_folders(folder)) or 'none'}; point at the folder that holds them, "
        "data/README.md shows the layout"
    )


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(p.name for p in folder.iterdir() if p.is_dir() and not is_litter(p.name))
    except OSError as error:
        _refuse(error)
        raise AssertionError("unreachable") from error
