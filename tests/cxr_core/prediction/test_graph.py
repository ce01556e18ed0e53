"""A graph is found in a file, a bundle and a folder, and is proven where there is something to prove it by."""

import json
import tarfile
from pathlib import Path

import pytest

from cxr_core.errors import CxrError, ModelError, RefusedError, UsageError
from cxr_core.prediction.graph import Graph, graph_from_path
from cxr_core.release.manifest import Bundle, Held
from cxr_core.release.packing import entries_of, pack
from cxr_core.release.proof import content_of, prove
from cxr_core.store import Store
from tests.cxr_core.prediction.conftest import RELEASE, REPORT, graph, release_folder
from tests.cxr_core.release.conftest import MADE, write_keys


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path, "key")


@pytest.fixture
def packed(store: Store, keys: tuple[Path, Path], tmp_path: Path) -> Path:
    """The release as a signed bundle."""
    (ref,) = store.pins()["releases/one"]
    held = [Held(ref=ref, path="")]
    bundle = Bundle(kind="release", name="one", artifacts=tuple(held), files=entries_of(store, held))
    return pack(store, bundle, MADE, tmp_path / "one.cxr.tar", keys[0]).file


@pytest.fixture
def unpacked(packed: Path, tmp_path: Path) -> Path:
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    return tmp_path / "unpacked" / "one"


def _is_whole(found: Graph) -> None:
    assert found.content == graph().SerializeToString()
    assert found.report == REPORT
    assert found.release == RELEASE
    assert not found.phantom


def test_an_onnx_file_is_taken_by_itself(onnx_file: Path) -> None:
    found = graph_from_path(onnx_file)
    assert found.content == onnx_file.read_bytes()
    assert (found.report, found.release) == ({}, {})
    assert "nothing vouches" in found.proof


def test_a_bundle_is_proven_and_not_unpacked(packed: Path, keys: tuple[Path, Path]) -> None:
    before = sorted(packed.parent.iterdir())
    _is_whole(graph_from_path(packed))
    assert "NOT CHECKED" in graph_from_path(packed).proof
    assert "checked against" in graph_from_path(packed, keys[1]).proof
    assert sorted(packed.parent.iterdir()) == before


def test_a_bundle_with_a_flipped_bit_or_another_signature_is_refused(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        graph_from_path(packed, write_keys(tmp_path, "other")[1])
    content = bytearray(packed.read_bytes())
    content[content.index(b"GlobalAveragePool")] ^= 1
    packed.write_bytes(content)
    with pytest.raises(RefusedError, match=r"files/model\.onnx has the bytes of"):
        graph_from_path(packed)


def test_a_bundle_that_changes_after_its_proof_is_refused(packed: Path) -> None:
    proof = prove(packed)
    content = bytearray(packed.read_bytes())
    content[proof.begins["model.onnx"] + 9] ^= 1
    packed.write_bytes(content)
    assert content_of(packed, proof, "engine") == b"engine"
    with pytest.raises(RefusedError, match=r"changed since it was proven: model\.onnx"):
        content_of(packed, proof, "model.onnx")
    with pytest.raises(RefusedError, match="has no variant"):
        content_of(packed, proof, "variant.onnx")


def test_an_unpacked_bundle_is_held_against_its_sums(unpacked: Path) -> None:
    found = graph_from_path(unpacked)
    _is_whole(found)
    assert "SHA256SUMS" in found.proof
    (unpacked / "files" / "report.json").write_text("{}")
    with pytest.raises(RefusedError, match=r"report\.json has the bytes of"):
        graph_from_path(unpacked)


def test_a_tree_that_was_checked_out_is_taken_and_said_to_be_unproven(store: Store, tmp_path: Path) -> None:
    folder = store.checkout(store.pins()["releases/one"][0], tmp_path / "out")
    _is_whole(graph_from_path(folder))
    assert "nothing vouches" in graph_from_path(folder).proof


@pytest.mark.parametrize("where", ["report", "release"])
def test_a_phantom_model_is_known_by_either_file(where: str, tmp_path: Path) -> None:
    folder = release_folder(tmp_path / "phantom")
    (folder / f"{where}.json").write_text(json.dumps({"data": {"source": "phantom"}}))
    assert graph_from_path(folder).phantom


def _empty_folder(folder: Path) -> Path:
    return folder


def _artifact(folder: Path) -> Path:
    store = Store.open(folder / "other")
    held = [Held(ref=store.put_bytes(b"scores", "scores.csv"), path="scores.csv")]
    bundle = Bundle(kind="artifact", name="it", artifacts=tuple(held), files=entries_of(store, held))
    return pack(store, bundle, MADE, folder / "it.tar").file


def _tar_of_another_program(folder: Path) -> Path:
    with tarfile.open(folder / "x.tar", "w") as archive:
        archive.add(Path(__file__), "model.onnx")
    return folder / "x.tar"


def _damaged_report(folder: Path) -> Path:
    release_folder(folder / "release")
    (folder / "release" / "report.json").write_text("[1, 2")
    return folder / "release"


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (_empty_folder, ModelError, r"has no model\.onnx"),
        (_artifact, ModelError, "expected a release"),
        (_tar_of_another_program, RefusedError, "not written by"),
        (_damaged_report, ModelError, r"report\.json is no JSON"),
    ],
)
def test_what_holds_no_graph_says_so(make, kind: type[CxrError], words: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(kind, match=words):
        graph_from_path(make(tmp_path))


def test_a_key_where_there_is_nothing_to_check_is_wrong_use(
    onnx_file: Path, unpacked: Path, keys: tuple[Path, Path]
) -> None:
    for place in (onnx_file, unpacked):
        with pytest.raises(UsageError, match="signature"):
            graph_from_path(place, keys[1])
