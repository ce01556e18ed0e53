"""A grey picture from a DICOM file, through the optional pydicom. No patient tag leaves this module."""

import io
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from cxr_core.data.levels import check_spread, eight_bits
from cxr_core.data.refusal import ImageRefused
from cxr_core.errors import MachineError

# Deflated Explicit VR Little Endian. pydicom inflates all of it on opening, whatever size that comes to.
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def grey_from_dicom(
    content: bytes, check_size: Callable[[int, int], None], window: Literal["header", "full"]
) -> tuple[np.ndarray, str, str]:
    """8-bit grey pixels ``[height, width]``, the photometric interpretation found, and the view position if told.

    Stored values are rescaled (modality transform), windowed and scaled to 0..255; MONOCHROME1, where
    the smallest value is white, is inverted, so that bone is always bright. With ``window`` "header"
    the file's first VOI window is applied, or the full range if it has none; with "full" the range
    that its stored bits span is always used. Formulas: DICOM PS3.3 C.11.1 and C.11.2, as pydicom does them.

    Raises:
        ImageRefused: deflated, not one grey frame, a look-up table instead of a window, or undecodable pixels.
        MachineError: pydicom is not installed.
    """
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise MachineError("this is a DICOM file and pydicom is not installed; pip install 'cxr[dicom]'") from error
    if _DEFLATED in content:
        raise ImageRefused(
            "dicom", "it is deflated, so how large it is shows only when it is unpacked; save it in another syntax"
        )
    try:
        dataset = dcmread(io.BytesIO(content))
        frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
        width, height = int(dataset.Columns), int(dataset.Rows)
    except Exception as error:  # a parser of foreign bytes raises whatever it likes
        raise ImageRefused("dicom", f"it cannot be read as a picture: {error}") from error
    photometric = str(dataset.get("PhotometricInterpretation", "none"))
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1 or frames != 1:
        raise ImageRefused(
            "dicom",
            f"{frames} frame(s) of {photometric} with {samples} sample(s) a pixel, "
            "expected one frame of MONOCHROME1 or MONOCHROME2",
        )
    check_size(width, height)
    grey = _shown(dataset, window)
    view = str(dataset.get("ViewPosition") or "").strip().upper()
    return (255 - grey if photometric == "MONOCHROME1" else grey), photometric, view


def _shown(dataset: Any, window: Literal["header", "full"]) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut, apply_windowing

    windowed = window == "header" and "WindowWidth" in dataset and "WindowCenter" in dataset
    if "ModalityLUTSequence" in dataset or (window == "header" and "VOILUTSequence" in dataset and not windowed):
        raise ImageRefused(
            "dicom", "its grey values go through a look-up table, which is not supported; export it with a window"
        )
    try:
        values = apply_modality_lut(dataset.pixel_array, dataset)
        if windowed:
            values = apply_windowing(values, dataset)
    except Exception as error:  # decoders are plug-ins; each has errors of its own
        syntax = getattr(dataset.file_meta.get("TransferSyntaxUID"), "name", "an unnamed transfer syntax")
        raise ImageRefused("dicom", f"its pixels ({syntax}) cannot be decoded: {error}") from error
    values, (low, high) = np.asarray(values, np.float64), _range(dataset)
    if not windowed:
        check_spread(values, low, high)
    return eight_bits(values, low, high)


def _range(dataset: Any) -> tuple[float, float]:
    """Smallest and largest value that the stored bits can mean after rescaling."""
    bits = int(dataset.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if int(dataset.PixelRepresentation) else (0, 2**bits - 1)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    ends = low * slope + intercept, high * slope + intercept
    return min(ends), max(ends)
