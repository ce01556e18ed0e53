"""The words and columns that the tables of this room share."""

SPLITS = ("train", "val", "test")
LABELS = ("NORMAL", "PNEUMONIA")
"""By class number: 0 and 1."""

MANIFEST = (
    "file",
    "label",
    "kind",
    "patient",
    "number",
    "original_split",
    "bytes",
    "width",
    "height",
    "mode",
    "file_sha256",
    "pixel_sha256",
)
QUARANTINE = ("file", "reason", "detail")
SPLIT = ("file", "label", "kind", "patient", "number", "split")
INDEX = ("row", "file", "label", "kind", "patient", "number", "split")
