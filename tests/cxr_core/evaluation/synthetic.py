"""A made-up run as the stages before ``compare`` would leave it: scores, benchmarks, facts, all seeded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from cxr_core.config import CompareConfig, OcclusionConfig, RobustnessConfig
from cxr_core.evaluation.compare import compare
from cxr_core.evaluation.occlusion import occlusion
from cxr_core.evaluation.robustness import robustness
from cxr_core.graphs.files import save_graph
from cxr_core.graphs.metadata import GraphMetadata, write_metadata

THRESHOLD = 0.45


def answers(images: int = 360, seed: int = 0, separation: float = 2.1) -> pd.DataFrame:
    """The scores of a plausible classifier: about 1.5 images a patient, bacteria easier than virus."""
    rng = np.random.default_rng(seed)
    patient = np.sort(rng.integers(0, max(4, int(images / 1.5)), images))
    of_kind = rng.permutation(np.resize(["normal", "bacteria", "virus"], patient.max() + 1))
    kind = of_kind[patient]
    label = (kind != "normal").astype(int)
    of_patient = rng.normal(0, 0.7, patient.max() + 1)[patient]
    shift = np.select([kind == "bacteria", kind == "virus"], [0.3, -0.3], 0.0)
    margin = (label - 0.5) * 2 * separation + shift + of_patient + rng.normal(0, 1.2, images)
    table = pd.DataFrame(
        {
            "file": [
                f"test/{'PNEUMONIA' if one else 'NORMAL'}/{k}-{p:04d}-{i:05d}.jpeg"
                for i, (one, k, p) in enumerate(zip(label, kind, patient, strict=True))
            ],
            "label": label,
            "kind": kind,
            "patient": [f"{k}-{p:04d}" for k, p in zip(kind, patient, strict=True)],
        }
    )
    return with_margin(table, margin).sort_values("file", ignore_index=True)


def with_margin(table: pd.DataFrame, margin: Any) -> pd.DataFrame:
    """The same images with other answers."""
    margin = np.asarray(margin, dtype=float)
    return table.assign(logit_normal=-margin / 2, logit_pneumonia=margin / 2, probability=1 / (1 + np.exp(-margin)))


def margin_of(table: pd.DataFrame) -> Any:
    return (table["logit_pneumonia"] - table["logit_normal"]).to_numpy()


def noisy(table: pd.DataFrame, sigma: float, seed: int = 1) -> pd.DataFrame:
    """An engine that answers almost as the reference."""
    return with_margin(table, margin_of(table) + np.random.default_rng(seed).normal(0, sigma, len(table)))


def flipped(table: pd.DataFrame, lost: int, gained: int = 0) -> pd.DataFrame:
    """An engine that turns ``lost`` right decisions wrong and ``gained`` wrong ones right, by a hair."""
    margin, edge = margin_of(table).copy(), np.log(THRESHOLD / (1 - THRESHOLD))
    called = table["probability"].to_numpy() >= THRESHOLD
    right = called == (table["label"].to_numpy() == 1)
    for group, count in ((right, lost), (~right, gained)):
        nearest = [i for i in np.argsort(np.abs(margin - edge)) if group[i]][:count]
        assert len(nearest) == count
        margin[nearest] = np.where(called[nearest], edge - 1e-3, edge + 1e-3)
    return with_margin(table, margin)


def benchmark(ratio: float = 1.0, rate: float = 400.0, reason: str = "", seed: int = 0) -> dict[str, Any]:
    times = np.random.default_rng(seed).gamma(20, 1000 / rate / 20, 800)
    latency = {
        "batch": 1,
        "count": 800,
        "min_ms": float(times.min()),
        "max_ms": float(times.max()),
        "mean_ms": float(times.mean()),
        "median_ms": float(np.median(times)),
        "p90_ms": float(np.quantile(times, 0.9)),
        "p95_ms": None,
        "p99_ms": float(np.quantile(times, 0.99)),
        "cv": 0.2,
    }
    interval = {"value": ratio, "low": ratio * 0.98, "high": ratio * 1.02, "rounds": 10}
    return {
        "backend": "b",
        "precision": "p",
        "device": "A CPU",
        "latency": latency,
        "throughput": {"batch": 32, "queries": 100, "images": 3200, "seconds": 3200 / rate, "images_per_second": rate},
        "reference": {},
        "ratio": {"throughput": interval, "latency": interval},
        "reason": reason,
        "latencies_ms": [float(t) for t in times],
    }


def done(
    folder: Path,
    precision: str,
    backend: str,
    scores: pd.DataFrame,
    measured: Mapping[str, Any] | None = None,
    **facts: Any,
) -> dict[str, Any]:
    """A finished branch's entry, with its files written below ``folder``."""
    place = folder / f"{precision}-{backend}"
    place.mkdir(parents=True)
    scores.to_csv(place / "scores.csv", index=False, float_format="%.9g")
    timed = {row.file: [row.logit_normal, row.logit_pneumonia] for row in scores.head(40).itertuples()}
    (place / "benchmark.json").write_text(json.dumps({"audit": timed, **(measured or benchmark())}))
    said = {
        "effective": {precision: 1.0},
        "effective_precision": precision,
        "support": "native",
        "device": "A CPU",
        "note": "",
    }
    return {
        "precision": precision,
        "backend": backend,
        "state": "done",
        "reason": "",
        "engine": {"digest": "sha256:" + "a" * 64, "bytes": 1_300_000, "facts": {**said, **facts}},
        "benchmark": f"{place.name}/benchmark.json",
        "scores": f"{place.name}/scores.csv",
        "benchmark_engine": "sha256:" + "a" * 64,
        "scores_engine": "sha256:" + "a" * 64,
    }


def undone(precision: str, backend: str, state: str, reason: str) -> dict[str, Any]:
    return {
        "precision": precision,
        "backend": backend,
        "state": state,
        "reason": reason,
        "engine": None,
        "benchmark": None,
        "scores": None,
    }


def inputs(folder: Path, reference: pd.DataFrame, branches: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that ``compare`` takes but ``config``, written below ``folder``."""
    out = folder / "out"
    out.mkdir(parents=True)
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "checkpoint.json").write_text(
        json.dumps(
            {
                "model": "cxr_small",
                "size": 96,
                "filter": "bilinear",
                "labels": ["NORMAL", "PNEUMONIA"],
                "temperature": 0.8,
                "threshold": THRESHOLD,
                "flip_average": True,
                "pretrained": "none",
                "images_seen": 2000,
                "trained": True,
                "validation": {"auc": 0.99, "auc_perturbed": 0.97},
            }
        )
    )
    pd.DataFrame(
        {
            "step": range(1, 61),
            "images": [32 * i for i in range(1, 61)],
            "loss": 0.7 * np.exp(-np.arange(60) / 30),
            "learning_rate": np.sin(np.linspace(0.1, 3.1, 60)) * 2e-3,
        }
    ).to_csv(checkpoint / "history.csv", index=False)
    test = reference[["file", "label", "kind", "patient"]].assign(split="test")
    rest = test.head(40).assign(
        file=lambda t: "train/" + t["file"], split=lambda t: (["train"] * 30 + ["val"] * 10)[: len(t)]
    )
    pd.concat([test, rest]).to_csv(folder / "split.csv", index=False)
    reference.to_csv(folder / "reference.csv", index=False, float_format="%.9g")
    for name, content in (
        ("branches", branches),
        ("warnings", ["144 bare numbers are in train and in test."]),
        ("shortcuts", {"geometry": {"auc": 0.88, "accuracy": 0.8}, "ridge32": {"auc": 0.91, "accuracy": 0.75}}),
        ("parity", {"applicable": True, "max_abs": 2e-6}),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return {
        "branches": folder / "branches.json",
        "reference_scores": folder / "reference.csv",
        "threshold": THRESHOLD,
        "split": folder / "split.csv",
        "shortcuts": folder / "shortcuts.json",
        "warnings": folder / "warnings.json",
        "out": out,
    }


def tensors(folder: Path, reference: pd.DataFrame, size: int = 48) -> Path:
    """The frozen tensors that these images would have come from: two soft lungs each, brighter where it is ill."""
    target = folder / "tensors"
    target.mkdir(parents=True)
    rng = np.random.default_rng(0)
    down, across = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    lungs = sum(np.exp(-(((across - x) / 0.32) ** 2) - (down / 0.7) ** 2) for x in (-0.45, 0.45))
    ill = reference["label"].to_numpy()[:, None, None]
    pictures = 190 - 120 * lungs * (1 - 0.4 * ill) + rng.normal(0, 12, (len(reference), size, size))
    np.save(target / "images.npy", pictures.clip(0, 255).astype(np.uint8))
    index = reference[["file", "label", "kind", "patient"]].assign(number=1, split="test")
    index.loc[index.index % 5 == 4, "split"] = "val"
    index.insert(0, "row", range(len(index)))
    index.to_csv(target / "index.csv", index=False)
    return target


def graph(path: Path, rows: slice, columns: slice, size: int = 48) -> Path:
    """An ONNX file by the contract that calls PNEUMONIA where that part of the picture is brighter than grey 110."""
    part = np.zeros((size, size), np.float32)
    part[rows, columns] = 1
    weights = np.stack([np.zeros(size * size, np.float32), 0.05 * part.ravel() / part.sum()], axis=1)
    bias = np.array([0, -0.05 * 110], np.float32)
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Flatten", ["input"], ["flat"], axis=1),
                helper.make_node("Gemm", ["flat", "weights", "bias"], ["output"]),
            ],
            "bright",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, size, size])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])],
            [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    known = GraphMetadata(labels=("NORMAL", "PNEUMONIA"), size=size, filter="bilinear", temperature=1.0, threshold=0.5)
    write_metadata(model, known)
    save_graph(model, path)
    return path


def variants(folder: Path) -> Path:
    """Two precisions that look at different places: FP32 at the left lung, INT8 at the right one."""
    graph(folder / "fp32.onnx", slice(12, 36), slice(6, 20))
    graph(folder / "int8.onnx", slice(12, 36), slice(28, 42))
    listing = folder / "variants.json"
    listing.write_text(json.dumps({"fp32": "fp32.onnx", "int8": "int8.onnx"}))
    return listing


def whole_run(folder: Path) -> dict[str, Path]:
    """The artifacts that a report is made of, of a run in which every kind of row occurs."""
    reference = answers()
    given = inputs(
        folder,
        reference,
        [
            done(folder, "fp32", "openvino", noisy(reference, 1e-6), benchmark(1.0, 900)),
            done(folder, "bf16", "openvino", noisy(reference, 0.0005), benchmark(1.8, 1600)),
            done(
                folder,
                "int8",
                "openvino",
                noisy(reference, 2.0),
                benchmark(3.0, 2700),
                effective={"int8": 0.7, "fp32": 0.3},
                effective_precision="int8+fp32",
            ),
            undone("tf32", "openvino", "unsupported", "This CPU has no TF32."),
            done(folder, "fp32", "onnxruntime", reference, benchmark(1.0, 400)),
        ],
    )
    compare(**given, config=CompareConfig(bootstrap=300))
    comparison, frozen, listing = given["out"] / "comparison.json", tensors(folder, reference), variants(folder)
    closer = {"tensors": frozen, "variants": listing, "out": folder}
    occlusion(comparison=comparison, config=OcclusionConfig(images=3), **closer)
    robustness(config=RobustnessConfig(images=40), **closer)
    return {
        "comparison": comparison,
        "checkpoint": folder / "checkpoint",
        "parity": folder / "parity.json",
        "tensors": frozen,
        "occlusion": folder / "occlusion.json",
        "robustness": folder / "robustness.json",
    }
