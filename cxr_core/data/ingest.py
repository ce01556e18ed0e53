"""ingest: a folder of radiographs to a manifest, a quarantine list and thumbnails."""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL.Image import Image
from pydantic import JsonValue

from cxr_core.config import DataConfig
from cxr_core.data.columns import LABELS, MANIFEST, QUARANTINE
from cxr_core.data.decode import Decoded, read_file, read_picture, resize
from cxr_core.data.fingerprint import fingerprint as fingerprint_of
from cxr_core.data.layout import Layout, Placed, read_layout
from cxr_core.data.patients import label_in_name, patient_of
from cxr_core.data.refusal import REASONS, ImageRefused
from cxr_core.data.tables import write_table
from cxr_core.errors import DataError
from cxr_core.progress import Progress, silent

PHANTOM_MARKER = "PHANTOM.json"
THUMB = 48
"""Side of a thumbnail in pixels: enough to tell two radiographs apart, small enough to compare all pairs."""

_THREADS = min(8, os.cpu_count() or 1)  # decoders and hashes free the interpreter
_LISTED = 20  # files named in an error message; the rest is counted


@dataclass(frozen=True)
class Row:
    """One usable image, a row of ``manifest.csv``. ``width`` and ``height`` are as shown, after EXIF orientation."""

    file: str
    label: str
    kind: str
    patient: str
    number: str
    original_split: str
    bytes: int
    width: int
    height: int
    mode: str
    file_sha256: str
    pixel_sha256: str


@dataclass(frozen=True)
class _Refused:
    file: str
    reason: str
    detail: str


def ingest(
    *, folder: Path, out: Path, config: DataConfig, fingerprint: str | None = None, progress: Progress = silent
) -> dict[str, JsonValue]:
    """Read every image below ``folder`` and write ``manifest.csv``, ``quarantine.csv`` and ``thumbs.npy``.

    ``fingerprint`` is that of the folder as the caller saw it; a folder that changed since is refused.
    The thumbnails are uint8 ``[images, 48, 48]`` in the order of the manifest, which is sorted by file.

    Returns:
        facts: where the data come from (``published``, ``flat`` or ``phantom``), counts by split,
        label and kind, what was left out and why, warnings, and the digest over the manifest's rows.

    Raises:
        DataError: no such folder, nothing in it, a class without images, or more unusable files than
            ``config.quarantine_share`` allows; the message lists them.
        MachineError: a DICOM file, and pydicom is not installed.
    """
    layout = read_layout(folder)
    accepted, refused = _examine(folder, layout, config, progress)
    _check_share(refused, len(accepted), config.quarantine_share)
    _check_unchanged(folder, fingerprint)
    rows = [row for row, _ in accepted]
    _check_classes(rows, layout)
    write_table(out / "manifest.csv", MANIFEST, map(astuple, rows))
    write_table(out / "quarantine.csv", QUARANTINE, map(astuple, refused))
    np.save(out / "thumbs.npy", np.stack([thumb for _, thumb in accepted]))
    return _facts(layout, rows, refused)


def _check_unchanged(folder: Path, expected: str | None) -> None:
    if expected is not None and (found := fingerprint_of(folder).digest) != expected:
        raise DataError(
            f"{folder} changed while it was taken in: fingerprint {expected} expected, {found} found; "
            "leave the folder alone during a run, and start again"
        )


def pixel_digest(image: Image) -> str:
    """sha256 over width, height and the grey pixels: equal for files that show the very same picture."""
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()


def _examine(
    folder: Path, layout: Layout, config: DataConfig, progress: Progress
) -> tuple[list[tuple[Row, np.ndarray]], list[_Refused]]:
    accepted: list[tuple[Row, np.ndarray]] = []
    refused = [
        _Refused(_printable(file), "unlabelled", f"expected below a folder {' or '.join(LABELS)}")
        for file in layout.unlabelled
    ]
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, result in enumerate(pool.map(lambda placed: _one(folder, placed, config), layout.placed), 1):
            if isinstance(result, _Refused):
                refused.append(result)
            else:
                accepted.append(result)
            progress(done, len(layout.placed), "ingest")
    return accepted, sorted(refused, key=lambda one: one.file)


def _one(folder: Path, placed: Placed, config: DataConfig) -> tuple[Row, np.ndarray] | _Refused:
    try:
        _check_name(placed)
        content = read_file(folder / placed.file, largest_pixels=config.largest_pixels)
        picture = read_picture(content, largest_pixels=config.largest_pixels)
        thumb = resize(picture.image, size=THUMB, filter="bilinear")
    except ImageRefused as refusal:
        return _Refused(_printable(placed.file), refusal.reason, refusal.detail)
    return _row(placed, content, picture), thumb


def _check_name(placed: Placed) -> None:
    if _printable(placed.file) != placed.file:
        raise ImageRefused("name", "rename it")
    implied = label_in_name(PurePosixPath(placed.file).stem)
    if implied not in (None, placed.label):
        raise ImageRefused("label_conflict", f"named like {implied}, lies in {placed.label}; move it or rename it")


def _printable(file: str) -> str:
    return file.encode("utf-8", "backslashreplace").decode("utf-8")


def _row(placed: Placed, content: bytes, picture: Decoded) -> Row:
    who = patient_of(PurePosixPath(placed.file).stem, placed.label)
    return Row(
        placed.file,
        placed.label,
        who.kind,
        who.patient,
        who.number,
        placed.split,
        len(content),
        picture.image.width,
        picture.image.height,
        picture.mode,
        hashlib.sha256(content).hexdigest(),
        pixel_digest(picture.image),
    )


def _check_share(refused: Sequence[_Refused], accepted: int, allowed: float) -> None:
    share = len(refused) / max(1, len(refused) + accepted)
    if share <= allowed:
        return
    lines = [f"  {one.file}: {REASONS[one.reason]} ({one.detail})" for one in refused[:_LISTED]]
    if len(refused) > _LISTED:
        lines.append(f"  and {len(refused) - _LISTED} more")
    # The message names the first ones; the log, which is kept with the attempt, names all.
    sys.stderr.writelines(f"refused {one.file}: {REASONS[one.reason]} ({one.detail})\n" for one in refused)
    raise DataError(
        f"{len(refused)} of {len(refused) + accepted} files ({share:.1%}) cannot be used, allowed are "
        f"{allowed:.1%}; mend or remove them, or raise data.quarantine_share:\n" + "\n".join(lines)
    )


def _check_classes(rows: Iterable[Row], layout: Layout) -> None:
    where = "the train folder" if layout.published else str(layout.root)
    found = Counter(row.label for row in rows if row.original_split in ("", "train"))
    missing = [label for label in LABELS if not found[label]]
    if missing:
        raise DataError(
            f"expected images of both {' and '.join(LABELS)} in {where} of {layout.root}, found none of "
            f"{' and '.join(missing)}; add them, data/README.md shows the layout"
        )


def _facts(layout: Layout, rows: Sequence[Row], refused: Sequence[_Refused]) -> dict[str, JsonValue]:
    counts: dict[str, JsonValue] = {}
    for split in sorted({row.original_split for row in rows}):
        counts[split or "all"] = dict(sorted(Counter(r.label for r in rows if r.original_split == split).items()))
    phantom = (layout.root / PHANTOM_MARKER).is_file()
    digest = hashlib.sha256("\n".join("\t".join(map(str, astuple(row))) for row in rows).encode()).hexdigest()
    listed: list[JsonValue] = [f"{one.file}: {one.reason}" for one in refused[:_LISTED]]
    return {
        "source": "phantom" if phantom else layout.kind,
        "digest": f"sha256:{digest}",
        "images": len(rows),
        "patients": len({row.patient for row in rows}),
        "counts": counts,
        "kinds": dict(sorted(Counter(row.kind for row in rows).items())),
        "modes": dict(sorted(Counter(row.mode for row in rows).items())),
        "litter": layout.litter,
        "ignored": layout.ignored,
        "nested_copy": layout.nested_copy,
        "quarantined": len(refused),
        "quarantine_reasons": dict(sorted(Counter(one.reason for one in refused).items())),
        "quarantine": listed,
        "warnings": _warnings(layout, rows),
    }


def _warnings(layout: Layout, rows: Sequence[Row]) -> list[JsonValue]:
    strangers = sum(not patient_of(PurePosixPath(row.file).stem, row.label).published for row in rows)
    surplus = len(rows) - len({row.pixel_sha256 for row in rows})
    sentences: list[JsonValue] = []
    if strangers:
        sentences.append(
            f"{strangers} of {len(rows)} file names are not of the published form; each of these images "
            "counts as a patient of its own, so images of one patient may stand in two splits"
        )
    if surplus:
        sentences.append(f"{surplus} images show exactly the same pixels as another image")
    if layout.nested_copy:
        sentences.append(f"an inner folder chest_xray with {layout.nested_copy} files was left out as a second copy")
    return sentences
