"""Licence notes of a release: of the data, of the weights, of this project, and of every package that took part."""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from typing import Any

_DATA = {
    "phantom": "Generated phantoms: drawn pictures of no patient. No licence of others applies; every figure is about "
    "phantoms.",
    "published": "Radiographs in the layout of Kermany et al., Cell 172(5), 2018 (Mendeley Data rscbjbr9sj, "
    "doi:10.17632/rscbjbr9sj), which are under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). If they are "
    "those: name the source and state changes. Here they were decoded, made 8-bit grey and squeezed to a square. No "
    "radiograph is in this release. Of data from elsewhere, whoever brought them knows the licence.",
    "flat": "Radiographs that the user brought; whoever brought them knows their licence. None is in this release.",
}


def notes(source: str, weights: str, packages: Mapping[str, Iterable[str]]) -> str:
    """``LICENCES.md``. ``source`` is that of the data, ``weights`` a sentence, ``packages`` versions by name."""
    lines = [
        "# Licence notes", "",
        "Notes, not advice: gathered by a program from what the packages say of themselves.", "",
        "## This project", "", "`cxr`: MIT, see LICENSE.", "",
        "## Data", "", _DATA.get(source, _DATA["flat"]), "",
        "## Weights", "", weights, "",
        "## Packages that took part", "",
        "None of them is in this release; an engine may hold code that its backend generated.", "",
        "| package | version | licence as it says itself |", "|---|---|---|",
    ]  # fmt: skip
    for name, versions in sorted(packages.items()):
        for version in sorted(versions):
            lines.append(f"| {name} | {version} | {licence_of(name, version)} |")
    return "\n".join(lines) + "\n"


def weights_note(train: Mapping[str, Any] | None, export: Mapping[str, Any]) -> str:
    """A sentence on where the weights come from, by the key parts of ``train`` (None: a graph was brought)."""
    if train is None:
        return f"The graph was brought by the user ({_inputs(export).get('graph')}); who brought it knows its licence."
    if "weights" in _inputs(train):
        return (
            f"The weights were brought by the user ({_inputs(train)['weights']}); who brought them knows the licence."
        )
    config = train["parameters"]["config"]
    if config["pretrained"] == "none":
        return f"`{config['model']}`, trained from scratch: no weights of others are in it."
    return (
        f"`{config['model']}` began with pretrained weights ({config['pretrained']}). Their licence is on the model's "
        "card at https://huggingface.co/timm, and the images that they were trained on may bring terms of their own."
    )


def licence_of(name: str, version: str) -> str:
    """What an installed distribution of that version says of its licence."""
    if name == "python":
        return "PSF-2.0"
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return "not installed where this was written"
    if about["Version"] != version:
        return f"not looked up: {about['Version']} was installed where this was written"
    return _said(about)


def _said(about: PackageMetadata) -> str:
    expression = str(about.json.get("license_expression") or "")
    if expression:
        return re.sub(r"\s+", " ", expression)
    classified = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if "License ::" in line]
    short = str(about.json.get("license") or "").strip()
    # Some packages put the whole text there.
    return ", ".join(classified) or (short if 0 < len(short) <= 60 else "see the package")


def _inputs(parts: Mapping[str, Any]) -> Mapping[str, Any]:
    return parts.get("inputs") or {}
