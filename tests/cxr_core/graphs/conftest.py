"""Small graphs of real timm networks, with weights that answer differently for different images."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from cxr_core.graphs.export import onnx_from_network
from cxr_core.graphs.files import save_graph
from cxr_core.graphs.metadata import GraphMetadata, write_metadata
from cxr_core.training.checkpoint import Checkpoint, save_checkpoint
from cxr_core.training.network import Classifier, create_backbone

SIZE = 64
REAL = Path(__file__).resolve().parents[3] / "../shared/data/chest_xray_224"
METADATA = GraphMetadata(labels=("NORMAL", "PNEUMONIA"), size=SIZE, filter="bilinear", temperature=1.5, threshold=0.45)


def smooth_images(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 ``[count, size, size]``: coarse noise made large, so that neighbours are alike as in a photograph."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 6), np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse])


def settled(model: str, size: int, *, flip: bool = True) -> Classifier:
    """A network whose batch norms have seen images and whose biases are not zero, so that folding leaves real ones."""
    torch.manual_seed(0)
    network = Classifier(create_backbone(model, "none", 0.0), flip)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.normal_(module.bias, 0, 0.2)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.bias, 0, 0.1)
    network.train()
    with torch.no_grad():
        network(torch.from_numpy(smooth_images(16, size)).float()[:, None])
    return network.eval()


def write_graph(path: Path, network: nn.Module, size: int) -> Path:
    model = onnx_from_network(network, size, 18)
    write_metadata(model, METADATA.model_copy(update={"size": size}))
    save_graph(model, path)
    return path


@pytest.fixture(scope="session")
def graph_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The exported graph of a timm model, each made once."""
    folder = tmp_path_factory.mktemp("graphs")

    def made(model: str, size: int = SIZE, *, flip: bool = True) -> Path:
        path = folder / f"{model}_{size}_{flip}.onnx"
        return path if path.exists() else write_graph(path, settled(model, size, flip=flip), size)

    return made


@pytest.fixture(scope="session")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibration") / "calibration.npy"
    np.save(path, smooth_images(24, seed=1)[:, None])
    return path


@pytest.fixture(scope="session")
def held_back(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("held_back") / "held_back.npy"
    np.save(path, smooth_images(24, seed=3)[:, None])
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "checkpoint"
    about = Checkpoint(
        model="cxr_small",
        pretrained="none",
        images_seen=1,
        trained=True,
        flip_average=True,
        **METADATA.model_dump(exclude={"model", "weights_digest", "version"}),
    )
    save_checkpoint(folder, settled("cxr_small", SIZE), about, [])
    return folder


@pytest.fixture(scope="session")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tensors(tmp_path_factory.mktemp("tensors") / "tensors", smooth_images(30, seed=2))


def write_tensors(folder: Path, images: np.ndarray[Any, np.dtype[np.uint8]]) -> Path:
    """Two thirds of the images are val."""
    folder.mkdir()
    np.save(folder / "images.npy", images)
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["row", "file", "label", "kind", "patient", "number", "split"])
        for row in range(len(images)):
            split = "train" if row % 3 == 0 else "val"
            rows.writerow([row, f"{row}.png", row % 2, "bacteria", f"person{row}", row, split])
    return folder


@pytest.fixture(scope="session")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cxr_core.config import ExportConfig
    from cxr_core.graphs.export import export

    out = tmp_path_factory.mktemp("exported")
    export(checkpoint=checkpoint, out=out, config=ExportConfig())
    return out / "model.onnx"


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Path, Callable[[onnx.ModelProto], object]], Path]:
    """A graph with something changed in it."""

    def change(source: Path, edit: Callable[[onnx.ModelProto], object]) -> Path:
        model = onnx.load(source)
        edit(model)
        path = tmp_path / f"changed{len(list(tmp_path.iterdir()))}.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return change


@pytest.fixture(scope="session")
def radiographs() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A few real ones, uint8 ``[60, 64, 64]``."""
    files = sorted(REAL.glob("train/*/*"))[::80][:60]
    if not files:
        pytest.skip(f"no radiographs at {REAL}")
    return np.stack([np.asarray(Image.open(f).convert("L").resize((SIZE, SIZE))) for f in files])
