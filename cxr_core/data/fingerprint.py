"""The digest of a folder's content, taken anew on every run: time stamps prove nothing."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cxr_core.data.litter import walk
from cxr_core.errors import DataError
from cxr_core.progress import Progress, silent
from cxr_core.refs import Digest, Frozen

_THREADS = min(8, 2 * (os.cpu_count() or 1))  # some wait for the disk while others hash
_PORTION = 64  # files a task: small enough for smooth progress, large enough to cost nothing
_WHOLE = 4 << 20  # bytes up to which a file is read in one go


class Fingerprint(Frozen):
    """``digest`` over the sorted (relative path, sha256) of all files that are no litter; ``bytes`` is their sum."""

    digest: Digest
    files: int
    bytes: int


def fingerprint(folder: Path, *, progress: Progress = silent) -> Fingerprint:
    """Read and hash every file below ``folder``, in parallel (hashing frees the interpreter).

    Raises:
        DataError: the folder is missing, a file cannot be read, or there is no file at all.
    """
    files = walk(folder).files
    if not files:
        raise DataError(f"expected radiographs in {folder}, found no file; data/README.md says how to place them")
    portions = [files[i : i + _PORTION] for i in range(0, len(files), _PORTION)]
    whole = hashlib.sha256()
    total = done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for portion, hashed in zip(portions, pool.map(lambda p: _hash_all(folder, p), portions), strict=True):
            for name, (digest, size) in zip(portion, hashed, strict=True):
                whole.update(os.fsencode(name) + b"\0" + digest.encode() + b"\n")
                total += size
            done += len(portion)
            progress(done, len(files), "fingerprint")
    return Fingerprint(digest=f"sha256:{whole.hexdigest()}", files=len(files), bytes=total)


def _hash_all(folder: Path, names: Sequence[str]) -> list[tuple[str, int]]:
    return [_hash(os.path.join(folder, name)) for name in names]  # noqa: PTH118 (ten times cheaper than Path)


def _hash(path: str) -> tuple[str, int]:
    if not os.path.isfile(path):  # noqa: PTH113 (as above); a dangling link or a pipe: named, not opened
        return "not-a-regular-file", 0
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (as above)
            size = os.fstat(file.fileno()).st_size
            if size > _WHOLE:
                return hashlib.file_digest(file, "sha256").hexdigest(), size
            content = file.read()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; mend its permissions or remove it") from error
    return hashlib.sha256(content).hexdigest(), len(content)
