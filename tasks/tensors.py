"""tensors: every image decoded and resized once, into frozen uint8 arrays."""

from pathlib import Path

from cxr_core.config import DataConfig, TensorsConfig
from cxr_core.refs import Record
from tasks.stage import Arguments, Unkeyed, stage


@stage("tensors", core="cxr_core.data.tensors:tensors", packages=("pillow", "numpy", "pandas", "pydicom"))
def tensors(folder: Path, ingested: Record, splitted: Record, config: TensorsConfig, data: DataConfig) -> Arguments:
    return {
        "folder": Unkeyed(folder),
        "manifest": ingested.output("manifest.csv"),
        "split": splitted.output("split.csv"),
        "config": config,
        "data": data,
    }
