"""Small radiograph sets for the tests of this room."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_core.config import DataConfig, PhantomConfig, SplitConfig, TensorsConfig
from cxr_core.data.anatomy import draw_chest
from cxr_core.data.ingest import ingest
from cxr_core.data.phantom import write_phantoms
from cxr_core.data.split import split
from cxr_core.data.tensors import tensors

REAL = Path(__file__).resolve().parents[3] / "../shared/data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The prepared copy of the published radiographs."""
    if not (REAL / "chest_xray_224").is_dir():
        pytest.skip("the published radiographs are not at ../shared/data/chest_xray_224")
    return REAL.resolve()


@pytest.fixture
def chest() -> Callable[..., np.ndarray]:
    """``chest(seed, shape, kind)``: a drawn radiograph, uint8."""

    def draw(seed: int = 0, shape: tuple[int, int] = (64, 80), kind: str = "normal") -> np.ndarray:
        return draw_chest(shape, kind, np.random.default_rng(seed), np.random.default_rng(seed + 10_000))

    return draw


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """``encoded(image, format, **options)``: the bytes of a file."""

    def encode(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def _phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    write_phantoms(folder, PhantomConfig(patients=60, size=48))
    return folder


@pytest.fixture
def published(_phantoms: Path, tmp_path: Path) -> Path:
    """A small set in the published layout, free to be spoiled. It carries no phantom marker."""
    folder = tmp_path / "chest_xray"
    shutil.copytree(_phantoms, folder)
    (folder / "PHANTOM.json").unlink()
    return folder


@pytest.fixture
def flat(published: Path, tmp_path: Path) -> Path:
    """The same images in the flat layout under names of no known form."""
    folder = tmp_path / "flat"
    for label in ("NORMAL", "PNEUMONIA"):
        (folder / label).mkdir(parents=True)
        for number, file in enumerate(sorted(published.rglob(f"{label}/*.jpeg"))):
            shutil.copy(file, folder / label / f"{number:03d}.jpeg")
    return folder


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """``prepare(folder)``: ingest, split and tensors of a folder, each in its own place."""

    def run(folder: Path, size: int = 32, stop: str = "", **split_fields: Any) -> SimpleNamespace:
        done = SimpleNamespace(folder=folder)
        places = {name: tmp_path / f"out-{name}" for name in ("ingest", "split", "tensors")}
        for place in places.values():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        done.ingest = ingest(folder=folder, out=places["ingest"], config=DataConfig())
        done.manifest, done.thumbs = places["ingest"] / "manifest.csv", places["ingest"] / "thumbs.npy"
        done.quarantine = places["ingest"] / "quarantine.csv"
        if stop == "ingest":
            return done
        done.split = split(
            manifest=done.manifest, thumbs=done.thumbs, out=places["split"], config=SplitConfig(**split_fields)
        )
        done.table = places["split"] / "split.csv"
        done.warnings = json.loads((places["split"] / "warnings.json").read_text())
        done.shortcuts = json.loads((places["split"] / "shortcuts.json").read_text())
        if stop == "split":
            return done
        done.facts = tensors(
            folder=folder,
            manifest=done.manifest,
            split=done.table,
            out=places["tensors"],
            config=TensorsConfig(size=size),
            data=DataConfig(),
        )
        done.tensors = places["tensors"] / "tensors"
        return done

    return run
