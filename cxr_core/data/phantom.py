"""Generated radiographs in the published layout, for machines without real data.

They have a body, ribs, a heart, and opacities in the lungs where the label says PNEUMONIA: one dense
patch (named bacteria) or a fine spread over both lungs (named virus). That is enough to drive every
stage and to give a model something to learn. It is no anatomy: a figure on phantoms says nothing
about patients, and the marker file ``PHANTOM.json`` keeps such a figure recognisable.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL.Image import fromarray

from cxr_core.config import PhantomConfig
from cxr_core.data.anatomy import draw_chest
from cxr_core.data.ingest import PHANTOM_MARKER
from cxr_core.errors import DataError

_TEST_SHARE = 0.25
_VAL_PATIENTS = 4  # the published val folder is just as useless
_KINDS = ("normal", "bacteria", "normal", "virus", "bacteria", "normal", "virus")  # dealt in turn: 3 of 7 are normal
_SECOND_IMAGE = 0.25  # share of patients with two exposures
_WIDEST = 1.5  # width over height, as in the published set; the same for all kinds


@dataclass(frozen=True)
class _Exposure:
    """One file to write. Two of a patient share the chest and differ in pose."""

    split: str
    label: str
    name: str
    kind: str
    patient: int
    turn: int


def write_phantoms(folder: Path, config: PhantomConfig) -> None:
    """Write the phantom data set of that configuration to ``folder``, which appears whole or not at all.

    The same configuration gives the same bytes (on one machine, with the same libraries). A folder that
    already holds this very set is left as it is.

    Raises:
        DataError: ``folder`` exists and holds something else.
    """
    about = {"note": "generated pictures, of no patient", "phantom": config.model_dump()}
    marker = json.dumps(about, indent=1) + "\n"
    if folder.exists():
        _check_same(folder, marker)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        for exposure in _exposures(config):
            _write(scratch, exposure, config)
        (scratch / PHANTOM_MARKER).write_text(marker, encoding="utf-8")
        scratch.chmod(0o755)
        _publish(scratch, folder, marker)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _publish(scratch: Path, folder: Path, marker: str) -> None:
    try:
        scratch.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        _check_same(folder, marker)  # someone else was faster, with the same set


def _check_same(folder: Path, marker: str) -> None:
    found = folder / PHANTOM_MARKER
    if not found.is_file() or found.read_text(encoding="utf-8") != marker:
        raise DataError(
            f"expected nothing or this phantom set at {folder}, found something else; remove it or name another folder"
        )


def _exposures(config: PhantomConfig) -> Iterator[_Exposure]:
    """Every file of the set. Bacterial and viral cases are numbered separately, as in the published set."""
    numbers = dict.fromkeys(_KINDS, 0)
    images = 0
    for patient in range(config.patients):
        kind = _KINDS[patient % len(_KINDS)]
        numbers[kind] += 1
        for turn in range(1 + (np.random.default_rng([config.seed, patient, 1]).random() < _SECOND_IMAGE)):
            images += 1
            label = "NORMAL" if kind == "normal" else "PNEUMONIA"
            yield _Exposure(
                _split(patient, config.patients), label, _name(kind, numbers[kind], turn, images), kind, patient, turn
            )


def _split(patient: int, patients: int) -> str:
    tested = round(patients * _TEST_SHARE)
    if patient < tested:
        return "test"
    return "val" if patient < tested + _VAL_PATIENTS else "train"


def _name(kind: str, number: int, turn: int, image: int) -> str:
    if kind != "normal":
        return f"person{number}_{kind}_{image}.jpeg"
    series = "NORMAL2-" if number % 2 else ""
    return f"{series}IM-{number:04d}-{turn + 1:04d}.jpeg"


def _write(folder: Path, exposure: _Exposure, config: PhantomConfig) -> None:
    target = folder / exposure.split / exposure.label / exposure.name
    target.parent.mkdir(parents=True, exist_ok=True)
    pose = np.random.default_rng([config.seed, exposure.patient, 2, exposure.turn])
    chest = np.random.default_rng([config.seed, exposure.patient, 3])
    width = round(config.size * pose.uniform(1, _WIDEST))
    grey = draw_chest((config.size, width), exposure.kind, chest, pose)
    fromarray(grey).save(target, "JPEG", quality=int(pose.integers(75, 96)))
