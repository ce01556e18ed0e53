"""ingest: a folder of radiographs to a manifest. Keyed by the folder's fingerprint, not by its place."""

from pathlib import Path

from cxr_core.config import DataConfig
from tasks.stage import Arguments, Unkeyed, stage


@stage("ingest", core="cxr_core.data.ingest:ingest", packages=("pillow", "numpy", "pandas", "pydicom"))
def ingest(folder: Path, fingerprint: str, config: DataConfig) -> Arguments:
    return {"folder": Unkeyed(folder), "fingerprint": fingerprint, "config": config}
