import json
import os
import re
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_core.errors import UsageError
from cxr_core.store import Store, trees
from cxr_core.store.trees import Entry, bytes_from_entries, entries_from_bytes

DIGEST = "sha256:" + "a" * 64

parts = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/\\"), min_size=1, max_size=12
).filter(lambda part: part not in (".", ".."))
fewer = settings(max_examples=60)
names = st.lists(parts, min_size=1, max_size=4).map("/".join)


def listing(*given_names: Any, **changes: Any) -> bytes:
    rows = [{"digest": DIGEST, "name": name, "size": 1} | changes for name in given_names]
    return (json.dumps(rows, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


@pytest.mark.parametrize(
    "name",
    [
        *("..", "../x", "a/../b", "/etc/passwd", "a//b", "a/", "./a", "", "a\0b", "a\nb", "a\\b"),
        *("x" * 256, "é" * 128, "/".join(["d" * 200] * 6)),
    ],
)
def test_hostile_names_are_refused_in_a_listing(name: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        entries_from_bytes(listing(name))


@pytest.mark.parametrize(
    "pair",
    [("A", "a"), ("a", "a"), ("D/x", "d/y"), ("d", "d/x"), ("Straße", "STRASSE"), ("\u00e9", "e\u0301"), ("D", "d/x")],
)
def test_clashing_names_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"clash|twice|both a file"):
        bytes_from_entries([Entry(digest=DIGEST, name=name, size=1) for name in pair])


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{}", b"[]", b"null\n", b"[1]\n", b"\xff\xfe", b"[" * 100_000),
        *(listing("a")[:-1], listing("b", "a"), listing("a") + b" ", listing("a").replace(b":", b": ", 1)),
        *(listing("a", size=-1), listing("a", size="1"), listing("a", size=1.5), listing("a", digest="md5:0")),
        *(listing("a", mtime=5), listing("a", name=3)),
    ],
)
def test_only_the_canonical_listing_is_read(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        entries_from_bytes(data)


def test_case_clash_in_a_folder_is_refused_with_a_repair(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.mkdir()
    (source / "Scan.png").write_text("1")
    (source / "scan.png").write_text("2")
    with pytest.raises(UsageError, match=r"clash.*Rename it"):
        store.put(source, "x")


def test_undecodable_file_names_are_refused(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.mkdir()
    Path(os.fsdecode(bytes(source) + b"/\xff\xfe")).write_text("1")
    with pytest.raises(UsageError, match="not valid UTF-8"):
        store.put(source, "x")


@fewer
@given(st.lists(names, max_size=8))
def test_listing_and_entries_are_inverse_or_refused(given_names: list[str]) -> None:
    entries = [Entry(digest=DIGEST, name=name, size=index) for index, name in enumerate(given_names)]
    try:
        data = bytes_from_entries(entries)
    except ValueError:
        # refused only for a reason: some spelling of a path is there twice, or a file is also a folder
        above = {"/".join(n.split("/")[:d]) for n in given_names for d in range(1, n.count("/") + 1)}
        spelled = [*given_names, *above]
        folded = {unicodedata.normalize("NFC", unicodedata.normalize("NFC", s).casefold()) for s in spelled}
        assert len(folded) < len(spelled)
        return
    assert entries_from_bytes(data) == tuple(sorted(entries, key=lambda entry: entry.name))
    assert bytes_from_entries(reversed(entries)) == data


@fewer
@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    try:
        entries = entries_from_bytes(data)
    except ValueError:
        return
    assert bytes_from_entries(entries) == data


@settings(fewer, max_examples=25)
@given(st.dictionaries(names, st.binary(max_size=30), max_size=5))
def test_any_folder_comes_back_as_it_was(files: dict[str, bytes]) -> None:
    shared = Path("/dev/shm")  # what is asked here is no matter of the disk
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        root = Path(name)
        source = root / "source"
        source.mkdir()
        for relative, data in files.items():
            try:
                (source / relative).parent.mkdir(parents=True, exist_ok=True)
                (source / relative).write_bytes(data)
            except OSError:  # this file system or this set of names cannot hold it
                return
        store = Store.open(root / "store")
        try:
            ref = store.put(source, "t")
        except UsageError:
            return
        out = store.checkout(ref, root / "out")
        found = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_symlink()}
        assert found == files
        assert ref.size == sum(map(len, files.values()))


@fewer
@given(st.from_regex(trees._ORDINARY, fullmatch=True).filter(lambda name: len(name) <= trees.LONGEST_PART))
def test_the_short_way_lets_nothing_pass_that_the_long_one_refuses(name: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trees, "_ORDINARY", re.compile("(?!)"))
        assert trees.entries_from_bytes(listing(name))[0].name == name
