"""``cxr doctor``: what this machine can do, found by asking it."""

import importlib.metadata
import os
import platform
import shutil
from typing import Any

from rich.table import Table

from cxr_core.engines import registry
from cxr_core.errors import CxrError
from cxr_core.refs import Precision
from flows.gpus import gpus, source_experiment, source_told, told
from flows.settings import PROJECT, prefect_home
from flows.showing import output
from tasks.place import store_root

_PACKAGES = (
    "prefect",
    "torch",
    "timm",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "cuda-python",
    "nvidia-ml-py",
    "pydicom",
)


def examine() -> dict[str, Any]:
    """Machine, packages, GPUs, support of every precision on every backend, store, mirror and data."""
    from cxr_core.data.source import find_data
    from flows.mirroring import examine as mirror_state

    root = store_root()
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists())).free
    try:
        data = find_data(None, PROJECT)
        where = {"folder": str(data.path), "how": data.how} if data else None
    except CxrError as error:
        where = {"error": str(error)}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        "gpus": gpus(),
        "source_experiment": source_experiment(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "backends": [_backend(name) for name in registry.known_backends()],
        "store": {"path": str(root), "exists": root.exists(), "free_bytes": free},
        "mirror": mirror_state(),
        "prefect_home": str(prefect_home()),
        "data": where,
    }


def print_examination(found: dict[str, Any]) -> None:
    """One screen."""
    output.print(f"Python {found['python']}, {found['cpus']} CPUs, {found['system']}", highlight=False)
    for line in [told(card) for card in found["gpus"]] or ["GPU: no driver shows one"]:
        output.print(line, markup=False, highlight=False)
    table = Table("backend", *(str(p) for p in Precision), title="precisions on this machine")
    for row in found["backends"]:
        table.add_row(row["name"], *(_mark(row["support"][str(p)]["level"]) for p in Precision))
    output.print(table)
    for row in found["backends"]:
        for reason in dict.fromkeys(s["reason"] for s in row["support"].values() if s["reason"]):
            names = ", ".join(p for p, s in row["support"].items() if s["reason"] == reason)
            output.print(f"{row['name']} {names}: {reason}", markup=False, highlight=False)
    missing = [name for name, version in found["packages"].items() if not version]
    output.print(
        f"not installed: {', '.join(missing) or 'nothing'} (tensorrt, cuda-python and nvidia-ml-py come with the "
        "nvidia extra, pydicom with the dicom extra)",
        markup=False,
        highlight=False,
    )
    store = found["store"]
    output.print(
        f"store {store['path']} ({'there' if store['exists'] else 'will be made'}, "
        f"{store['free_bytes'] / 1e9:.0f} GB free); data: {found['data'] or 'none found, phantoms will be generated'}",
        markup=False,
        highlight=False,
    )
    mirror = found["mirror"]
    state = f"{mirror['url']} ({mirror['problem'] or 'can be read'})" if mirror["url"] else "none (set CXR_MIRROR)"
    output.print(f"mirror that workers read through: {state}", markup=False, highlight=False, soft_wrap=True)
    output.print(source_told(found["source_experiment"]), markup=False, highlight=False)


def _backend(name: str) -> dict[str, Any]:
    chosen = registry.backend(name)
    return {"name": name, "support": {str(p): chosen.support(p).model_dump(mode="json") for p in Precision}}


def _mark(level: str) -> str:
    return {"native": "[green]native[/]", "emulated": "[yellow]emulated[/]"}.get(level, "-")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
