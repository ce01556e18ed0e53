"""Every reader of what lies on disk or is brought as a file, with what it may say to bytes that it does not know.

Used twice: by hypothesis in the suite (test_readers.py), and by atheris (``make fuzz``).
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from cxr_core.bench.trtexec.importing import import_logs
from cxr_core.data.tables import read_table
from cxr_core.engines.metadata import EngineMetadata, read_metadata
from cxr_core.errors import CxrError, DataError, RefusedError, StoreError, UsageError
from cxr_core.evaluation.scores import read_scores
from cxr_core.graphs.metadata import GraphMetadata
from cxr_core.lineage.accounts import _lineage_of
from cxr_core.refs import Record, Ref
from cxr_core.release import envelope
from cxr_core.release.contents import provenance
from cxr_core.release.manifest import bundle_from_bytes, bytes_from_json
from cxr_core.release.packing import pack, unpack
from cxr_core.release.proof import prove
from cxr_core.release.statement import problems
from cxr_core.store import Store
from cxr_core.store.actions import record_from_content
from cxr_core.store.damage import LOST_NOTE
from cxr_core.store.documents import refs_in
from cxr_core.store.locks import who_holds
from cxr_core.store.pins import read_pin
from cxr_core.store.runs import read_run
from cxr_core.store.seals import sealed, unsealed
from cxr_core.store.trees import bytes_from_entries, entries_from_bytes
from tests.cxr_core.bench.trtexec.conftest import log_text
from tests.cxr_core.release.conftest import MADE, bundle_of, write_keys

KEY = "a" * 64
STARTED = "2026-11-24T00:00:00Z"


@dataclass(frozen=True)
class Reader:
    """``read`` takes bytes; it returns, or raises one of ``refuses``. ``valid`` are bytes that it takes."""

    read: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...]
    valid: tuple[bytes, ...]


def readers(folder: Path) -> dict[str, Reader]:
    """All of them, working in a folder of their own."""
    return dict([*_documents(folder), *_store_files(folder), *_artifacts(folder), *_release(folder), *_brought(folder)])


def written(path: Path, data: bytes) -> Path:
    """A file with these bytes, and a new one each time."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


def _record(**more: Any) -> dict[str, Any]:
    ref = Ref(form="tree", digest=f"sha256:{KEY}", size=5, name="layers.json", facts={"count": 3})
    parts = {"stage": "engine", "inputs": {}, "parameters": {"precision": "int8"}, "code": {"a.py": "1"}}
    record = Record(stage="engine", key=KEY, parts=parts, outputs={"layers": ref}, seconds=1.5, facts={"a": [1, None]})
    return {"__class__": "cxr_core.refs.Record", "data": record.model_dump(mode="json")} | more


def _persisted(result: str) -> bytes:
    return json.dumps({"metadata": {"serializer": {"type": "json"}}, "result": result}).encode()


def _documents(folder: Path) -> Iterator[tuple[str, Reader]]:
    """Sealed documents as they lie there, and what is parsed once a seal is right."""
    store = Store.open(folder / "documents")
    run = {"run_id": "r", "started": STARTED, "records": [_record()["data"]]}
    pin = {"pin": "releases/a", "refs": _list_of_refs()}

    def seal(data: bytes) -> None:
        assert sealed(unsealed(data)) == data

    def record(data: bytes) -> None:
        assert record_from_content(data, KEY).key == KEY

    def run_of(data: bytes) -> None:
        path = written(store.run_folder("r") / "run.json", data)
        found = read_run(path)
        assert found.run_id == "r"
        list(refs_in(found.content))

    def pin_of(data: bytes) -> None:
        (store.root / "pins" / "releases").mkdir(exist_ok=True)
        assert read_pin(written(store.root / "pins" / "releases" / "a.json", data), store._layout)[0] == "releases/a"

    run_bytes, pin_bytes, record_bytes = json.dumps(run).encode(), json.dumps(pin).encode(), json.dumps(_record())
    yield "seal", Reader(seal, (ValueError,), (sealed(run_bytes), sealed(pin_bytes)))
    yield "record", Reader(record, (ValueError,), (_persisted(record_bytes),))
    yield (
        "record, inside",
        Reader(
            lambda data: record(_persisted(data.decode("utf-8", "replace"))), (ValueError,), (record_bytes.encode(),)
        ),
    )
    yield "run", Reader(run_of, (ValueError,), (sealed(run_bytes),))
    yield "run, sealed anew", Reader(lambda data: run_of(sealed(data)), (ValueError,), (run_bytes,))
    yield "pin", Reader(pin_of, (ValueError,), (sealed(pin_bytes),))
    yield "pin, sealed anew", Reader(lambda data: pin_of(sealed(data)), (ValueError,), (pin_bytes,))


def _list_of_refs() -> list[dict[str, Any]]:
    return [
        Ref(form=form, digest=f"sha256:{KEY}", size=5, name="x").model_dump(mode="json") for form in ("blob", "tree")
    ]  # type: ignore[arg-type]


def _store_files(folder: Path) -> Iterator[tuple[str, Reader]]:
    store = Store.open(folder / "files")
    note = store.root / "quarantine" / "notes" / KEY
    note.parent.mkdir()
    good_note = json.dumps({"digest": f"sha256:{KEY}", "reason": "missing: no such file"}).encode()

    def tree(data: bytes) -> None:
        assert bytes_from_entries(entries_from_bytes(data)) == data

    def format_of(data: bytes) -> None:
        written(store.root / "FORMAT", data)
        assert Store.open(store.root).root == store.root

    def note_of(data: bytes) -> None:
        written(note, data)
        reason = store._quarantine.notes()[f"sha256:{KEY}"]
        assert (reason == LOST_NOTE) == bool(store._quarantine.damaged_notes())

    def holder(data: bytes) -> None:
        assert isinstance(who_holds(written(store.root / "locks" / "key", data)), str)

    entry = [{"digest": f"sha256:{KEY}", "name": name, "size": 3} for name in ("a/b", "a/\u00e9", "c")]
    listing = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    signed = json.dumps({"holder": "me", "pid": 1, "host": "here", "since": STARTED}).encode()
    yield "tree listing", Reader(tree, (ValueError,), (listing.encode(), b"[]\n"))
    yield "FORMAT", Reader(format_of, (StoreError,), (b"1\n",))
    yield "note", Reader(note_of, (), (sealed(good_note),))
    yield "note, sealed anew", Reader(lambda data: note_of(_sealed_if_possible(data)), (), (good_note,))
    yield "holder of a lock", Reader(holder, (), (signed,))


def _sealed_if_possible(data: bytes) -> bytes:
    try:
        return sealed(data)
    except ValueError:
        return data


def _artifacts(folder: Path) -> Iterator[tuple[str, Reader]]:
    metadata = EngineMetadata(
        backend="openvino", fake=False, precision="int8", engine_digest=f"sha256:{KEY}", engine_bytes=3,  # type: ignore[arg-type]
        graph_digest=f"sha256:{KEY}", built_for={"version": "1"}, input="image", output="logits",
        model=GraphMetadata(
            labels=("NORMAL", "PNEUMONIA"), size=96, filter="bilinear", temperature=1.0, threshold=0.5,
        ),
    )  # fmt: skip
    table = b'path,label,bytes\na.png,NORMAL,12\n"b,c",PNEUMONIA,7\n'
    yield (
        "engine metadata",
        Reader(
            lambda data: read_metadata(written(folder / "engine.json", data)),
            (RefusedError,),
            (metadata.model_dump_json(indent=1).encode(),),
        ),
    )
    yield (
        "manifest",
        Reader(
            lambda data: read_table(written(folder / "manifest.csv", data), ["path", "label", "bytes"]),
            (DataError,),
            (table,),
        ),
    )


def _release(folder: Path) -> Iterator[tuple[str, Reader]]:
    store = Store.open(folder / "release")
    source = folder / "source"
    (source / "deep").mkdir(parents=True)
    (source / "engine").write_bytes(b"engine" * 50)
    (source / "deep" / "R\u00f6ntgen").write_bytes(b"")
    private, public = write_keys(folder, "key")
    bundle = bundle_of(store, store.put(source, "it"))
    plain = pack(store, bundle, MADE, folder / "plain.tar").file.read_bytes()
    signed = pack(store, bundle, MADE, folder / "signed.tar", private).file.read_bytes()
    proof = prove(folder / "plain.tar")
    manifest, statement = bytes_from_json(bundle.model_dump(mode="json")), proof.provenance
    signing = envelope.signed(statement, private)

    def archive(data: bytes) -> None:
        file = written(folder / "it.tar", data)
        before = sorted(os.listdir(folder))  # noqa: PTH208
        try:
            other = Store.open(folder / "other")
            unpack(other, file, prove(file))
            assert other.verify().exit_code == 0
        finally:
            shutil.rmtree(folder / "other")
            assert sorted(os.listdir(folder)) == before  # noqa: PTH208

    def dsse(data: bytes) -> None:
        envelope.key_ids(data, statement)
        envelope.check(data, statement, public)

    def says(data: bytes) -> None:
        assert all(isinstance(problem, str) for problem in problems(data, {"bundle.json": f"sha256:{KEY}"}))

    def lineage(data: bytes) -> None:
        (folder / "release-tree").mkdir(exist_ok=True)
        written(folder / "release-tree" / "lineage.json", data)
        ref = store.put(folder / "release-tree", "release")
        _lineage_of(store, ref)
        made = provenance(release, from_json(data))
        pack(store, bundle, made, folder / "lineage.tar")
        (folder / "lineage.tar").unlink()

    names = ("precision", "backend", "verdict", "forced", "settings", "asked", "data")
    release = dict.fromkeys(names, "x") | {
        "cxr": "0.1.0", "run": {"run_id": "r", "started": STARTED, "finished": STARTED},
    }  # fmt: skip
    yield "bundle", Reader(archive, (CxrError,), (plain, signed))
    yield "bundle.json", Reader(bundle_from_bytes, (ValueError,), (manifest,))
    yield "provenance", Reader(says, (), (statement,))
    yield "DSSE envelope", Reader(dsse, (RefusedError,), (signing,))
    yield "lineage of a release", Reader(lineage, (RefusedError, ValueError), (_lineage(),))


def _brought(folder: Path) -> Iterator[tuple[str, Reader]]:
    """What a person names to ``cxr bench import``, judged by every rule, and scores as ``compare`` takes them."""
    written(folder / "known.log", log_text(queries=4, compute=1.0).encode())
    times = [{"startComputeMs": i, "endComputeMs": i + 1, "computeMs": 1.0, "latencyMs": 1.1} for i in range(4)]
    layers = {"Layers": [{"Name": "a", "LayerType": "x", "Inputs": [{"Format/Datatype": "FP16"}]}], "Bindings": ["x"]}
    profile = [{"count": 4}, {"name": "a", "timeMs": 4.0, "averageMs": 1.0, "percentage": 100.0}]
    beside = {
        "times": json.dumps(times).encode(),
        "layers": json.dumps(layers).encode(),
        "profile": json.dumps(profile).encode(),
        "accuracies": b"fp16 accuracy = 0.9215\nfp32: accuracy = 92.3 %\n",
    }
    context = (
        b"device: Tesla T4\ngflop_per_image: 3.0\nparameters: 17550000\ndataset: {test: 624, val: 16}\n"
        b"accuracy_log: accuracies\n"
        b"logs: [{precision: fp16, log: known.log, engine_bytes: 70000000,\n"
        b"  times: times, layers: layers, profile: profile}]\n"
        b"claims: [{precision: fp16, over: fp32, metric: throughput, percent: 40}]\n"
    )

    def beside_a_log(name: str) -> Callable[[bytes], object]:
        def read(data: bytes) -> None:
            for other, valid in {**beside, "context": context}.items():
                written(folder / other, data if other == name else valid)
            import_logs([], folder / "context").model_dump_json()

        return read

    log = log_text(device=("Tesla T4", "7.5", 40, 1.59), binding="8x1x224x224", trace=3000, variation=3.0)
    yield (
        "trtexec's log",
        Reader(lambda data: import_logs([written(folder / "a.log", data)], None), (UsageError,), (log.encode(),)),
    )
    for name, valid in {**beside, "context": context}.items():
        yield f"trtexec's {name}", Reader(beside_a_log(name), (UsageError,), (valid,))
    scores = b"file,label,kind,patient,logit_normal,logit_pneumonia,probability\na,0,n,p,1,0,0.3\nb,1,b,q,0,1,0.7\n"
    yield "scores", Reader(lambda data: read_scores(written(folder / "scores.csv", data)), (DataError,), (scores,))


def _lineage() -> bytes:
    node = {
        "id": "engine", "kind": "stage", "title": "engine", "key": KEY, "code": {"digest": f"sha256:{KEY}"},
        "where": {"python": "3.11.2", "openvino": "2026.4"}, "branch": "int8@openvino", "record": None, "when": STARTED,
    }  # fmt: skip
    data = {"id": "data", "kind": "data", "title": "X-rays", "digest": f"sha256:{KEY}"}
    edge = {"from": "data", "to": "engine", "input": "folder", "output": None, "digest": f"sha256:{KEY}"}
    return bytes_from_json({"schema_version": 1, "root": "x", "nodes": [node, data], "edges": [edge], "lost": []})
