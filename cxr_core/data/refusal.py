"""Why a single image cannot be used. A refusal is counted and listed; it stops a run only if there are many."""

from cxr_core.errors import UsageError

REASONS = {
    "unreadable": "the file cannot be read from disk",
    "name": "the file name is not valid UTF-8",
    "unlabelled": "the file lies in no folder of a known label",
    "label_conflict": "the file name says another label than its folder",
    "empty": "the file is empty",
    "format": "the file is no JPEG, PNG or DICOM image",
    "truncated": "the image ends before its data do",
    "damaged": "the image data cannot be decoded",
    "bomb": "the image has more pixels than allowed",
    "too_small": "the image is too small to show a chest",
    "frames": "the file holds more than one picture",
    "transparent": "the image has transparent pixels, which have no grey value",
    "depth": "the pixel values fill only a small part of their range",
    "mode": "the pixel type is not supported",
    "dicom": "the DICOM file holds no single grey picture that can be shown",
}
"""Reason codes and what they mean."""


class ImageRefused(UsageError):
    """One image that cannot be used. ``reason`` is a key of :data:`REASONS`, ``detail`` says more."""

    def __init__(self, reason: str, detail: str, where: str = "") -> None:
        self.reason = reason
        self.detail = detail
        self.where = where
        super().__init__(f"{where + ': ' if where else ''}{REASONS[reason]} ({detail})")
