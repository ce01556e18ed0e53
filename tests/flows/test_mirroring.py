"""``cxr store push`` and ``pull``: names as everywhere, exit statuses, what is told; and what ``cxr doctor`` says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import UsageError
from cxr_core.store import Store
from flows import mirroring
from tests.cxr_core.mirror.conftest import change, fill

Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """``call(store, command, url, names)``: its exit status and its one JSON document."""

    def run(store: Store, command: Callable[..., int], url: str, *names: str, **named: Any) -> tuple[int, Any]:
        monkeypatch.setenv("CXR_STORE", str(store.root))
        capsys.readouterr()
        code = command(url, names, named.get("run_id", "latest"), named.get("force", False), 2, True)
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def mirrored(tmp_path: Path, call: Call) -> tuple[Store, dict[str, Any], str]:
    """A store, what is in it, and its mirror."""
    store, url = Store.open(tmp_path / "store"), f"file://{tmp_path}/mirror"
    filled = fill(store, tmp_path / "source")
    code, told = call(store, mirroring.push, url)
    assert (code, told["blobs"], told["records"], told["left"]) == (0, 5, 2, [])
    return store, filled, url


@pytest.mark.parametrize(
    ("name", "came"),
    [("r1", (4, 2, 1, 0)), ("latest", (4, 2, 1, 0)), ("releases/first", (4, 0, 0, 1)), ("key", (1, 1, 0, 0)),
     ("digest", (1, 1, 0, 0)), ("sha256:digest", (1, 1, 0, 0)), ("train", (1, 1, 0, 0)), ("tree", (4, 1, 0, 0))],
)  # fmt: skip
def test_a_name_brings_what_it_needs(
    mirrored: tuple[Store, dict[str, Any], str], call: Call, tmp_path: Path, name: str, came: tuple[int, ...]
) -> None:
    store, filled, url = mirrored
    digest = filled["weights"].digest.removeprefix("sha256:")
    known = {"key": filled["train"].key[:12], "digest": digest[:12], "sha256:digest": f"sha256:{digest[:8]}",
             "tree": filled["data"].digest[7:19]}  # fmt: skip
    wanted = (came[0] + (1 if name in ("r1", "latest") else 0), *came[1:])
    other = Store.open(tmp_path / "other")
    code, told = call(other, mirroring.pull, url, known.get(name, name))
    assert code == 0
    assert (told["blobs"], told["records"], told["runs"], told["pins"]) == wanted
    assert other.verify().exit_code == 0
    third = f"file://{tmp_path}/third"
    code, told = call(store, mirroring.push, third, known.get(name, name))
    assert (code, told["blobs"], told["records"], told["runs"], told["pins"]) == (0, *wanted)


def test_a_name_that_nothing_has(mirrored: tuple[Store, dict[str, Any], str], call: Call, tmp_path: Path) -> None:
    store, _, url = mirrored
    for side, command in ((store, mirroring.push), (Store.open(tmp_path / "other"), mirroring.pull)):
        with pytest.raises(UsageError, match="nowhere") as told:
            call(side, command, url, "nowhere")
        assert ("store" if side is store else f"in mirror {url};") in str(told.value)


def test_what_is_left_out_is_told_with_the_way_to_mend_it(
    mirrored: tuple[Store, dict[str, Any], str], call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, filled, url = mirrored
    digest = filled["weights"].digest
    change(url, f"blobs/sha256/{digest[7:9]}/{digest[9:]}", b"wrong")
    other = Store.open(tmp_path / "other")
    code, told = call(other, mirroring.pull, url)
    assert code == 1 and told["left"][0]["what"] == f"blob {digest}"
    name = told["left"][0]["mend"].split()[-2]
    assert call(store, mirroring.push, url, name, force=True)[0] == 0  # just as it was told
    assert call(other, mirroring.pull, url)[0] == 0
    capsys.readouterr()
    change(url, "pins/odd", b"x")
    assert mirroring.pull(url, [], "latest", False, 2, False) == 1
    assert "left out pins/odd: has no place in a mirror\n  mend: remove it there" in capsys.readouterr().out


def test_doctor_tells_of_the_mirror(
    mirrored: tuple[Store, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXR_MIRROR", raising=False)
    assert mirroring.examine() == {"url": None, "problem": None}
    monkeypatch.setenv("CXR_MIRROR", mirrored[2])
    assert mirroring.examine() == {"url": mirrored[2], "problem": None}
    monkeypatch.setenv("CXR_MIRROR", "file:///nowhere")
    assert "no mirror at" in str(mirroring.examine()["problem"])
    monkeypatch.setenv("CXR_MIRROR", "s3://me:HIDDEN@bucket/x")
    assert "HIDDEN" not in str(mirroring.examine())
