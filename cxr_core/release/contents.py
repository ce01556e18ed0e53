"""What a release says about itself: the files that are written for it, beside those that the run left."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cxr_core.refs import Record
from cxr_core.release.licences import notes, weights_note
from cxr_core.release.manifest import bytes_from_json
from cxr_core.release.statement import Provenance, packages_of

RELEASE_FILE = "release.json"
NOTICE = "Research only. This is no medical device and must not be used for a diagnosis."

# Where a folder or file of the user lies is nobody else's business; what was in it is in the lineage by digest.
_PLACES = ("data", "weights", "onnx", "profile_file")


@dataclass(frozen=True)
class Promotion:
    """What is promoted: the run's account, the branch's row, the records, and whether it was forced."""

    account: Mapping[str, Any]
    row: Mapping[str, Any]
    records: Mapping[str, Record]
    metadata: Mapping[str, Any]
    lineage: Mapping[str, Any]
    version: str
    licence: str
    forced: bool

    @property
    def model(self) -> Mapping[str, Any]:
        """What the engine's metadata say of the model."""
        model: Mapping[str, Any] = self.metadata["model"]
        return model

    @property
    def branch(self) -> str:
        """``int8@openvino``."""
        return f"{self.row['precision']}@{self.row['backend']}"


def files(what: Promotion) -> dict[str, bytes]:
    """The files by name. They hold no time but the run's, so that the same run gives the same bytes."""
    train, export = what.records.get("train"), what.records["export"]
    nodes = [node for node in what.lineage["nodes"] if node["kind"] == "stage"]
    source = str(what.account["data"].get("source"))
    weights = weights_note(train.parts if train else None, export.parts)
    return {
        RELEASE_FILE: bytes_from_json(release(what)),
        "preprocessing.json": bytes_from_json(preprocessing(what)),
        "operating_point.json": bytes_from_json(operating_point(what)),
        "decision.json": bytes_from_json(dict(what.row)),
        "lineage.json": bytes_from_json(dict(what.lineage)),
        "LICENCES.md": notes(source, weights, packages_of(nodes)).encode(),
        "LICENSE": what.licence.encode(),
        "README.md": readme(what).encode(),
    }


def release(what: Promotion) -> dict[str, Any]:
    """``release.json``: which branch of which run it is, and its verdict. No path and no host is in it."""
    account, row = what.account, what.row
    data = account["data"]
    asked = {name: value for name, value in account["parameters"].items() if name not in _PLACES}
    return {
        "schema_version": 1,
        "precision": row["precision"],
        "backend": row["backend"],
        "engine": what.metadata["engine_digest"],
        "effective_precision": row.get("effective_precision"),
        "verdict": row.get("verdict"),
        "reason": row.get("reason"),
        "forced": what.forced,
        "run": {name: account.get(name) for name in ("run_id", "started", "finished", "profile")},
        "settings": account["settings"],
        "asked": asked,
        "data": {
            "source": data.get("source"),
            "digest": data.get("digest"),
            "fingerprint": {name: data["fingerprint"].get(name) for name in ("digest", "files", "bytes")},
        },
        "looks_at_test": account.get("looks_at_test"),
        "cxr": what.version,
        "intended_use": NOTICE,
    }


def preprocessing(what: Promotion) -> dict[str, Any]:
    """``preprocessing.json``: all that must be done to a picture before the graph, which does the rest."""
    size = what.model["size"]
    return {
        "schema_version": 1,
        "decode": "JPEG, PNG or DICOM; turned as EXIF says; reduced to 8-bit grey: colour by ITU-R 601 luma, 16 bit by "
        "scaling the full range, DICOM through the first window of its header, MONOCHROME1 inverted",
        "resize": {
            "height": size, "width": size, "filter": what.model["filter"], "library": "Pillow",
            "aspect_ratio": "not kept: squeezed to the square",
        },
        "input": {
            "name": what.metadata["input"], "dtype": "float32", "shape": ["batch", 1, size, size], "range": [0, 255],
        },
        "inside_the_graph": "scaling, standardisation, and flip averaging where it is used: never do them outside",
        "function": "cxr_core.data.decode:decode_and_resize",
    }  # fmt: skip


def operating_point(what: Promotion) -> dict[str, Any]:
    """``operating_point.json``: how an output becomes a label."""
    model = what.model
    return {
        "schema_version": 1,
        "labels": list(model["labels"]),
        "output": what.metadata["output"],
        "temperature": model["temperature"],
        "threshold": model["threshold"],
        "rule": f"{model['labels'][1]} if softmax(output / temperature)[1] >= threshold, else {model['labels'][0]}",
    }


def readme(what: Promotion) -> str:
    """``README.md``: for whoever unpacks it."""
    row = what.row
    said = str(row.get("reason") or "").strip()
    forced = ["", f"**PROMOTED BY FORCE: its verdict is {row.get('verdict')}, not pass.**"] if what.forced else []
    phantom = what.account["data"].get("source") == "phantom"
    return "\n".join(
        [
            f"# {row['precision']} on {row['backend']}", "", NOTICE, *forced,
            *(["", "**PHANTOM DATA: every figure is about generated images, not about patients.**"] if phantom else []),
            "", f"Verdict: {row.get('verdict')}. {said}", "",
            "| file | what it is |", "|---|---|",
            "| `engine`, `engine.json` | what the backend loads, and for which device and version it was built |",
            "| `layers.json` | in which precision each layer really runs, with its formats and tactic where known |",
            "| `variant.onnx` | the graph that the engine was compiled from |",
            "| `model.onnx` | the graph as exported, FP32; it alone suffices for `cxr predict --model` |",
            "| `preprocessing.json`, `operating_point.json` | from picture to input, from output to label |",
            "| `decision.json` | its row of the decision table |",
            "| `report.html`, `report.json` | the whole report of the run, without radiographs |",
            "| `model-card.md` | the model in the form that model hubs read |",
            "| `lineage.json` | every stage from the X-rays to the engine: code, parameters, versions, digests |",
            "| `LICENCES.md`, `LICENSE` | licence notes |",
            "| `release.json` | which run this is of, and with which settings |", "",
            "An engine is executable: load it only where `engine.json` says that it belongs.", "",
        ]
    )  # fmt: skip


def provenance(content: Mapping[str, Any], lineage: Mapping[str, Any]) -> Provenance:
    """The provenance of a release from its own ``release.json`` and ``lineage.json`` alone."""
    run = content["run"]
    return Provenance(
        kind="release",
        version=content["cxr"],
        external={
            name: content[name] for name in ("precision", "backend", "verdict", "forced", "settings", "asked", "data")
        },
        lineage=lineage,
        invocation=run["run_id"],
        started=run["started"],
        finished=run["finished"],
    )
