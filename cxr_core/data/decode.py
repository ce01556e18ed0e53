"""From a file to grey pixels: the one preprocessing, for training data and for prediction alike.

JPEG and PNG are opened by their own decoders after a look at the first bytes, so no other parser of
Pillow ever sees a foreign file and its size is known before a pixel is unpacked. The picture is then
turned as its EXIF orientation says and reduced to 8-bit grey: colour by ITU-R 601 luma, 16 bit by
scaling the full range. Gamma and colour profiles are not applied: a radiograph's grey values are
taken as they are stored.

The square is made by squeezing; the aspect ratio is not kept. The public 224x224 copy of the data
set was made so, and doing it otherwise would give training and prediction different pictures.
"""

import io
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ImageOps
from PIL.Image import Image, Resampling, fromarray
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from cxr_core.data.levels import check_spread, eight_bits
from cxr_core.data.refusal import ImageRefused

LARGEST_PIXELS = 100_000_000
Window = Literal["header", "full"]
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]

_SMALLEST_SIDE = 16  # pixels; below that there is no chest to see
_BYTES_PER_PIXEL = 8  # the most that an uncompressed pixel takes (16-bit RGBA)
_HEADER_ROOM = 16 << 20  # bytes of metadata granted on top
_COLOUR_SIDE = 64  # pixels; a mean over areas, so that a JPEG's colour noise is none


@dataclass(frozen=True)
class Decoded:
    """``image`` in Pillow mode L; ``mode`` is the pixel type found in the file.

    ``colour``, 0 to 1, is what was lost on the way to grey: the mean over the picture of the largest less the
    smallest of red, green and blue. ``view`` is a DICOM file's view position (PS3.3 C.8.1.1): AP, PA, LL ..., or empty.
    """

    image: Image
    mode: str
    colour: float = 0.0
    view: str = ""


def decode(source: Path | bytes, *, largest_pixels: int = LARGEST_PIXELS, dicom_window: Window = "header") -> Image:
    """The picture in a JPEG, PNG or DICOM file as Pillow mode L (8-bit grey).

    Raises:
        ImageRefused: a UsageError whose ``reason`` says why this file cannot be used.
        MachineError: a DICOM file, and pydicom is not installed.
    """
    return read_picture(source, largest_pixels=largest_pixels, dicom_window=dicom_window).image


def read_picture(
    source: Path | bytes, *, largest_pixels: int = LARGEST_PIXELS, dicom_window: Window = "header"
) -> Decoded:
    """As :func:`decode`, with the pixel type that was found."""
    try:
        content = source if isinstance(source, bytes) else read_file(source, largest_pixels=largest_pixels)
        return _decode(content, largest_pixels, dicom_window)
    except ImageRefused as refusal:
        if isinstance(source, Path) and not refusal.where:
            raise ImageRefused(refusal.reason, refusal.detail, str(source)) from refusal
        raise


def resize(image: Image, *, size: int, filter: str) -> np.ndarray:
    """The picture squeezed to a square, uint8 ``[size, size]``, by the Pillow filter of that name (antialiased)."""
    if image.size != (size, size):
        image = image.resize((size, size), Resampling[filter.upper()])
    return np.asarray(image, np.uint8)


def decode_and_resize(
    source: Path | bytes,
    *,
    size: int,
    filter: str,
    largest_pixels: int = LARGEST_PIXELS,
    dicom_window: Window = "header",
) -> np.ndarray:
    """What a model is shown: uint8 ``[size, size]``. Raises as :func:`decode`."""
    return resize(decode(source, largest_pixels=largest_pixels, dicom_window=dicom_window), size=size, filter=filter)


def read_file(path: Path, *, largest_pixels: int = LARGEST_PIXELS) -> bytes:
    """The bytes of a file, unless it is larger than any allowed picture can be.

    Raises:
        ImageRefused: ``unreadable`` or ``bomb``.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for ever, and some devices never end
            raise ImageRefused("unreadable", "it is no plain file")
        size = found.st_size
        if size > largest_pixels * _BYTES_PER_PIXEL + _HEADER_ROOM:
            raise ImageRefused(
                "bomb",
                f"{size:,} bytes on disk, more than {largest_pixels:,} pixels can take; "
                "save it smaller, or raise data.largest_pixels of the run",
            )
        return path.read_bytes()
    except OSError as error:
        raise ImageRefused("unreadable", error.strerror or str(error)) from error


def _decode(content: bytes, largest_pixels: int, dicom_window: Window) -> Decoded:
    if not content:
        raise ImageRefused("empty", "0 bytes; copy it again from its source")
    if content[128:132] == b"DICM":
        from cxr_core.data.dicom import grey_from_dicom

        pixels, mode, view = grey_from_dicom(
            content, lambda width, height: check_size(width, height, largest_pixels), dicom_window
        )
        return Decoded(fromarray(pixels), mode, view=view)
    picture = _open(content)
    check_size(*picture.size, largest_pixels)
    if getattr(picture, "is_animated", False) and not isinstance(picture, JpegImageFile):
        raise ImageRefused("frames", f"{getattr(picture, 'n_frames', 'several')} frames; save the one that counts")
    try:
        picture.load()
        mode = picture.mode
        ImageOps.exif_transpose(picture, in_place=True)
        return Decoded(_grey(picture), mode, _colour(picture))
    except ImageRefused:
        raise
    except OSError as error:
        reason = "truncated" if "truncated" in str(error) else "damaged"
        raise ImageRefused(reason, f"{error}; copy it again from its source") from error
    except (SyntaxError, ValueError, IndexError, struct.error, zlib.error) as error:
        raise ImageRefused("damaged", f"{error}; copy it again from its source") from error


def _open(content: bytes) -> Image:
    opener, ends = _opener(content)
    if not ends:
        raise ImageRefused("truncated", f"no end marker in {len(content):,} bytes; copy it again from its source")
    try:
        return opener(io.BytesIO(content))
    except (SyntaxError, OSError, ValueError, IndexError, struct.error, zlib.error) as error:
        raise ImageRefused("damaged", f"its header cannot be read: {error}; copy it again from its source") from error


def _opener(content: bytes) -> tuple[Callable[[io.BytesIO], Image], bool]:
    if content.startswith(b"\xff\xd8\xff"):
        # libjpeg fills what is missing at the end with grey and says nothing, so the end marker is asked for.
        return JpegImageFile, content.rfind(b"\xff\xd9") > content.rfind(b"\xff\xda")
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile, b"IEND\xaeB`\x82" in content[-4096:]
    raise ImageRefused("format", f"it begins with {content[:8]!r}{_named(content)}; convert it to PNG or JPEG")


def _named(content: bytes) -> str:
    known = {
        b"GIF8": "GIF",
        b"BM": "BMP",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        b"RIFF": "WebP",
        b"%PDF": "PDF",
        b"PK\x03\x04": "a zip archive",
        b"\0\0\0\x0cjP": "JPEG 2000",
        b"<": "HTML or XML",
    }
    return next((f", which is {name}" for magic, name in known.items() if content.startswith(magic)), "")


def check_size(width: int, height: int, largest_pixels: int) -> None:
    """Refuse a picture by its announced size, before a pixel of it is unpacked.

    Raises:
        ImageRefused: ``bomb`` or ``too_small``.
    """
    if width * height > largest_pixels:
        raise ImageRefused(
            "bomb",
            f"{width}x{height} is {width * height:,} pixels, allowed are {largest_pixels:,}; "
            "save it smaller, or raise data.largest_pixels of the run",
        )
    if min(width, height) < _SMALLEST_SIDE:
        raise ImageRefused("too_small", f"{width}x{height}, expected at least {_SMALLEST_SIDE} pixels a side")


def _grey(picture: Image) -> Image:
    if picture.mode == "L" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.float64)
        check_spread(deep, 0, 65535)
        return fromarray(eight_bits(deep, 0, 65535))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return _without_alpha(picture)
    if picture.mode in ("RGB", "1"):
        return picture.convert("L")
    if picture.mode in ("CMYK", "P"):
        return picture.convert("RGB").convert("L")
    raise ImageRefused("mode", f"pixel type {picture.mode}; convert it to 8-bit grey")


def _colour(picture: Image) -> float:
    if picture.mode not in ("RGB", "RGBA", "CMYK", "P"):
        return 0.0
    small = picture.resize((_COLOUR_SIDE, _COLOUR_SIDE), Resampling.BOX).convert("RGB")
    return float(np.ptp(np.asarray(small, np.int64), axis=2).mean() / 255)


def _without_alpha(picture: Image) -> Image:
    full = picture.convert("RGBA")
    if full.getchannel("A").getextrema() != (255, 255):
        raise ImageRefused("transparent", "flatten it onto the background that is meant")
    return full.convert("RGB").convert("L")
