"""A graph small enough to be made in every test: the brighter the picture, the surer it is of PNEUMONIA."""

import io
import json
import os
import random
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from cxr_core.data.anatomy import draw_chest
from cxr_core.graphs.metadata import GraphMetadata, write_metadata
from cxr_core.release.contents import RELEASE_FILE
from cxr_core.store import Store

SIZE = 32
WEIGHTS = "sha256:" + "a" * 64
METADATA = GraphMetadata(
    labels=("NORMAL", "PNEUMONIA"), size=SIZE, filter="bilinear", temperature=2.0, threshold=0.4, weights_digest=WEIGHTS
)
MIDDLE, SLOPE = 100.0, 0.1  # logits: 0 and SLOPE * (mean grey - MIDDLE)


def graph(metadata: GraphMetadata | None = METADATA, size: int = SIZE, slope: float = SLOPE) -> onnx.ModelProto:
    """Mean grey level to two logits."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["output"]),
    ]
    constants = [
        helper.make_tensor("weights", TensorProto.FLOAT, [1, 2], [0.0, slope]),
        helper.make_tensor("bias", TensorProto.FLOAT, [2], [0.0, -slope * MIDDLE]),
    ]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, size, size])
    answered = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])
    made = helper.make_model(
        helper.make_graph(nodes, "brightness", [given], [answered], constants),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    if metadata is not None:
        write_metadata(made, metadata)
    return made


def probability_of(grey: float) -> float:
    """What the graph must answer for a picture of that mean grey level."""
    return float(1 / (1 + np.exp(-SLOPE * (grey - MIDDLE) / METADATA.temperature)))


REPORT: dict[str, Any] = {
    "data": {"source": "published"},
    "model": {"weights_digest": WEIGHTS},
    "reference": {
        "calibration": [
            {"predicted": 0.05, "observed": 0.0, "images": 40},
            {"predicted": 0.55, "observed": 0.6, "images": 10},
            {"predicted": 0.97, "observed": 0.95, "images": 200},
        ]
    },
}
RELEASE: dict[str, Any] = {
    "precision": "int8", "backend": "openvino", "verdict": "pass", "forced": False, "data": {"source": "published"},
}  # fmt: skip


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return write_onnx(tmp_path)


def write_onnx(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(graph().SerializeToString())
    return path


def release_folder(folder: Path, **changed: Any) -> Path:
    """The files of a release that prediction reads, and an engine that it does not."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(graph().SerializeToString())
    (folder / "engine").write_bytes(b"engine")
    (folder / "report.json").write_text(json.dumps({**REPORT, **changed}))
    (folder / RELEASE_FILE).write_text(json.dumps({**RELEASE, **changed}))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with_release(tmp_path)


def store_with_release(folder: Path) -> Store:
    """``releases/one`` is in it."""
    made = Store.open(folder / "store")
    made.pin("releases/one", [made.put(release_folder(folder / "release"), "one")])
    return made


def chest(seed: int = 0, shape: tuple[int, int] = (96, 120)) -> np.ndarray:
    """A drawn chest, uint8."""
    return draw_chest(shape, "normal", np.random.default_rng(seed), np.random.default_rng(seed + 10_000))


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    kept = io.BytesIO()
    image.save(kept, format, **options)
    return kept.getvalue()


def bad_files(folder: Path) -> dict[str, str]:
    """Files that cannot be read, and a word that must be in what is said of each."""
    grey = Image.fromarray(chest())
    jpeg = encoded(grey, "JPEG")
    made = {
        "truncated.jpeg": (jpeg[: len(jpeg) // 2], "copy it again"),
        "empty.png": (b"", "0 bytes"),
        "text.jpeg": (b"no picture", "convert it to PNG or JPEG"),
        "gif.png": (encoded(grey, "GIF"), "which is GIF"),
        "animated.png": (encoded(grey, save_all=True, append_images=[Image.fromarray(chest(1))]), "2 frames"),
        "twelve bits.png": (encoded(Image.fromarray(chest().astype(np.uint16) * 16)), "scale them to the full range"),
        "transparent.png": (encoded(Image.new("LA", (64, 64), (90, 100))), "flatten it"),
        "tiny.png": (encoded(Image.new("L", (8, 8))), "at least 16 pixels"),
        "bomb.png": (bomb(), "allowed are"),
        "rubbish.jpeg": (b"\xff\xd8\xff" + random.Random(0).randbytes(900) + b"\xff\xd9", "copy it again"),
    }
    for name, (content, _) in made.items():
        (folder / name).write_bytes(content)
    (folder / "gone.png").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.png")  # opening it would wait for ever
    return {name: word for name, (_, word) in made.items()} | {
        "gone.png": "No such file",
        "pipe.png": "no plain file",
    }


@cache
def bomb() -> bytes:
    """A PNG that says it has 2.5 thousand million pixels, and begins with 10 million of them in 10 kB."""

    side = 50_000
    packer = zlib.compressobj(9)
    row = bytes(1 + side)
    packed = b"".join(packer.compress(row) for _ in range(200)) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
