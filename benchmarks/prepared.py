"""Radiographs as the workflow's own stages prepare them, for benchmarks that train."""

import os
from dataclasses import dataclass
from pathlib import Path

from cxr_core.config import Profile


@dataclass(frozen=True)
class Prepared:
    """A profile, the folder that was read by it, and the frozen tensors of it."""

    profile: Profile
    radiographs: Path
    tensors: Path


def profile_asked(default: str) -> Profile:
    """The profile that ``CXR_BENCH_PROFILE`` names, or the YAML file."""
    from cxr_core.config import load_profile
    from flows.settings import PROFILES

    name = os.environ.get("CXR_BENCH_PROFILE", default)
    return load_profile(Path(name) if name.endswith(".yaml") else PROFILES / f"{name}.yaml")


def prepared(folder: Path, profile: Profile) -> Prepared:
    """``CXR_DATA``, or phantoms, ingested, split and frozen below ``folder``."""
    from cxr_core.data.ingest import ingest
    from cxr_core.data.phantom import write_phantoms
    from cxr_core.data.split import split
    from cxr_core.data.tensors import tensors

    radiographs = Path(os.environ.get("CXR_DATA", folder / "phantoms"))
    if "CXR_DATA" not in os.environ:
        write_phantoms(radiographs, profile.phantom)
    for name in ("ingest", "split", "tensors"):
        (folder / name).mkdir()
    manifest, table = folder / "ingest/manifest.csv", folder / "split/split.csv"
    ingest(folder=radiographs, out=folder / "ingest", config=profile.data)
    split(manifest=manifest, thumbs=folder / "ingest/thumbs.npy", out=folder / "split", config=profile.split)
    tensors(
        folder=radiographs,
        manifest=manifest,
        split=table,
        out=folder / "tensors",
        config=profile.tensors,
        data=profile.data,
    )
    return Prepared(profile, radiographs, folder / "tensors/tensors")
