"""Where everything lies under the store's root, which names are allowed, and which format this is."""

import re
from dataclasses import dataclass
from pathlib import Path

from cxr_core.errors import StoreError, UsageError
from cxr_core.store.disk import make_folder, read_file, translated
from cxr_core.store.migration import FORMAT, migrate, write_format

FOLDERS = ("blobs/sha256", "actions", "runs", "pins", "leases", "quarantine", "work", "tmp", "locks", "attempts")

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_KEY = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Layout:
    """The paths of one store. Makes nothing; every name that comes from outside is checked here."""

    root: Path

    @property
    def blobs(self) -> Path:
        return self.root / "blobs" / "sha256"

    @property
    def actions(self) -> Path:
        return self.root / "actions"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def pins(self) -> Path:
        return self.root / "pins"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def leases(self) -> Path:
        return self.root / "leases"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def store_lock(self) -> Path:
        """Shared by whoever promises a blob, exclusive for whoever takes one away."""
        return self.locks / "store"

    @property
    def gc_lock(self) -> Path:
        """Held by gc for a whole pass."""
        return self.locks / "gc"

    def blob(self, digest: str) -> Path:
        """The file of a blob, there or not."""
        if not _DIGEST.fullmatch(digest):
            raise UsageError(f"expected a digest like sha256:<64 hex>, found {digest!r}")
        return self.blobs / digest[7:9] / digest[9:]

    def action(self, key: str) -> Path:
        return self.actions / checked_key(key)

    def run(self, run_id: str) -> Path:
        """The folder of a run. ``latest`` is a word of the reader and no id."""
        if run_id == "latest":
            raise UsageError("'latest' is no run id: it stands for the newest run and cannot be written")
        return self.runs / checked_name(run_id, "run id")

    def pin(self, name: str) -> Path:
        """The file of a pin; a name has up to four parts, as in ``releases/2026-11``."""
        parts = name.split("/")
        if len(parts) > 4:
            raise UsageError(f"a pin has at most four parts, found {name!r}")
        return self.pins.joinpath(*(checked_name(part, "pin name") for part in parts[:-1])) / (
            checked_name(parts[-1], "pin name") + ".json"
        )


def checked_key(key: str) -> str:
    """The key itself, if it is one.

    Raises:
        UsageError: it is not 64 lower-case hex digits.
    """
    if not _KEY.fullmatch(key):
        raise UsageError(f"expected a content key of 64 lower-case hex digits, found {key!r}")
    return key


def checked_name(name: str, what: str) -> str:
    """The name itself, if it is a plain file name.

    Raises:
        UsageError: it is not.
    """
    if not _PLAIN.fullmatch(name):
        raise UsageError(f"{what} {name!r} is not plain: letters, digits, '.', '_', '-', at most 200, no leading '.'")
    return name


def open_layout(root: Path, *, create: bool) -> Layout:
    """The layout of a store that this version can read. One of an older format is migrated; else nothing is
    written where one stands.

    Raises:
        StoreError: none there and none wanted, of a newer format, of an older one that cannot be written,
            FORMAT lost or unreadable, or the folder cannot be made.
    """
    layout = Layout(root.resolve())
    if found := _format(layout):
        if found < FORMAT:
            migrate(layout.root, lambda: _format(layout))
        return layout
    if not create:
        raise StoreError(f"no store at {layout.root}: start a run first, or name another with --store or CXR_STORE")
    with translated(layout.root, "making a store"):
        for folder in FOLDERS:
            make_folder(layout.root / folder)
        # Content without FORMAT is a store that lost it, and guessing its format could ruin it. Another
        # process that is just making this store writes FORMAT before any content, hence the second look.
        if _has_content(layout) and not _format(layout):
            raise StoreError(
                f"the store at {layout.root} has content but no FORMAT file: restore it (this version writes "
                f"{FORMAT}), or name another store with --store or CXR_STORE"
            )
        write_format(layout.root, FORMAT)
    return layout


def _has_content(layout: Layout) -> bool:
    return any(any(folder.iterdir()) for folder in (layout.blobs, layout.actions, layout.runs, layout.pins))


def _format(layout: Layout) -> int:
    """The store's format, 0 where FORMAT is not there."""
    path = layout.root / "FORMAT"
    with translated(layout.root, "reading FORMAT"):
        try:
            text = read_file(path)[:100].decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return 0
        except ValueError as error:
            raise StoreError(f"{path} is damaged: it {error} that holds {FORMAT}. Restore it") from None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise StoreError(f"{path} holds {text[:20]!r}, expected {FORMAT}: the file is damaged, restore it")
    if int(text) > FORMAT:
        raise StoreError(
            f"the store at {layout.root} has format {int(text)}, this version reads up to {FORMAT}: upgrade cxr, "
            "or name another store with --store or CXR_STORE"
        )
    if int(text) < 1:
        raise StoreError(f"{path} holds {text!r}, and no such format was ever written: the file is damaged, restore it")
    return int(text)
