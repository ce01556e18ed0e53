"""How often the check of scope errs (``cxr_core/data/scope.py``). ``python -m benchmarks.scope`` writes
``docs/results/scope.json``; with ``--fit`` it first makes ``cxr_core/data/scope.npz`` anew.

Radiographs are those of the folders train and val, never of test. They are dealt into five parts by the bare patient
number, so that no patient is in two: three parts make the Gaussian, one sets the limit, and the last one and the val
folder are what is measured. Pictures out of scope: ``benchmarks/strangers.py``. Each goes through a file and the whole
check, as in ``cxr predict``.
"""

import argparse
import hashlib
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.strangers import MADE, SPOILED
from cxr_core.data import scope
from cxr_core.data.decode import Decoded, read_picture
from cxr_core.data.patients import patient_of
from cxr_core.data.source import find_data
from cxr_core.errors import DataError
from cxr_core.evaluation.intervals import wilson

PROJECT = Path(__file__).resolve().parents[1]
RESULT = PROJECT / "docs" / "results" / "scope.json"
DIRECTIONS = 16
_PARTS, _LIMIT, _MEASURED = 5, 3, 4  # parts below _LIMIT are fitted
_REFUSED = 0.005  # of the radiographs that set the limit
_EACH = 200  # pictures of a kind
_SEED = 7


class Radiograph(NamedTuple):
    """One of the folders train and val."""

    path: Path
    kind: str
    number: str
    part: int


def radiographs(folder: Path) -> list[Radiograph]:
    """All of train and val, with the part that its patient is in."""
    found = []
    for path in sorted([*folder.glob("train/*/*.jpeg"), *folder.glob("val/*/*.jpeg")]):
        who = patient_of(path.stem, path.parent.name)
        part = hashlib.sha256(who.number.encode()).digest()[0] % _PARTS
        found.append(Radiograph(path, who.kind, who.number, _MEASURED if "val" in path.parts else part))
    return found


def fit(pictures: list[Radiograph]) -> scope.Shape:
    """The Gaussian of the fitted parts, and the limit that refuses so many of the next."""
    shape = scope.fitted(_pixels(one for one in pictures if one.part < _LIMIT), DIRECTIONS)
    distances = shape.distances(_pixels(one for one in pictures if one.part == _LIMIT))
    return shape._replace(limit=np.asarray(np.quantile(distances, 1 - _REFUSED)))


def measured(pictures: list[Radiograph]) -> dict[str, Any]:
    """False refusals of radiographs by kind, and catches of every other kind of picture."""
    chosen = [one for one in pictures if one.part == _MEASURED]
    reasons = {one.path: scope.why_out_of_scope(read_picture(one.path)) for one in chosen}
    refused = {"all": _share([bool(reasons[one.path]) for one in chosen])}
    for kind in sorted({one.kind for one in chosen}):
        refused[kind] = _share([bool(reasons[one.path]) for one in chosen if one.kind == kind])
    catches = {}
    for kind, images in _strangers(chosen):
        found = [scope.why_out_of_scope(_through_a_file(image)) for image in images]
        hints = Counter(reason.partition("; it seems that ")[2] for reason in found)
        catches[kind] = {**_share(list(map(bool, found))), "hints": {k: v for k, v in sorted(hints.items()) if k}}
    return {
        "radiographs_measured": {"images": len(chosen), "patients": len({one.number for one in chosen})},
        "false_refusals": refused,
        "refused_files": sorted(f"{path.parent.name}/{path.name}" for path, reason in reasons.items() if reason),
        "caught": catches,
        "colour": _colours(),
    }


def _colours() -> dict[str, float]:
    """What ``MOST_COLOUR`` lies between: photographs, and a grey picture saved in colour as a coarse JPEG."""
    rng = np.random.default_rng(_SEED)
    found = sorted(_through_a_file(MADE["colour photograph"](rng)).colour for _ in range(_EACH))
    grey = Image.merge("RGB", [MADE["head MRI"](rng)] * 3)
    kept = io.BytesIO()
    grey.save(kept, "JPEG", quality=30)
    least, middle = found[0], found[_EACH // 2]
    return {
        "photographs_least": round(least, 4), "photographs_median": round(middle, 4),
        "grey_saved_in_colour": round(read_picture(kept.getvalue()).colour, 4),
    }  # fmt: skip


def _strangers(chosen: list[Radiograph]) -> Iterator[tuple[str, Iterator[Image.Image]]]:
    for number, (kind, make) in enumerate(MADE.items()):
        rng = np.random.default_rng([_SEED, number])
        yield kind, (make(rng) for _ in range(_EACH))
    drawn = np.random.default_rng(_SEED).permutation(len(chosen))[:_EACH]
    for kind, spoil in SPOILED.items():
        yield kind, (spoil(read_picture(chosen[i].path).image) for i in drawn)


def _through_a_file(image: Image.Image) -> Decoded:
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=90)
    return read_picture(kept.getvalue())


def _pixels(pictures: Iterable[Radiograph]) -> np.ndarray:
    found = (scope.standardised(read_picture(one.path).image) for one in pictures)
    return np.stack([one for one in found if one is not None])


def _share(found: list[bool]) -> dict[str, Any]:
    low, high = wilson(sum(found), len(found))
    return {
        "share": round(sum(found) / len(found), 4), "interval": [round(low, 4), round(high, 4)],
        "of": len(found), "count": sum(found),
    }  # fmt: skip


def main() -> None:
    """Fit if asked to, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scope", description=__doc__)
    parser.add_argument("--fit", action="store_true", help="make the Gaussian and its limit anew")
    asked = parser.parse_args()
    source = find_data(None, PROJECT)
    if source is None:
        raise DataError("no radiographs at hand; data/README.md says how to get them")
    pictures = radiographs(source.path)
    if asked.fit:
        shape = fit(pictures)
        kept = {name: np.asarray(value, np.float32) for name, value in shape._asdict().items()}
        np.savez(
            Path(scope.__file__).with_name("scope.npz"), **kept | {"directions": kept["directions"].astype(np.float16)}
        )
    parts = Counter(one.part for one in pictures)
    found = {
        "made_by": "python -m benchmarks.scope" + (" --fit" if asked.fit else ""),
        "how": __doc__,
        "radiographs": {
            "fitted": sum(parts[i] for i in range(_LIMIT)),
            "limit": parts[_LIMIT],
            "measured": parts[_MEASURED],
        },
        "side": scope.SIDE,
        "directions": len(scope.the_shape().variances),
        "limit": round(float(scope.the_shape().limit), 4),
        "most_colour": scope.MOST_COLOUR,
        **measured(pictures),
    }
    for kind, share in (*found["false_refusals"].items(), *found["caught"].items()):
        sys.stdout.write(
            f"{kind:<28} {share['count']:>4} of {share['of']:<4} {share['share']:.3f} {share['interval']}\n"
        )
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
