"""What happens to damage: the bytes go to quarantine, a note stays, and the records that name them are withdrawn."""

import hashlib
import json
import logging
import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import from_json

from cxr_core.store.actions import Actions, record_from_file
from cxr_core.store.artifacts import Artifacts
from cxr_core.store.blobs import Blobs, Fault
from cxr_core.store.disk import entries, fsync_folder, make_folder, read_file, remove, translated, write_atomic
from cxr_core.store.layout import Layout
from cxr_core.store.locks import held
from cxr_core.store.seals import sealed, unsealed

LOST_NOTE = "noted earlier; the note itself was damaged"

_DIGITS = re.compile("[0-9a-f]{64}")
_log = logging.getLogger("cxr.store")


@dataclass(frozen=True)
class Quarantine:
    """The quarantine of one store: ``blobs/`` and ``notes/`` by digest, other files by their room and name."""

    layout: Layout
    blobs: Blobs
    artifacts: Artifacts
    actions: Actions

    def take_blob(self, fault: Fault) -> bool:
        """Moves a damaged blob away; False when it is whole by now or gone, for then there is nothing to move.

        The look and the move are one step towards everybody else: no fresh copy can be taken for the damaged one.

        Raises:
            StoreError: the store cannot be written.
        """
        with (
            translated(self.layout.root, "moving a damaged blob to quarantine"),
            held(self.layout.store_lock, self.layout.root),
        ):
            found = self.blobs.fault(fault.digest, deep=True)
            if found is None or found.kind == "missing":
                return False
            self._write_note(found)
            self._move(self.layout.blob(fault.digest), self.layout.quarantine / "blobs" / fault.digest[7:])
        _log.warning("blob %s is damaged and now in quarantine: %s", fault.digest, found.reason)
        return True

    def take_document(self, path: Path, reason: str) -> None:
        """Moves an unreadable record, run account or pin away, or any file that has no place in the store."""
        relative = path.relative_to(self.layout.root)
        room = relative.parts[0] if relative.parts[0] in ("actions", "runs", "pins") else "foreign"
        name = relative.name if room == "actions" else "_".join(relative.parts[1:])
        if len(name.encode()) > 200:
            name = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
        # What lies in the place of the lock itself is no lock, and nobody can hold it.
        unlocked = path == self.layout.store_lock
        with (
            translated(self.layout.root, "moving a damaged file to quarantine"),
            nullcontext() if unlocked else held(self.layout.store_lock, self.layout.root),
        ):
            self._move(path, self.layout.quarantine / room / name)
        _log.warning("%s is now in quarantine: %s", path, reason)

    def withdraw(self, digests: set[str]) -> list[str]:
        """Moves away every record that needs one of these blobs; their keys. Their stages run again.

        Raises:
            StoreError: the store cannot be read or written.
        """
        with translated(self.layout.root, "withdrawing records"):
            return self._withdrawn(digests)

    def _withdrawn(self, digests: set[str]) -> list[str]:
        found = []
        for key in entries(self.layout.actions):
            path = self.layout.actions / key
            try:
                outputs = record_from_file(path).outputs.values()
            except (OSError, ValueError):
                continue  # no hit in any case; verify deals with it
            if any(digests & self.artifacts.digests(ref) for ref in outputs):
                self.take_document(path, "an output is damaged")
                found.append(key)
        return found

    def note(self, fault: Fault) -> None:
        """Remembers a missing blob, so that it is new damage once only."""
        with translated(self.layout.root, "noting damage"):
            self._write_note(fault)

    def forget(self, digest: str) -> None:
        """Drops the note of a blob that is whole again, or that nobody names any more."""
        with translated(self.layout.root, "dropping a note"):
            remove(self._notes / digest[7:])

    def notes(self) -> dict[str, str]:
        """Reasons by digest of all noted damage."""
        found = {f"sha256:{name}": self._read_note(name) for name in entries(self._notes) if _DIGITS.fullmatch(name)}
        return {digest: reason if broken is None else LOST_NOTE for digest, (reason, broken) in found.items()}

    def damaged_notes(self) -> list[tuple[Path, str]]:
        """Notes that are none, each with why."""
        found = ((self._notes / name, self._read_note(name)[1]) for name in entries(self._notes))
        return [(path, broken) for path, broken in found if broken is not None]

    @property
    def _notes(self) -> Path:
        return self.layout.quarantine / "notes"

    def _read_note(self, name: str) -> tuple[str, str | None]:
        """The reason in a note; and, where it cannot be read, why."""
        try:
            content = from_json(unsealed(read_file(self._notes / name)))
            if content["digest"] != f"sha256:{name}":
                raise ValueError(f"expected the note of sha256:{name}, found that of {content['digest']!r}")
            return str(content["reason"]), None
        except (OSError, ValueError, KeyError, TypeError) as error:
            return "", str(error)

    def _write_note(self, fault: Fault) -> None:
        data = sealed(json.dumps({"digest": fault.digest, "reason": fault.reason}).encode())
        write_atomic(self._notes / fault.digest[7:], data, self.layout.tmp)

    def _move(self, source: Path, target: Path) -> None:
        make_folder(target.parent)
        folders = [path.is_dir() and not path.is_symlink() for path in (source, target)]
        if folders[1] or (folders[0] and target.exists()):  # neither is renamed over the other
            target = target.with_name(f"{target.name}.{len(entries(target.parent))}")
        try:
            source.replace(target)
        except FileNotFoundError:
            return
        fsync_folder(target.parent)
        fsync_folder(source.parent)
