"""Blobs that come from elsewhere under a digest: hashed as they are written, and placed only if they have it."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from cxr_core.errors import DamagedArtifact
from cxr_core.store.blobs import Blobs
from cxr_core.store.disk import fsync_folder, make_folder, temporary, translated, write_all
from cxr_core.store.leases import note
from cxr_core.store.locks import held


def adopt(blobs: Blobs, digest: str, size: int, chunks: Iterable[bytes], unsynced: set[Path]) -> None:
    """Takes ``size`` bytes in as the blob that they claim to be; nothing of them stays if they are not.

    Its folder joins ``unsynced``: see ``settle``.

    Raises:
        DamagedArtifact: other bytes, or another number of them; reading ends with the first chunk that is too much.
        StoreFull: no room.
        StoreError: the store cannot be written.
    """
    layout = blobs.layout
    target = layout.blob(digest)
    with translated(layout.root, "taking in an artifact", size), temporary(layout.tmp) as (descriptor, path):
        found, count = hashlib.sha256(), 0
        for chunk in chunks:
            found.update(chunk)
            count += len(chunk)
            if count > size:
                raise DamagedArtifact(f"expected {size:,} bytes, found more")
            write_all(descriptor, chunk)
        if count != size or f"sha256:{found.hexdigest()}" != digest:
            raise DamagedArtifact(f"expected {size:,} bytes, found {count:,} that are sha256:{found.hexdigest()}")
        os.fchmod(descriptor, 0o444)
        os.fsync(descriptor)
        make_folder(target.parent)
        with held(layout.store_lock, layout.root, shared=True):
            note(layout, "blob", [digest])
            blobs.place(str(path), digest)
            blobs.drop_note(digest)
    unsynced.add(target.parent)


def settle(blobs: Blobs, unsynced: set[Path]) -> None:
    """Makes the names of what was adopted durable. Before it returns, nothing may name it."""
    with translated(blobs.layout.root, "taking in an artifact"):
        for folder in sorted(unsynced):
            fsync_folder(folder)
