"""Which files of a folder are images, and which label and split their place gives them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cxr_core.data.columns import LABELS, SPLITS
from cxr_core.data.litter import data_root, walk
from cxr_core.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".jpe", ".png", ".dcm", ".dicom"})


@dataclass(frozen=True)
class Placed:
    """A file that its place labels. ``file`` is relative to the given folder; ``split`` is empty in the flat layout."""

    file: str
    label: str
    split: str


@dataclass(frozen=True)
class Layout:
    """What lies where. ``unlabelled``: images outside any label folder; ``ignored``: how many documents."""

    kind: str
    root: Path
    placed: tuple[Placed, ...]
    unlabelled: tuple[str, ...]
    litter: int
    ignored: int
    nested_copy: int

    @property
    def published(self) -> bool:
        """Whether the folders prescribe a split."""
        return self.kind == "published"


def read_layout(folder: Path) -> Layout:
    """Sort the files below ``folder`` by where they lie.

    Folder names are taken in any case. The published zip holds the whole set a second time in an
    inner ``chest_xray``; that copy is counted and left alone.

    Raises:
        DataError: the folder is missing or empty, or has no folder named after a split or label.
    """
    if not folder.is_dir():
        raise DataError(
            f"expected a folder of radiographs at {folder}, found "
            f"{'a file' if folder.exists() else 'nothing'}; data/README.md says how to place them"
        )
    found = walk(folder)
    if not found.files:
        raise DataError(
            f"expected radiographs in {folder}, found no file ({len(found.litter)} of litter); "
            "data/README.md says how to place them"
        )
    root = data_root(folder)
    published = any(p.is_dir() and p.name.lower() in SPLITS for p in root.iterdir())
    above = "" if root == folder else root.relative_to(folder).as_posix() + "/"
    placed, unlabelled, ignored, copies = _sort(found.files, above, published)
    return Layout(
        "published" if published else "flat", root, tuple(placed), tuple(unlabelled), len(found.litter), ignored, copies
    )


def _sort(files: Iterable[str], above: str, published: bool) -> tuple[list[Placed], list[str], int, int]:
    placed: list[Placed] = []
    unlabelled: list[str] = []
    ignored = copies = 0
    for file in files:
        folders = PurePosixPath(file.removeprefix(above)).parts[:-1] if file.startswith(above) else ()
        place = _place(folders, published)
        if published and folders and folders[0].lower() == "chest_xray":
            copies += 1
        elif place:
            placed.append(Placed(file, *place))
        elif _looks_like_image(file) or (published and folders and folders[0].lower() in SPLITS):
            unlabelled.append(file)
        else:
            ignored += 1
    return placed, unlabelled, ignored, copies


def _place(folders: tuple[str, ...], published: bool) -> tuple[str, str] | None:
    """Label and split that the folders give."""
    split = ""
    if published:
        if not folders or folders[0].lower() not in SPLITS:
            return None
        split, folders = folders[0].lower(), folders[1:]
    if not folders or folders[0].upper() not in LABELS:
        return None
    return folders[0].upper(), split


def _looks_like_image(file: str) -> bool:
    return PurePosixPath(file).suffix.lower() in IMAGE_SUFFIXES
