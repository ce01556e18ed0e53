"""parity: the gate between PyTorch and ONNX. Nothing is lowered before the exported graph has passed it.

A gate must be able to fail: where the outputs hardly differ from image to image (untrained weights)
any graph would pass within the tolerances, so that is refused too.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import JsonValue

from cxr_core.config import ParityConfig
from cxr_core.data.tensors import open_tensors
from cxr_core.errors import ModelError, RefusedError
from cxr_core.graphs.answers import Answering, Images, Logits, probabilities, rounded
from cxr_core.graphs.files import open_graph
from cxr_core.graphs.metadata import GraphMetadata
from cxr_core.progress import Progress, silent

_Answers = Callable[[np.ndarray[Any, Any], int], Logits]


def parity(
    *, checkpoint: Path, graph: Path, tensors: Path, out: Path, config: ParityConfig, progress: Progress = silent
) -> dict[str, JsonValue]:
    """Compare the checkpoint with its exported graph on validation images and on random ones.

    Every batch size in ``config.batches`` is run on both sides. Passed means |onnx - torch| <=
    atol + rtol |torch| for every logit, and the same decision for every image. Writes ``out/parity.json``.

    Raises:
        RefusedError: beyond the tolerances, another decision, or outputs that do not depend on the image.
        ModelError: the graph's metadata are not those of the checkpoint.
    """
    from cxr_core.training.checkpoint import load_checkpoint

    network, about = load_checkpoint(checkpoint)
    _, metadata = open_graph(graph)
    _same_source(metadata, about.model_dump(mode="json"))
    if not about.trained:
        raise RefusedError(
            "the checkpoint is untrained: its outputs cannot tell a right graph from a wrong one; train first"
        )
    found = _probe(_torch_answers(network), Answering(graph), metadata, tensors, config, progress)
    return _written(out, {"applicable": True, "reference": "pytorch", **found})


def parity_of_adopted(
    *, graph: Path, tensors: Path, out: Path, config: ParityConfig, progress: Progress = silent
) -> dict[str, JsonValue]:
    """A graph that was brought has no PyTorch side: only that it answers, and the same at every batch size.

    Raises:
        RefusedError: as in ``parity``.
    """
    _, metadata = open_graph(graph)
    answering = Answering(graph)
    found = _probe(lambda images, batch: answering(images, 1), answering, metadata, tensors, config, progress)
    return _written(out, {"applicable": False, "reference": "the graph itself, one image at a time", **found})


def _probe(
    expected: _Answers,
    found: _Answers,
    metadata: GraphMetadata,
    tensors: Path,
    config: ParityConfig,
    progress: Progress,
) -> dict[str, JsonValue]:
    real = validation_images(tensors, config.images, metadata.size)
    noise = np.random.default_rng(config.seed).integers(0, 256, (max(config.batches), *real.shape[1:]), np.uint8)
    probes: list[tuple[str, Images, int]] = [("validation", real, batch) for batch in config.batches]
    probes.append(("random", noise, max(config.batches)))
    rows: list[JsonValue] = []
    for number, (name, images, batch) in enumerate(probes):
        progress(number, len(probes), f"{name} images, batch {batch}")
        whole = np.resize(images, (-(-len(images) // batch) * batch, *images.shape[1:]))  # no smaller last batch
        ours, theirs = found(whole, batch), expected(whole, batch)
        if number == 0:
            spread = _spread(theirs, config.smallest_spread)
        rows.append(
            {"images": name, "batch": batch, "count": len(whole), **_differences(ours, theirs, metadata, config)}
        )
    _judge(rows, config)
    return {"images": len(real), "spread": spread, "rtol": config.rtol, "atol": config.atol, "probes": rows}


def validation_images(tensors: Path, count: int, size: int) -> Images:
    """At most ``count`` validation images, evenly spaced over the split, uint8 ``[n, 1, size, size]``.

    Raises:
        DataError: no validation images.
        ModelError: the graph takes images of another size.
    """
    data = open_tensors(tensors)
    if data.images.shape[1:] != (size, size):
        raise ModelError(
            f"the graph takes {size} x {size} pixels, the tensors have {data.images.shape[1:]}; "
            f"run with tensors.size={size}, or export the graph again"
        )
    rows = data.select("val")
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]
    return np.ascontiguousarray(data.images[chosen])[:, None]


def _torch_answers(network: Any) -> _Answers:
    import torch

    def answers(images: np.ndarray[Any, Any], batch: int) -> Logits:
        with torch.inference_mode():
            chunks = [network(torch.from_numpy(images[i : i + batch]).float()) for i in range(0, len(images), batch)]
        return np.asarray(torch.cat(chunks).numpy())

    return answers


def _same_source(metadata: GraphMetadata, about: dict[str, JsonValue]) -> None:
    for name, value in metadata.model_dump(mode="json").items():
        if name != "version" and about[name] != value:
            raise ModelError(
                f"the graph's cxr.{name} is {value!r}, the checkpoint's {about[name]!r}: the graph was exported "
                "from other weights; export it again"
            )


def _spread(logits: Logits, smallest: float) -> float:
    """Over the images, largest less smallest difference of the two logits."""
    margins = logits[:, 1] - logits[:, 0]
    spread = float(np.ptp(margins))
    if not np.isfinite(logits).all():
        raise RefusedError(
            "the network's outputs on validation images are not all finite; the weights are broken, train again"
        )
    if spread < smallest:
        raise RefusedError(
            f"outputs over {len(logits)} validation images spread by {spread:.3g}, expected at least "
            f"{smallest:g}: the weights look untrained, and any graph would pass this gate; train longer"
        )
    return rounded(spread)


def _differences(ours: Logits, theirs: Logits, metadata: GraphMetadata, config: ParityConfig) -> dict[str, JsonValue]:
    gap = np.abs(ours.astype(np.float64) - theirs)
    allowed = config.atol + config.rtol * np.abs(theirs)
    decided = [probabilities(logits, metadata) >= metadata.threshold for logits in (ours, theirs)]
    finite = bool(np.isfinite(ours).all())
    return {
        "finite": finite,
        "max_absolute": rounded(float(gap.max())) if finite else None,
        "max_relative": rounded(float((gap / np.maximum(np.abs(theirs), 1e-12)).max())) if finite else None,
        "tolerance_used": rounded(float((gap / allowed).max())) if finite else None,
        "other_decisions": int((decided[0] != decided[1]).sum()),
    }


def _judge(rows: list[Any], config: ParityConfig) -> None:
    bad = [r for r in rows if not r["finite"] or r["tolerance_used"] > 1 or r["other_decisions"]]
    if not bad:
        return
    lines = [
        f"  {r['images']}, batch {r['batch']}: max |difference| {r['max_absolute']}, "
        f"{r['tolerance_used']} times the tolerance, {r['other_decisions']} of {r['count']} decisions differ"
        for r in bad
    ]
    raise RefusedError(
        "parity gate: the ONNX graph does not answer as its reference does "
        f"(rtol {config.rtol:g}, atol {config.atol:g}):\n"
        + "\n".join(lines)
        + "\nexport again with another opset; if it stays, an operator of this model is exported wrongly"
    )


def _written(out: Path, result: dict[str, JsonValue]) -> dict[str, JsonValue]:
    (out / "parity.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    rows: list[Any] = result["probes"]  # type: ignore[assignment]
    return {
        "applicable": result["applicable"],
        "spread": result["spread"],
        "images": result["images"],
        "batches": [row["batch"] for row in rows[:-1]],
        "max_absolute": max(row["max_absolute"] for row in rows),
        "tolerance_used": max(row["tolerance_used"] for row in rows),
        "other_decisions": 0,
    }
