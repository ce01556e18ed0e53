"""No file stops the others, and each says what became of it."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_core.errors import UsageError
from cxr_core.prediction.agreement import Agreement
from cxr_core.prediction.answers import Answer, Status, answers, files_at
from cxr_core.prediction.model import Model
from tests.cxr_core.prediction.conftest import (
    METADATA,
    REPORT,
    bad_files,
    chest,
    encoded,
    graph,
    probability_of,
)

NOBODY = 65534


def _answers(files: list[Path], *, check_scope: bool = False) -> dict[str, Answer]:
    with Model(graph().SerializeToString(), "it") as model:
        found = list(answers(files, model, Agreement.of_report(REPORT, METADATA), check_scope=check_scope))
    assert [answer.file for answer in found] == [str(file) for file in files]
    return {Path(answer.file).name: answer for answer in found}


@pytest.mark.timeout(60)
def test_every_bad_file_says_why_and_the_good_ones_among_them_are_answered(tmp_path: Path) -> None:
    words = bad_files(tmp_path)
    for name in ("a good one.png", "zz good too.png"):
        (tmp_path / name).write_bytes(encoded(Image.fromarray(chest())))
    found = _answers(files_at([tmp_path])[0])
    assert len(found) == len(words) + 2
    for name, word in words.items():
        assert found[name].status is Status.REFUSED, name
        assert word in found[name].reason, name
        assert (found[name].label, found[name].probability, found[name].share) == (None, None, None)
    for name in ("a good one.png", "zz good too.png"):
        assert found[name].status is Status.LABELLED


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "16 bit"])
def test_a_grey_picture_has_one_answer_however_it_is_saved(mode: str, tmp_path: Path) -> None:
    grey = chest()
    image = Image.fromarray(grey)
    content = {
        "L": encoded(image),
        "RGB": encoded(image.convert("RGB")),
        "CMYK": encoded(image.convert("CMYK"), "JPEG", quality=98),
        "16 bit": encoded(Image.fromarray(grey.astype(np.uint16) * 257)),
    }[mode]
    (tmp_path / "it").write_bytes(content)
    found = _answers([tmp_path / "it"])["it"]
    assert found.probability == pytest.approx(probability_of(float(grey.mean())), abs=5e-3)
    assert found.label in METADATA.labels


def test_a_decoder_that_fails_in_a_way_of_its_own_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(encoded(Image.fromarray(chest())))
    real = Image.Image.resize

    def failing(error: type[BaseException]) -> None:
        monkeypatch.setattr(Image.Image, "resize", lambda *_, **__: (_ for _ in ()).throw(error("oh")))

    failing(RecursionError)
    assert "RecursionError oh" in _answers([tmp_path / "a.png"])["a.png"].reason
    failing(MemoryError)
    assert "more memory" in _answers([tmp_path / "b.png"])["b.png"].reason
    monkeypatch.setattr(Image.Image, "resize", real)
    assert _answers([tmp_path / "c.png"])["c.png"].status is Status.LABELLED


def test_what_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a relative path asks nothing of the folders above, which are root's where root tests
    tmp_path.chmod(0o755)
    Path("closed").mkdir(mode=0)
    for name in ("closed.png", "open.png"):
        Path(name).write_bytes(encoded(Image.fromarray(chest())))
    Path("closed.png").chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(NOBODY)
        files, unread = files_at([Path(), Path("closed/inside.png")])
        found = _answers(files)
    finally:
        if root:
            os.seteuid(0)
        Path("closed").chmod(0o755)
    assert "Permission denied" in found["closed.png"].reason
    assert "Permission denied" in found["inside.png"].reason
    assert found["open.png"].status is Status.LABELLED
    assert [(Path(one.file).name, one.status) for one in unread] == [("closed", Status.REFUSED)]
    assert "Permission denied" in unread[0].reason


def test_of_a_folder_images_are_taken_and_a_file_that_is_named_always(tmp_path: Path) -> None:
    for name in ("b/1.PNG", "a/2.jpeg", "a/notes.txt", "__MACOSX/3.png", "a/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files, unread = files_at([tmp_path, tmp_path / "a/notes.txt"])
    assert [file.relative_to(tmp_path).as_posix() for file in files] == ["a/2.jpeg", "b/1.PNG", "a/notes.txt"]
    assert unread == []
    with pytest.raises(UsageError, match="no file or folder at"):
        files_at([tmp_path / "nowhere.png"])


def test_a_name_that_is_no_utf8_can_still_be_written(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    odd.write_bytes(encoded(Image.fromarray(chest())))
    with Model(graph().SerializeToString(), "it") as model:
        (found,) = answers([odd], model, Agreement({}), check_scope=False)
    assert found.file.encode() == str(tmp_path).encode() + b"/\\xff.png"


def test_what_is_out_of_scope_gets_no_probability(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(encoded(Image.new("RGB", (64, 64), (250, 20, 20))))
    found = _answers([tmp_path / "red.png"], check_scope=True)["red.png"]
    assert found.status is Status.OUT_OF_SCOPE
    assert "in colour" in found.reason
    assert (found.label, found.probability) == (None, None)
    assert _answers([tmp_path / "red.png"])["red.png"].status is Status.LABELLED
