"""Who is on a radiograph, as far as its file name tells.

Published names: ``person12_virus_34.jpeg``, ``IM-0115-0001.jpeg``, ``NORMAL2-IM-0115-0001-0002.jpeg``.
Bacterial and viral cases are numbered separately, and so are the two normal series, so the same
bare number in two series is most likely two children. ``patient`` keeps them apart; ``number`` does
not, and what is cut by ``number`` is safe either way.
"""

import re
from dataclasses import dataclass

KINDS = ("normal", "bacteria", "virus")
UNSPECIFIED = "unspecified"
"""The kind of a PNEUMONIA image whose name does not say what caused it."""

_PNEUMONIA = re.compile(r"^(person\d+)_(bacteria|virus)_\d+(_\d+)*$", re.IGNORECASE)
_NORMAL = re.compile(r"^((?:NORMAL\d*-)?)(IM-\d+)(-\d+)+$", re.IGNORECASE)


@dataclass(frozen=True)
class Patient:
    """``patient`` is kind (or series) and number; ``published`` says that it was read from a name of a known form."""

    kind: str
    patient: str
    number: str
    published: bool


def patient_of(stem: str, label: str) -> Patient:
    """The patient of an image with that file name (without suffix) and label.

    A name of any other form is taken as a patient of its own: nothing better is known.
    """
    if match := _PNEUMONIA.match(stem):
        number, kind = match[1].lower(), match[2].lower()
        return Patient(kind, f"{kind}-{number}", number, True)
    if match := _NORMAL.match(stem):
        number = match[2].upper()
        return Patient("normal", match[1].upper() + number, number, True)
    kind = "normal" if label == "NORMAL" else UNSPECIFIED
    return Patient(kind, f"{kind}-{stem}", stem, False)


def label_in_name(stem: str) -> str | None:
    """The label that a published name implies, None for other names."""
    if _PNEUMONIA.match(stem):
        return "PNEUMONIA"
    return "NORMAL" if _NORMAL.match(stem) else None
