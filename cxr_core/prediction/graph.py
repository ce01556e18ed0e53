"""Where a graph comes from: an ONNX file, an exported bundle, the folder that one was unpacked into, or a release.

Of a release it is ``model.onnx``, the graph as exported: it runs on any machine, an engine only where it was built.
Its bytes are read once, proven where there is something to prove them by, and nothing is unpacked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from cxr_core.errors import ModelError, RefusedError, UsageError
from cxr_core.release.contents import RELEASE_FILE
from cxr_core.release.proof import SUMS, content_of, digests_of, prove
from cxr_core.store.seals import digest_of

GRAPH_FILE = "model.onnx"
REPORT_FILE = "report.json"

_USTAR = slice(257, 262)  # where a tar names itself


@dataclass(frozen=True)
class Graph:
    """``content`` is an ONNX file, ``source`` where it is from, for people, ``proof`` what is proven of it, in words.

    ``report`` is the run's ``report.json`` and ``release`` the release's ``release.json``, empty where there is none.
    """

    content: bytes
    source: str
    proof: str
    report: dict[str, Any]
    release: dict[str, Any]

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the ONNX file."""
        return digest_of(self.content)

    @property
    def phantom(self) -> bool:
        """Whether it has learned from generated pictures, as its report or release says."""
        return "phantom" in (_source(self.report), _source(self.release))


def graph_from_path(path: Path, key: Path | None = None) -> Graph:
    """The graph in an ONNX file, a bundle or an unpacked folder. ``key``: the bundle must be signed by it.

    Raises:
        UsageError: nothing there that can be read.
        RefusedError: the bundle is not proven, or a file of the folder is not what its SHA256SUMS say.
        ModelError: no graph in it.
    """
    if path.is_dir():
        if key is not None:
            raise UsageError(f"{path} is a folder, and a signature is checked over a whole bundle: give the .cxr.tar")
        return _from_folder(path)
    try:
        with path.open("rb") as file:
            bundle = file.read(512)[_USTAR] == b"ustar"
        if bundle:
            return _from_bundle(path, key)
        if key is not None:
            raise UsageError(f"{path} is no bundle of `cxr store export`, so there is no signature to check")
        return Graph(path.read_bytes(), str(path), "an ONNX file by itself: nothing vouches for it", {}, {})
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def graph_from_release(read: Callable[[str], bytes | None], source: str, proof: str) -> Graph:
    """The graph of a release whose files ``read`` gives by name; None for one that is not there.

    Raises:
        ModelError: there is no graph, or ``report.json`` or ``release.json`` is no JSON.
    """
    content = read(GRAPH_FILE)
    if content is None:
        raise ModelError(f"{source} has no {GRAPH_FILE}: give a release, what was exported of one, or an ONNX file")
    return Graph(content, source, proof, _json(read, REPORT_FILE, source), _json(read, RELEASE_FILE, source))


def _from_bundle(path: Path, key: Path | None) -> Graph:
    proof = prove(path, key)
    names = {entry.name for entry in proof.bundle.files}
    if proof.bundle.kind != "release" and GRAPH_FILE not in names:
        raise ModelError(f"{path} is the {proof.bundle.kind} {proof.bundle.name}, expected a release: cxr promote")

    def read(name: str) -> bytes | None:
        return content_of(path, proof, name) if name in names else None

    return graph_from_release(read, str(path), f"a proven bundle, {proof.signature}")


def _from_folder(folder: Path) -> Graph:
    """``SHA256SUMS`` lies at the top of an unpacked bundle; a tree that was checked out has none."""
    listed = folder / SUMS
    digests = digests_of(listed.read_bytes()) if listed.is_file() else None
    inside = folder / "files" if (folder / "files").is_dir() else folder

    def read(name: str) -> bytes | None:
        file = inside / name
        if not file.is_file():
            return None
        content, told = file.read_bytes(), file.relative_to(folder).as_posix()
        if digests is not None and digests.get(told) != digest_of(content):
            raise RefusedError(
                f"{file} has the bytes of {digest_of(content)}, {SUMS} says {digests.get(told, 'nothing of it')}: "
                "unpack the bundle again"
            )
        return content

    proof = f"its files are those of {SUMS}" if digests else f"a folder without {SUMS}: nothing vouches for it"
    return graph_from_release(read, str(folder), f"{proof}; no signature is checked in a folder")


def _json(read: Callable[[str], bytes | None], name: str, source: str) -> dict[str, Any]:
    content = read(name)
    if content is None:
        return {}
    try:
        found = from_json(content)
    except ValueError as error:
        raise ModelError(f"{source}: {name} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{source}: {name} holds no JSON object")
    return found


def _source(document: dict[str, Any]) -> Any:
    data = document.get("data")
    return data.get("source") if isinstance(data, dict) else None
