"""Files that a person names, read whole."""

import errno
from pathlib import Path
from stat import S_ISDIR, S_ISREG


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: it cannot be read, or is a device or pipe, which may never end.
    """
    mode = path.stat().st_mode
    if not (S_ISREG(mode) or S_ISDIR(mode)):  # that of a folder says so itself
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return path.read_bytes()
