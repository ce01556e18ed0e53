"""Pins: named roots. What a pin names is kept until the pin is taken away."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_core.errors import MissingArtifact, UsageError
from cxr_core.refs import Ref
from cxr_core.store.artifacts import Artifacts, missing
from cxr_core.store.disk import fsync_folder, remove, translated
from cxr_core.store.documents import document_from_bytes, read_document, refs_in, write_document
from cxr_core.store.layout import Layout
from cxr_core.store.locks import held

_log = logging.getLogger("cxr.store")


@dataclass(frozen=True)
class Pins:
    """The pins of one store."""

    layout: Layout
    artifacts: Artifacts

    def pin(self, name: str, refs: Iterable[Ref]) -> None:
        """Names artifacts as a root, in place of what the name stood for before.

        Raises:
            UsageError: the name is not plain, or there is nothing to pin.
            MissingArtifact: one of them is not there.
            StoreError: the store cannot be written.
        """
        path, wanted = self.layout.pin(name), list(refs)
        if not wanted:
            raise UsageError(f"pin {name} must name at least one artifact")
        with translated(self.layout.root, "writing a pin"), held(self.layout.store_lock, self.layout.root, shared=True):
            for ref in wanted:
                if faults := self.artifacts.faults(ref):
                    raise MissingArtifact(missing(ref, faults[0].reason))
                self.artifacts.promise(ref)
            content = {"pin": name, "refs": [ref.model_dump(mode="json") for ref in wanted]}
            write_document(self.layout, path, content, "writing a pin")

    def unpin(self, name: str) -> None:
        """Takes a pin away; its artifacts stay until gc finds no other reason to keep them.

        Raises:
            UsageError: no such pin; the message names those there.
        """
        path = self.layout.pin(name)
        with translated(self.layout.root, "removing a pin"):
            if not remove(path):
                raise UsageError(f"no pin {name}; pins here: {', '.join(self.all()) or 'none'}")
            fsync_folder(path.parent)

    def all(self) -> dict[str, tuple[Ref, ...]]:
        """Every readable pin by name; others are skipped with a warning."""
        found = {}
        with translated(self.layout.root, "listing pins"):
            files = pin_files(self.layout)
        for path in files:
            try:
                name, refs = read_pin(path, self.layout)
                found[name] = refs
            except (OSError, ValueError) as error:
                _log.warning("pin %s is skipped: %s", path, error)
        return found


def pin_files(layout: Layout) -> list[Path]:
    """The files of all pins, readable or not; and what lies in the place of one."""
    return sorted(path for path in layout.pins.rglob("*") if not _holds_pins(path) and not path.name.startswith("."))


def _holds_pins(path: Path) -> bool:
    """Whether it is a folder of pins. ``x.json`` may be one too, for a pin ``x.json/y``, but not an empty one."""
    if path.is_symlink() or not path.is_dir():
        return False
    return path.suffix != ".json" or any(path.rglob("*.json"))


def read_pin(path: Path, layout: Layout) -> tuple[str, tuple[Ref, ...]]:
    """Name and refs of a pin.

    Raises:
        OSError: it cannot be read.
        ValueError: torn, damaged, foreign, or of another name.
    """
    name = path.relative_to(layout.pins).with_suffix("").as_posix()
    return name, _refs(read_document(path), name)


def refs_of_pin(data: bytes, name: str) -> tuple[Ref, ...]:
    """What the pin of that name stands for, by its bytes.

    Raises:
        ValueError: torn, damaged, foreign, or of another name.
    """
    return _refs(document_from_bytes(data), name)


def _refs(content: dict[str, Any], name: str) -> tuple[Ref, ...]:
    if content.get("pin") != name:
        raise ValueError(f"expected the pin {name}, found {content.get('pin')!r}")
    return tuple(refs_in(content))
