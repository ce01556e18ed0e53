import os
from pathlib import Path

import pytest

from cxr_core.data.fingerprint import fingerprint
from cxr_core.errors import DataError


def test_it_counts_files_and_bytes_and_leaves_litter_out(published: Path) -> None:
    files = [p for p in published.rglob("*") if p.is_file()]
    before = fingerprint(published)
    assert (before.files, before.bytes) == (len(files), sum(p.stat().st_size for p in files))
    (published / "train/.DS_Store").write_bytes(b"x")
    assert fingerprint(published) == before


def test_one_changed_byte_changes_it_whatever_the_time_stamp_says(published: Path) -> None:
    before = fingerprint(published)
    file = next(published.rglob("*.jpeg"))
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[-10] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = fingerprint(published)
    assert after.digest != before.digest and after.bytes == before.bytes


def test_a_new_time_stamp_or_place_does_not(published: Path, tmp_path: Path) -> None:
    before = fingerprint(published)
    os.utime(next(published.rglob("*.jpeg")), (1, 1))
    moved = published.rename(tmp_path / "moved")
    assert fingerprint(moved) == before


def test_a_renamed_and_a_removed_file_change_it(published: Path) -> None:
    seen = {fingerprint(published).digest}
    file = sorted(published.rglob("*.jpeg"))[0]
    file = file.rename(file.with_name("zzz.jpeg"))
    seen.add(fingerprint(published).digest)
    file.unlink()
    seen.add(fingerprint(published).digest)
    assert len(seen) == 3


def test_a_large_file_is_hashed_as_a_small_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.png").write_bytes(os.urandom(100_000))
    whole = fingerprint(tmp_path)
    monkeypatch.setattr("cxr_core.data.fingerprint._WHOLE", 1000)
    assert fingerprint(tmp_path) == whole


def test_progress_reaches_the_end(published: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    taken = fingerprint(published, progress=lambda *told: seen.append(told))
    assert seen[-1][:2] == (taken.files, taken.files)


def test_a_dangling_link_is_part_of_it_and_no_crash(published: Path) -> None:
    before = fingerprint(published)
    (published / "train/NORMAL/gone.jpeg").symlink_to("nowhere")
    assert fingerprint(published).digest != before.digest


@pytest.mark.parametrize("state", ["missing", "empty", "litter"])
def test_nothing_to_read_is_refused(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "data"
    if state != "missing":
        folder.mkdir()
    if state == "litter":
        (folder / ".DS_Store").touch()
    with pytest.raises(DataError):
        fingerprint(folder)


def test_the_real_set_is_taken_whole(real_data: Path) -> None:
    assert fingerprint(real_data / "chest_xray_224").files == 4990
