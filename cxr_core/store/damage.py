"""What happens to damage: the bytes go to quarantine, a note stays, and the records that name them are withdrawn."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from cxr_core.store.actions import Actions, record_from_file
from cxr_core.store.artifacts import Artifacts
from cxr_core.store.blobs import Blobs, Fault
from cxr_core.store.disk import entries, fsync_folder, make_folder, remove, translated, write_atomic
from cxr_core.store.layout import Layout
from cxr_core.store.locks import held

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
        with (
            translated(self.layout.root, "moving a damaged file to quarantine"),
            held(self.layout.store_lock, self.layout.root),
        ):
            self._move(path, self.layout.quarantine / room / name)
        _log.warning("%s is now in quarantine: %s", path, reason)

    def withdraw(self, digests: set[str]) -> list[str]:
        """Moves away every record that needs one of these blobs; their keys. Their stages run again."""
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
        return {f"sha256:{name}": self._reason(name) for name in entries(self._notes) if len(name) == 64}

    @property
    def _notes(self) -> Path:
        return self.layout.quarantine / "notes"

    def _reason(self, name: str) -> str:
        try:
            return str(json.loads((self._notes / name).read_bytes())["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return "noted earlier; the note itself is unreadable"

    def _write_note(self, fault: Fault) -> None:
        data = json.dumps({"digest": fault.digest, "reason": fault.reason}).encode()
        write_atomic(self._notes / fault.digest[7:], data, self.layout.tmp)

    def _move(self, source: Path, target: Path) -> None:
        make_folder(target.parent)
        if target.is_dir() and not target.is_symlink():  # an earlier folder of that name cannot be renamed over
            target = target.with_name(f"{target.name}.{len(entries(target.parent))}")
        try:
            source.replace(target)
        except FileNotFoundError:
            return
        fsync_folder(target.parent)
        fsync_folder(source.parent)
