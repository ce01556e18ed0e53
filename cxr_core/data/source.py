"""Which folder of radiographs a run takes, and how it was found."""

import os
from pathlib import Path

from cxr_core.errors import DataError
from cxr_core.refs import Frozen

VARIABLE = "CXR_DATA"
PLACES = ("data/chest_xray", "../shared/data/chest_xray_224")


class DataSource(Frozen):
    """A folder and a few words on how it was found."""

    path: Path
    how: str


def find_data(explicit: Path | None, root: Path) -> DataSource | None:
    """The data folder: the one asked for, else ``CXR_DATA``, else a usual place below or beside ``root``.

    None means that there is no real data at hand; the caller then generates phantoms.

    Raises:
        DataError: a folder was named (argument or variable) and is not there. It is never silently
            replaced by another.
    """
    if explicit is not None:
        return DataSource(path=_existing(explicit, "the data folder asked for"), how="asked for")
    named = os.environ.get(VARIABLE)
    if named:
        return DataSource(path=_existing(Path(named), f"the folder in {VARIABLE}"), how=f"from {VARIABLE}")
    for place in PLACES:
        if (root / place).is_dir():
            return DataSource(path=(root / place).resolve(), how=f"found at {place}")
    return None


def _existing(path: Path, what: str) -> Path:
    path = path.expanduser()
    if path.is_dir():
        return path.resolve()
    state = "it is a file" if path.exists() else "there is nothing"
    raise DataError(
        f"{what} is {path}, but {state}; name an existing folder, "
        f"or leave it out to use {' or '.join(PLACES)} or generated phantoms"
    )
