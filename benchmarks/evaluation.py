"""Evaluating an engine on stored tensors against calling it on one ready batch: the harness's own cost."""

import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.pairs import Paired, in_turns, seconds

_IMAGES = 2048


def measure(rounds: int) -> list[Paired]:
    """Both backends, the network of profile quick (untrained weights are as fast), batch as in the profile."""
    from cxr_core.config import AccuracyConfig, EngineConfig
    from cxr_core.engines import registry
    from cxr_core.engines.scoring import scores_from_images
    from cxr_core.progress import silent
    from cxr_core.refs import Precision

    found = []
    with tempfile.TemporaryDirectory() as scratch:
        graph = untrained_graph(Path(scratch))
        images = np.random.default_rng(0).integers(0, 256, (_IMAGES, 96, 96)).astype(np.uint8)
        rows = list(range(_IMAGES))
        batch = AccuracyConfig().batch
        ready = images[:batch, None].astype(np.float32)
        for name in ("openvino", "onnxruntime"):
            backend, config = registry.backend(name), EngineConfig(threads=len(os.sched_getaffinity(0)))
            engine = Path(scratch, name)
            backend.build(graph=graph, precision=Precision.FP32, engine=engine, config=config, progress=silent)
            with backend.runner(engine, precision=Precision.FP32, config=config) as runner:
                pair = Paired("evaluation", f"evaluation / raw throughput, {name} fp32", ">= 0.9", "images/s")
                found.append(
                    in_turns(
                        pair,
                        lambda r=runner: _IMAGES / seconds(lambda: scores_from_images(r, images, rows, batch)),
                        lambda r=runner: _IMAGES / seconds(lambda: [r(ready) for _ in range(_IMAGES // batch)]),
                        rounds,
                    )
                )
    return found


def untrained_graph(folder: Path) -> Path:
    """The network of profile quick as it starts out, exported."""
    import torch

    from cxr_core.graphs.export import onnx_from_network
    from cxr_core.graphs.files import save_graph
    from cxr_core.graphs.metadata import GraphMetadata, write_metadata
    from cxr_core.training.network import LABELS, Classifier, create_backbone

    torch.manual_seed(0)
    model = onnx_from_network(Classifier(create_backbone("cxr_small", "none", 0.0), True).eval(), 96, 18)
    write_metadata(model, GraphMetadata(labels=LABELS, size=96, filter="bilinear", temperature=1.0, threshold=0.5))
    save_graph(model, folder / "model.onnx")
    return folder / "model.onnx"
