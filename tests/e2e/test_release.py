"""From a run to a release, to a file, to another machine, and back to the X-rays; on the real smoke run."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cxr_core.errors import RefusedError, UsageError
from cxr_core.refs import Precision
from cxr_core.release.schemas import schemas
from cxr_core.store import Store
from flows import lineage
from flows.bundling import export, take_in
from flows.differing import diff
from flows.pinning import pin, unpin
from flows.promoting import promote
from tests.conftest import PROJECT, Place, untouched
from tests.cxr_core.release.conftest import read_by_in_toto, write_keys

REFERENCE = ("--precision", "fp32", "--backend", "onnxruntime", "--name", "one")
INT8 = ("--precision", "int8", "--backend", "openvino", "--name", "two")


Call = Callable[..., Any]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """``call(store, command, ...)``: a command's own function with ``--json``, in this process, which is quicker."""

    def run(store: Path, command: Callable[..., Any], *arguments: Any) -> Any:
        monkeypatch.setenv("CXR_STORE", str(store))
        capsys.readouterr()
        command(*arguments, True)
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture(scope="module")
def alone(
    smoke: tuple[Place, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Place, dict[str, Any]]:
    """A copy as that run left it: elsewhere runs are added to the shared place, and here the latest is spoken of."""
    made = Place(tmp_path_factory.mktemp("release") / "place")
    shutil.copytree(untouched(smoke[0]), made.folder, symlinks=True)
    return made, smoke[1]


@pytest.fixture(scope="module")
def released(alone: tuple[Place, dict[str, Any]]) -> tuple[Place, dict[str, Any]]:
    """The reference, which passes on any data, promoted as ``releases/one``."""
    return alone[0], alone[0].json("promote", *REFERENCE)


def test_a_release_has_all_that_it_takes(released: tuple[Place, dict[str, Any]]) -> None:
    place, told = released
    store = Store.open(place.store)
    assert told["new"] is True
    (ref,) = store.pins()["releases/one"]
    assert ref.digest == told["digest"]
    assert {entry.name for entry in store.entries(ref)} == {
        "engine", "engine.json", "layers.json", "model.onnx", "variant.onnx", "preprocessing.json",
        "operating_point.json", "decision.json", "report.html", "report.json", "lineage.json", "LICENCES.md",
        "LICENSE", "README.md", "release.json", "model-card.md",
    }  # fmt: skip
    again = place.json("promote", *REFERENCE)
    assert (again["new"], again["digest"]) == (False, told["digest"])
    kept = {entry.digest for entry in store.entries(ref)} | {ref.digest}
    gone = store.gc(dry_run=True, keep_days=0, grace_seconds=0).removed_blobs
    assert not kept & set(gone)


def test_what_did_not_pass_is_promoted_by_force_only_and_says_so(
    alone: tuple[Place, dict[str, Any]], call: Call, tmp_path: Path
) -> None:
    place, run = alone
    verdict = next(r for r in run["rows"] if (r["precision"], r["backend"]) == ("int8", "openvino"))["verdict"]
    assert verdict != "pass"  # on so few images
    assert verdict in place.json("promote", *INT8, code=1)["message"]
    int8 = (run["run_id"], Precision.INT8, "openvino", "two")
    forced = call(place.store, promote, *int8, True)
    assert (forced["forced"], forced["verdict"]) == (True, verdict)
    with pytest.raises(UsageError, match=r"taken by .* they differ in .*release\.json"):
        call(place.store, promote, run["run_id"], Precision.FP32, "onnxruntime", "two", False)
    call(place.store, export, "releases/two", tmp_path / "two.tar", None, "latest")
    assert "PROMOTED BY FORCE" in place.cxr("verify-bundle", str(tmp_path / "two.tar")).stdout
    with tarfile.open(tmp_path / "two.tar") as archive:
        readme = archive.extractfile("two/files/README.md")
        assert readme is not None
        assert "PROMOTED BY FORCE" in readme.read().decode()


def test_what_has_no_engine_cannot_be_forced(alone: tuple[Place, dict[str, Any]], call: Call) -> None:
    store, run_id = alone[0].store, alone[1]["run_id"]
    with pytest.raises(RefusedError, match="unsupported"):
        call(store, promote, run_id, Precision.BF16, "onnxruntime", "x", True)
    with pytest.raises(UsageError, match="no branch is tf32"):
        call(store, promote, run_id, Precision.TF32, None, "x", True)
    with pytest.raises(UsageError, match="name one with --backend"):
        call(store, promote, run_id, Precision.INT8, None, "x", True)


def test_another_machine_takes_it_in_and_writes_the_same_file(
    released: tuple[Place, dict[str, Any]], call: Call, tmp_path: Path
) -> None:
    place = released[0]
    private, public = write_keys(tmp_path, "key")
    here, there, other = tmp_path / "here.tar", tmp_path / "there.tar", tmp_path / "other"
    place.cxr("store", "export", "releases/one", str(here), "--sign", str(private))
    proven = place.json("verify-bundle", str(here), "--key", str(public))
    assert (proven["kind"], proven["says"]["precision"]) == ("release", "fp32")
    with tarfile.open(here) as archive:
        (told,) = [name for name in archive.getnames() if name.endswith("/provenance.json")]
        read_by_in_toto(archive.extractfile(told).read())
    taken = place.json("store", "import", str(here), "--key", str(public), "--store", str(other))
    assert taken["kept_as"] == "releases/one"
    call(other, export, "releases/one", there, private, "latest")
    assert here.read_bytes() == there.read_bytes()
    way = call(other, lineage.show, "releases/one", "latest", None, None)  # from the release alone
    assert {node["kind"] for node in way["nodes"]} == {"stage", "data"}
    assert next(node for node in way["nodes"] if node["id"] == way["root"])["source"] == "release one"
    data = bytearray(here.read_bytes())
    data[len(data) // 2] ^= 1
    here.write_bytes(data)
    assert "files/" in place.json("verify-bundle", str(here), code=1)["message"]
    with pytest.raises(RefusedError, match="files/"):
        call(tmp_path / "third", take_in, here, None, None)
    assert not list((tmp_path / "third").rglob("blobs/sha256/*/*"))


def test_it_predicts_what_the_run_does_wherever_it_lies(released: tuple[Place, dict[str, Any]], tmp_path: Path) -> None:
    place, file = released[0], tmp_path / "one.tar"
    place.cxr("store", "export", "releases/one", str(file))
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path, filter="data")
    images = [str(path) for path in sorted((place.store / "phantoms").rglob("test/*/*.jpeg"))[:3]]
    of_run = place.json("predict", *images)
    assert len(of_run["predictions"]) == 3 and of_run["phantom"]
    assert all(row["interval"] for row in of_run["predictions"])
    for model in ("releases/one", str(file), str(tmp_path / "one")):
        found = place.json("predict", *images, "--model", model)
        assert (found["predictions"], found["digest"]) == (of_run["predictions"], of_run["digest"]), model
        assert found["release"]["precision"] == "fp32"


def test_verify_bundle_loads_nothing_heavy(released: tuple[Place, dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "one.tar"
    released[0].cxr("store", "export", "releases/one", str(file))
    program = (
        "import sys\nfrom flows.cli import app\napp(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'torch', 'prefect', 'openvino', 'onnxruntime', 'onnx', 'numpy', 'pandas', 'matplotlib', 'httpx'}\n"
        "print('heavy', sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, "verify-bundle", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=True, env=released[0].environment)
    assert "proven:" in done.stdout
    assert done.stdout.splitlines()[-1] == "heavy []"


def test_a_run_travels_whole_and_a_lost_artifact_is_named(
    copied: Callable[[], Place], call: Call, tmp_path: Path
) -> None:
    root = copied().store
    store, file, other = Store.open(root), tmp_path / "run.tar", tmp_path / "other"
    run = store.read_run("latest")
    engine = next(row["engine_digest"] for row in run["rows"] if row["precision"] == "int8")
    (root / "blobs" / "sha256" / engine[7:9] / engine[9:]).unlink()
    told = call(root, export, "latest", file, None, "latest")
    assert [ref["digest"] for ref in told["lost"]] == [engine]
    assert call(other, take_in, file, None, None)["kept_as"] == f"run {run['run_id']}"
    assert Store.open(other).read_run("latest") == run
    again = tmp_path / "again.tar"
    call(other, export, "latest", again, None, "latest")
    assert again.read_bytes() == file.read_bytes()
    Store.open(other).write_run(run["run_id"], {**run, "message": "another"})
    with pytest.raises(UsageError, match="its account is another"):
        call(other, take_in, file, None, None)


def test_the_way_back_outlives_the_records(copied: Callable[[], Place], call: Call, tmp_path: Path) -> None:
    place = copied()
    before = call(place.store, lineage.show, "int8@openvino", "latest", None, None)
    titles = [node["title"] for node in before["nodes"]]
    assert titles[0] == "engine int8@openvino"
    assert titles[-1] == "X-rays"
    for record in (place.store / "actions").iterdir():
        record.unlink()
    picture, page = tmp_path / "way.svg", tmp_path / "way.html"
    after = call(place.store, lineage.show, "int8@openvino", "latest", picture, page)
    assert after["edges"] == before["edges"]
    assert {node.get("source") for node in after["nodes"] if node["kind"] == "stage"} == {
        f"run {Store.open(place.store).read_run('latest')['run_id']}"
    }
    assert "engine int8@openvino" in picture.read_text()
    assert "X-rays" in page.read_text()
    drawn = place.cxr("store", "lineage", "int8@openvino").stdout
    assert drawn.count("drawn above") == 2
    assert max(map(len, drawn.splitlines())) <= 120


def test_pins_and_differences(copied: Callable[[], Place], call: Call) -> None:
    place = copied()
    place.cxr("store", "pin", "keep/int8", "int8@openvino", "report")
    with pytest.raises(UsageError, match="keep/int8 is taken"):
        call(place.store, pin, "keep/int8", ["fp32@openvino"], "latest")
    (reported,) = place.json("store", "ls", "report")
    engines = {(record["precision"], record["backend"]): record for record in place.json("store", "ls", "engine")}
    refs = [*engines["int8", "openvino"]["outputs"], *reported["outputs"]]
    assert call(place.store, unpin, "keep/int8")["refs"] == refs
    with pytest.raises(UsageError, match="no pin"):
        call(place.store, unpin, "keep/int8")
    found = place.json("store", "diff", "int8@openvino", "fp32@openvino", code=1)
    assert {"inputs.graph", "parameters.precision", "outputs.engine"} <= {field["field"] for field in found["fields"]}
    assert call(place.store, diff, "latest", "latest", "latest")["same"] is True
    with pytest.raises(UsageError, match="of one kind"):
        call(place.store, diff, "latest", "report", "latest")


def test_the_files_of_a_real_store_have_the_documented_shape(
    released: tuple[Place, dict[str, Any]], call: Call
) -> None:
    root, known = released[0].store, {name: Draft202012Validator(schema) for name, schema in schemas().items()}
    store = Store.open(root)

    def check(name: str, content: Any) -> None:
        problems = [error.message for error in known[name].iter_errors(content)]
        assert not problems, (name, problems[:3])

    for path in (root / "actions").iterdir():
        outer = json.loads(path.read_bytes())
        check("record-file", outer)
        check("record", json.loads(outer["result"])["data"])
    for path in (root / "runs").glob("*/run.json"):
        check("run", json.loads(path.read_bytes()))
    pins = list((root / "pins").rglob("*.json"))
    assert pins
    for path in pins:
        check("pin", json.loads(path.read_bytes()))
    (ref,) = store.pins()["releases/one"]
    check("ref", ref.model_dump(mode="json"))
    listing = (root / "blobs" / "sha256" / ref.digest[7:9] / ref.digest[9:]).read_bytes()
    check("tree", json.loads(listing))
    check("lineage", call(root, lineage.show, "report", "latest", None, None))
