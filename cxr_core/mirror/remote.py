"""The other side: a folder (``file://``) or a bucket (``s3://``) with the store's layout, through fsspec."""

import importlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cxr_core.errors import CxrError, MachineError, MirrorError, MissingArtifact, UsageError
from cxr_core.mirror.documents import Document, document_at, place_of
from cxr_core.mirror.transfer import Stopped
from cxr_core.store.disk import fsync_folder, make_folder, temporary, write_all
from cxr_core.store.layout import Layout
from cxr_core.store.migration import FORMAT

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PART = 8 << 20  # bytes read, or sent, at a time
LARGEST_DOCUMENT = 256 << 20  # bytes of a record, run, pin or tree's listing
MOST_OBJECTS = 5_000_000  # in a mirror; a listing without end would take all memory
_TRIES = 2  # over the five of botocore beneath, which do not read an answer's body again
_MOST_PARTS = 9_000  # S3 takes 10,000
_WHERE = Layout(Path("/"))
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{2})/([0-9a-f]{62})")
_MEND = "Look at the address, the credentials and the room there; the same command then goes on where it was"


@dataclass
class Listing:
    """What a mirror has: sizes in bytes by digest and by document, and names that have no place in a store."""

    blobs: dict[str, int] = field(default_factory=dict)
    documents: dict[Document, int] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Mirror:
    """One mirror. ``url`` is how a person names it, ``root`` its path within ``files``."""

    url: str
    files: "AbstractFileSystem"
    root: str

    @classmethod
    def at(cls, url: str) -> "Mirror":
        """The mirror at an address; nothing is asked of it yet.

        Raises:
            UsageError: neither ``file:///folder`` nor ``s3://bucket/prefix``, or with credentials in it.
            MachineError: s3fs is not installed.
        """
        scheme, root = _checked(url)
        import fsspec

        if scheme == "file":
            return cls(url, fsspec.filesystem("file", skip_instance_cache=True), root)
        try:
            importlib.import_module("s3fs")
        except ImportError as error:
            raise MachineError(f"{url} needs s3fs, which is not here: pip install 'cxr[s3]' ({error})") from error
        # Its own cache of listings and of instances would show a mirror as it was.
        files = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        files.retries = _TRIES
        return cls(url, files, root)

    @property
    def folder(self) -> Path | None:
        """Where it is on this machine; None for a bucket."""
        return Path(self.root) if self.url.startswith("file:") else None

    def format(self) -> int | None:
        """The number in its FORMAT; None where there is no mirror yet.

        Raises:
            MirrorError: it cannot be reached, the number is no number, or that of a newer format.
        """
        try:
            text = self.read("FORMAT", 100).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return None
        if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
            raise MirrorError(f"FORMAT of mirror {self.url} holds {text[:20]!r}, expected {FORMAT}: restore that file")
        if int(text) > FORMAT:
            raise MirrorError(
                f"mirror {self.url} has format {int(text)}, this version reads up to {FORMAT}: upgrade cxr, "
                "or name another mirror"
            )
        return int(text)

    def listing(self, *rooms: str) -> Listing:
        """What is in these rooms (``blobs``, ``actions``, ``runs``, ``pins``), asked for once each.

        Raises:
            MirrorError: it cannot be reached, or has more objects than any mirror of ours.
        """
        found, left = Listing(), MOST_OBJECTS
        for room in rooms:
            entries: dict[str, Any] = {}
            with self._reached(f"listing {room}"), suppress(FileNotFoundError):
                entries = self.files.find(f"{self.root}/{room}", detail=True, max_items=left + 1)
            left -= len(entries)
            if left < 0:
                raise MirrorError(
                    f"mirror {self.url} lists more than {MOST_OBJECTS:,} objects: that is none of ours. "
                    "Name another mirror, or one with a prefix of its own"
                )
            for name, info in entries.items():
                self._list(found, room, name.removeprefix(f"{self.root}/"), info)
        return found

    def read(self, path: str, most: int = LARGEST_DOCUMENT) -> bytes:
        """A small file, whole.

        Raises:
            FileNotFoundError: it is not there.
            MirrorError: it cannot be reached, or the file holds more than ``most`` bytes.
        """
        data = self._cat(path, 0, most + 1)
        if len(data) > most:
            raise MirrorError(f"{path} of mirror {self.url} holds more than {most:,} bytes: that is none of ours")
        return data

    def chunks(self, path: str, size: int) -> Iterator[bytes]:
        """A file of ``size`` bytes, in parts; one byte more tells that it is longer.

        Raises:
            MissingArtifact: it is not there.
            MirrorError: it cannot be reached.
        """
        for start in range(0, size, PART):
            end = size + 1 if start + PART >= size else start + PART
            try:
                data = self._cat(path, start, end)
            except FileNotFoundError:
                raise MissingArtifact("it is not in the mirror") from None
            yield data

    def write(self, path: str, chunks: Iterable[bytes], size: int, mode: int = 0o644) -> None:
        """All of the chunks under that name, in place of what was there, or nothing, also where ``chunks`` raises.

        Raises:
            MirrorError: it cannot be reached or written.
        """
        with self._reached(f"writing {path}", or_missing=False):
            if self.folder:
                _write_file(self.folder, path, chunks, mode)
            elif size <= PART:
                self.files.pipe_file(f"{self.root}/{path}", b"".join(chunks))
            else:
                self._write_parts(path, chunks, size)

    def _cat(self, path: str, start: int, end: int) -> bytes:
        with self._reached(f"reading {path}"):
            try:
                data: bytes = self.files.cat_file(f"{self.root}/{path}", start=start, end=end)
            except OSError as error:
                if _is_beyond(error):  # a bucket has no bytes from there on; a folder just gives none
                    return b""
                raise
        return data

    def _write_parts(self, path: str, chunks: Iterable[bytes], size: int) -> None:
        part = max(PART, -(-size // _MOST_PARTS))
        file = self.files.open(f"{self.root}/{path}", "wb", block_size=part, autocommit=False)
        try:
            for chunk in chunks:
                file.write(chunk)
            file.close()  # sends the rest; there is no such object before the commit
            file.commit()
        except BaseException:
            file.closed = True
            with suppress(Exception):  # the server may be gone, and what it has of the parts is no object
                file.discard()
            raise

    def _list(self, found: Listing, room: str, path: str, info: dict[str, Any]) -> None:
        if room == "blobs" and (blob := _BLOB.fullmatch(path)) and _is_plain(info):
            found.blobs[f"sha256:{blob[1]}{blob[2]}"] = int(info["size"])
            return
        try:
            document = document_at(path)
        except UsageError:
            found.odd.append(path)
            return
        if document and _is_plain(info):
            found.documents[document] = int(info["size"])
        elif document or (room != "runs" and not path.endswith("/")):  # beside a run's account lies what people read
            found.odd.append(path)

    @contextmanager
    def _reached(self, doing: str, *, or_missing: bool = True) -> Iterator[None]:
        try:
            yield
        except (CxrError, Stopped):
            raise
        except Exception as error:  # every file system of fsspec raises what its own library raises
            if or_missing and isinstance(error, FileNotFoundError):
                raise
            said = " ".join(str(error).split())
            raise MirrorError(
                f"mirror {self.url} failed while {doing}: {type(error).__name__}: {said}. {_MEND}"
            ) from error


def blob_path(digest: str) -> str:
    """The path of a blob under the root."""
    return _WHERE.blob(digest).as_posix()[1:]


def document_path(document: Document) -> str:
    """The path of a document under the root.

    Raises:
        UsageError: a name that no store has.
    """
    return place_of(_WHERE, document).as_posix()[1:]


def _checked(url: str) -> tuple[str, str]:
    """Scheme and root of an address.

    Raises:
        UsageError: not one that a mirror can have. The message never repeats credentials.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise UsageError(
            "the mirror's address has credentials in it, and addresses are logged: give them as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or in ~/.aws/credentials"
        )
    path = url.partition("://")[2].rstrip("/")
    steps = path.split("/")
    if parts.query or parts.fragment or ".." in steps or "." in steps:
        raise UsageError(f"mirror {url!r}: expected a plain address, without '..', '?' and '#'")
    if parts.scheme == "file" and path.startswith("/"):
        return "file", path
    if parts.scheme == "s3" and parts.netloc:
        return "s3", path
    raise UsageError(f"mirror {url!r}: expected file:///folder or s3://bucket/prefix")


def _is_beyond(error: OSError) -> bool:
    response = getattr(error.__cause__, "response", {})
    return bool(response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 416)


def _is_plain(info: dict[str, Any]) -> bool:
    return info.get("type") == "file"  # a link is none, wherever it leads


def _write_file(root: Path, path: str, chunks: Iterable[bytes], mode: int) -> None:
    target = root / path
    make_folder(target.parent)
    with temporary(root / "tmp") as (descriptor, new):
        for chunk in chunks:
            write_all(descriptor, chunk)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
        new.replace(target)
        fsync_folder(target.parent)
