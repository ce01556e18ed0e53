import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_core.data.decode import decode, decode_and_resize, read_picture, resize
from cxr_core.data.refusal import REASONS, ImageRefused
from cxr_core.errors import UsageError

Chest = Callable[..., np.ndarray]
Encoded = Callable[..., bytes]


def _grey(content: bytes) -> np.ndarray:
    return np.asarray(decode(content))


def _refused(content: bytes | Path, **options: int) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        decode(content, **options)
    assert caught.value.reason in REASONS and caught.value.detail in str(caught.value)
    return caught.value


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA", "RGBA", "I;16"])
def test_every_png_mode_of_a_grey_picture_decodes_to_the_same_pixels(mode: str, chest: Chest, encoded: Encoded) -> None:
    grey = chest()
    deep = mode == "I;16"
    image = Image.fromarray(grey.astype(np.uint16) * 257) if deep else Image.fromarray(grey).convert(mode)
    assert np.array_equal(_grey(encoded(image)), grey)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_colour_or_progressive_jpeg_decodes_to_the_same_picture(
    mode: str, progressive: bool, chest: Chest, encoded: Encoded
) -> None:
    image = Image.fromarray(chest())
    plain = _grey(encoded(image, "JPEG", quality=95)).astype(int)
    other = _grey(encoded(image.convert(mode), "JPEG", quality=95, progressive=progressive)).astype(int)
    # CMYK is coded by four channels that each lose a little; a wrong inversion would differ by 100 and more.
    assert np.abs(plain - other).max() <= (2 if mode == "RGB" else 12)
    assert np.abs(plain - other).mean() < 1


def test_progressive_grey_is_the_same_to_the_bit(chest: Chest, encoded: Encoded) -> None:
    image = Image.fromarray(chest())
    assert np.array_equal(
        _grey(encoded(image, "JPEG", quality=90)), _grey(encoded(image, "JPEG", quality=90, progressive=True))
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_exif_orientation_is_undone(orientation: int, format: str, chest: Chest, encoded: Encoded) -> None:
    upright = Image.fromarray(chest())
    undo = {
        2: "FLIP_LEFT_RIGHT",
        3: "ROTATE_180",
        4: "FLIP_TOP_BOTTOM",
        5: "TRANSPOSE",
        6: "ROTATE_90",
        7: "TRANSVERSE",
        8: "ROTATE_270",
    }
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if format == "JPEG" else {}
    seen = decode(encoded(stored, format, exif=exif, **options))
    assert seen.size == upright.size
    difference = np.abs(np.asarray(seen).astype(int) - np.asarray(upright).astype(int))
    assert difference.max() == 0 if format == "PNG" else difference.mean() < 3


def test_sixteen_bit_png_is_scaled_by_its_full_range(encoded: Encoded) -> None:
    deep = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    found = read_picture(encoded(Image.fromarray(deep)))
    assert found.mode == "I;16"
    assert np.array_equal(np.asarray(found.image), np.rint(deep / 257).astype(np.uint8))


def test_twelve_bit_values_in_sixteen_bits_are_refused_not_shown_black(chest: Chest, encoded: Encoded) -> None:
    shallow = chest().astype(np.uint16) * 16
    assert _refused(encoded(Image.fromarray(shallow))).reason == "depth"


def test_transparent_pixels_are_refused(chest: Chest, encoded: Encoded) -> None:
    image = Image.fromarray(chest()).convert("RGBA")
    image.putpixel((3, 3), (0, 0, 0, 0))
    assert _refused(encoded(image)).reason == "transparent"
    keyed = Image.fromarray(chest())
    assert _refused(encoded(keyed, transparency=int(chest()[0, 0]))).reason == "transparent"


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.98])
def test_a_truncated_file_is_refused(format: str, kept: float, chest: Chest, encoded: Encoded) -> None:
    content = encoded(Image.fromarray(chest()), format)
    assert _refused(content[: int(len(content) * kept)]).reason == "truncated"


def test_a_jpeg_that_lacks_only_its_end_marker_is_refused(chest: Chest, encoded: Encoded) -> None:
    content = encoded(Image.fromarray(chest()), "JPEG")
    assert _refused(content[:-2]).reason == "truncated"


def test_a_jpeg_with_bytes_after_its_end_is_taken(chest: Chest, encoded: Encoded) -> None:
    content = encoded(Image.fromarray(chest()), "JPEG")
    assert np.array_equal(_grey(content + b"trailer"), _grey(content))


def test_a_hole_in_a_file_with_an_end_is_refused(chest: Chest, encoded: Encoded) -> None:
    content = encoded(Image.fromarray(chest(shape=(200, 200))), "PNG")
    holed = content[: len(content) // 3] + content[len(content) // 2 :]
    assert _refused(holed).reason in ("damaged", "truncated")
    jpeg = encoded(Image.fromarray(chest()), "JPEG")
    assert _refused(jpeg[:4] + jpeg[-40:-2] + b"\xff\xda\xff\xd9").reason in ("damaged", "truncated")


@pytest.mark.parametrize(
    ("content", "reason", "word"),
    [
        (b"", "empty", "0 bytes"),
        (b"hello, I am text", "format", "begins with"),
        (b"GIF89a" + bytes(20), "format", "GIF"),
        (b"BM" + bytes(60), "format", "BMP"),
        (b"II*\0" + bytes(60), "format", "TIFF"),
        (b"<html></html>", "format", "HTML"),
        (b"\xff\xd8\xff", "truncated", "end marker"),
    ],
)
def test_what_is_no_image_is_refused_by_name(content: bytes, reason: str, word: str) -> None:
    refusal = _refused(content)
    assert refusal.reason == reason and word in refusal.detail


def _png_that_says(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_001, 20_000, 60_000])
def test_a_bomb_is_refused_before_it_is_unpacked(side: int) -> None:
    refusal = _refused(_png_that_says(side, side), largest_pixels=100_000_000)
    assert refusal.reason == "bomb" and f"{side * side:,}" in refusal.detail


def test_a_large_picture_is_taken_when_it_is_allowed(encoded: Encoded) -> None:
    """14 thousand square is above the size at which Pillow itself warns, and Pillow must not decide."""
    content = encoded(Image.new("L", (14_000, 7_000)), compress_level=1)
    assert decode(content, largest_pixels=100_000_000).size == (14_000, 7_000)
    assert _refused(content, largest_pixels=97_000_000).reason == "bomb"


def test_a_file_too_large_for_any_allowed_picture_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # sparse: takes no room
    refusal = _refused(path, largest_pixels=1000)
    assert refusal.reason == "bomb" and str(path) in str(refusal)


def test_animated_and_tiny_pictures_are_refused(chest: Chest, encoded: Encoded) -> None:
    frame = Image.fromarray(chest())
    other = Image.fromarray(chest(1))
    assert _refused(encoded(frame, save_all=True, append_images=[other])).reason == "frames"
    assert _refused(encoded(Image.new("L", (15, 200)))).reason == "too_small"


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    refusal = _refused(tmp_path / "none.png")
    assert refusal.reason == "unreadable" and "none.png" in str(refusal)
    assert isinstance(refusal, UsageError) and refusal.exit_code == 2


def test_the_square_is_squeezed_and_a_path_gives_what_its_bytes_give(
    tmp_path: Path, chest: Chest, encoded: Encoded
) -> None:
    grey = chest(shape=(60, 120))
    path = tmp_path / "x.png"
    path.write_bytes(encoded(Image.fromarray(grey)))
    expected = np.asarray(Image.fromarray(grey).resize((48, 48), Image.Resampling.LANCZOS))
    for source in (path, path.read_bytes()):
        assert np.array_equal(decode_and_resize(source, size=48, filter="lanczos"), expected)
    assert decode_and_resize(path, size=48, filter="lanczos").dtype == np.uint8


def test_the_filter_that_is_named_is_used(chest: Chest) -> None:
    image = Image.fromarray(chest())
    seen = {
        resize(image, size=32, filter=name).tobytes()
        for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
    }
    assert len(seen) == 6
    assert np.array_equal(resize(Image.fromarray(chest(shape=(32, 32))), size=32, filter="box"), chest(shape=(32, 32)))


def test_the_public_224_copy_is_what_this_preprocessing_makes_of_the_native_files(
    real_data: Path, encoded: Encoded
) -> None:
    """Squeezed, bilinear, saved at JPEG quality 75: the copy is that to a twentieth of a grey level."""
    checked = 0
    for native in sorted(real_data.glob("native_sample/*/*.jpeg")):
        copy = real_data / "chest_xray_224/train" / native.parent.name / native.name
        if copy.is_file():
            square = Image.fromarray(decode_and_resize(native, size=224, filter="bilinear"))
            ours = _grey(encoded(square, "JPEG", quality=75)).astype(int)
            assert np.abs(ours - np.asarray(decode(copy)).astype(int)).mean() < 0.05, native.name
            checked += 1
    assert checked >= 10
