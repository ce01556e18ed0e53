"""``cxr data check``: take a folder in as a run would, and say what is in it."""

import tempfile
from pathlib import Path
from typing import Any

from cxr_core.config import load_profile
from cxr_core.errors import DataError
from flows.settings import PROJECT, profile_path
from flows.showing import output


def check_data(folder: Path | None, profile: str) -> dict[str, Any]:
    """Ingest and split into a temporary folder; nothing is stored.

    Raises:
        DataError: no data, or data that a run would refuse.
    """
    from cxr_core.data.ingest import ingest
    from cxr_core.data.source import find_data
    from cxr_core.data.split import split

    chosen = load_profile(profile_path(profile))
    found = find_data(folder, PROJECT)
    if found is None:
        raise DataError(
            "no radiographs found; put them under data/chest_xray, set CXR_DATA or name a folder "
            "(data/README.md says where they come from)"
        )
    with tempfile.TemporaryDirectory() as scratch:
        first, second = Path(scratch, "ingest"), Path(scratch, "split")
        first.mkdir()
        second.mkdir()
        taken = ingest(folder=found.path, out=first, config=chosen.data)
        parted = split(manifest=first / "manifest.csv", thumbs=first / "thumbs.npy", out=second, config=chosen.split)
        warnings = (second / "warnings.json").read_text(encoding="utf-8")
    import json

    return {
        "folder": str(found.path),
        "how": found.how,
        "ingest": taken,
        "split": parted,
        "warnings": json.loads(warnings),
    }


def print_check(found: dict[str, Any]) -> None:
    """In words."""
    output.print(f"{found['folder']} ({found['how']})", highlight=False, soft_wrap=True)
    output.print_json(data={"ingest": found["ingest"], "split": found["split"]})
    for warning in found["warnings"]:
        output.print(f"[yellow]warning[/] {warning}", soft_wrap=True)
