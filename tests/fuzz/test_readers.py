"""No bytes make a reader do anything but read or refuse. ``make fuzz`` looks longer, and led by coverage."""

import json
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.readers import KEY, Reader, readers

NAMES = (
    "seal", "record", "record, inside", "run", "run, sealed anew", "pin", "pin, sealed anew", "tree listing", "FORMAT",
    "note", "note, sealed anew", "holder of a lock", "engine metadata", "manifest", "bundle", "bundle.json",
    "provenance", "DSSE envelope", "lineage of a release",
    "trtexec's log", "trtexec's times", "trtexec's layers", "trtexec's profile", "trtexec's accuracies",
    "trtexec's context", "scores",
)  # fmt: skip


def _listing(names: Iterator[str]) -> bytes:
    rows = [{"digest": f"sha256:{KEY}", "name": name, "size": 1} for name in names]
    return (json.dumps(rows, sort_keys=True, separators=(",", ":")) + "\n").encode()


BOMBS = {
    "deep lists": b"[" * 200_000,
    "deep lists that end": b"[" * 5_000 + b"]" * 5_000,
    "deep mappings": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a long number": b'{"a":' + b"9" * 500_000 + b"}",
    "an exponent": b'{"a":1e999999999,"b":-1E-999999999}',
    "a long name": b'{"' + b"a" * 1_000_000 + b'":1}',
    "a lone surrogate": b'{"a":"\\ud800","b":"\\udfff\\ud800"}',
    "NUL": b"\0" * 100_000,
    "a pickle": b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93.",
    "deep names": _listing(f"{number:03}{'/x' * 500}" for number in range(300)),
    "many small entries": b'{"schema_version":1,"kind":"run","name":"x","artifacts":[],"files":['
    + b"{}," * 50_000
    + b"{}]}",
    "many small things": b"[" + b"{}," * 100_000 + b"{}]",
}
patient = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def known() -> Iterator[dict[str, Reader]]:
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        yield readers(Path(name))


def refused(reader: Reader, data: bytes) -> bool:
    """Whether it was refused in the way that it may be; anything else goes through."""
    try:
        reader.read(data)
    except reader.refuses:
        return True
    return False


def test_every_reader_is_fuzzed(known: dict[str, Reader]) -> None:
    assert tuple(known) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_is_valid_is_read(known: dict[str, Reader], name: str) -> None:
    for data in known[name].valid:
        assert not refused(known[name], data)


@pytest.mark.parametrize("name", NAMES)
@patient
@given(st.data())
def test_any_bytes_and_valid_ones_with_changes(known: dict[str, Reader], name: str, data: st.DataObject) -> None:
    refused(known[name], data.draw(st.binary(max_size=300) | changed(known[name].valid)))


@st.composite
def changed(draw: st.DrawFn, valid: tuple[bytes, ...]) -> bytes:
    """Bytes flipped, cut out, doubled and put in."""
    found = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        upto = min(len(found), at + draw(st.integers(0, 20)))
        kind = draw(st.sampled_from(["flip", "cut", "double", "insert"]))
        if kind == "flip" and at < len(found):
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del found[at:upto]
        elif kind == "double":
            found[at:at] = found[at:upto]
        else:
            found[at:at] = draw(st.binary(max_size=8))
    return bytes(found)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NO_DOCUMENTS = (
    "seal", "run", "pin", "note", "FORMAT", "manifest", "bundle", "trtexec's log", "trtexec's accuracies",
    "trtexec's context", "scores",
)  # fmt: skip
DOCUMENTS = tuple(name for name in NAMES if name not in NO_DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
@patient
@given(st.data())
def test_valid_documents_with_anything_in_the_place_of_a_value(
    known: dict[str, Reader], name: str, data: st.DataObject
) -> None:
    document = json.loads(known[name].valid[0])
    place = data.draw(st.sampled_from(list(places(document))))
    spoilt = replaced(document, place, data.draw(anything))
    canonical = {"tree listing": {"separators": (",", ":")}, "record": {}}.get(name, {"indent": 1})
    text = json.dumps(spoilt, sort_keys=True, ensure_ascii=False, **canonical)  # type: ignore[arg-type]
    refused(known[name], (text + "\n").encode("utf-8", "surrogatepass"))


def places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in inner:
        yield from places(value, (*at, name))


def replaced(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[place[0]] = replaced(document[place[0]], place[1:], value)
    return copy


# Bytes of a manifest and of scores are proven by their digest before pandas sees them; PyYAML takes a kilobyte a node.
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("manifest", "scores", "trtexec's context")])
@pytest.mark.timeout(600)
def test_bombs_cost_little_time_and_memory(known: dict[str, Reader], name: str) -> None:
    for bomb, data in BOMBS.items():
        before = time.thread_time()
        tracemalloc.start()
        try:
            refused(known[name], data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 32e6 + 30 * len(data), f"{bomb}: {peak / 1e6:.0f} MB"
        assert time.thread_time() - before < 30, bomb
