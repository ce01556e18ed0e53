"""What is no frontal chest radiograph is put out of scope, with a word on how to mend it; radiographs are not.

Shares over many pictures are measured by ``python -m benchmarks.scope``; here a few of each kind must come out right.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.scope import PROJECT, RESULT, radiographs
from benchmarks.strangers import MADE, SPOILED
from cxr_core.data.decode import Decoded, read_picture
from cxr_core.data.scope import MOST_COLOUR, SIDE, Shape, fitted, standardised, the_shape, why_out_of_scope

Chest = Callable[..., np.ndarray]
Encoded = Callable[..., bytes]


@pytest.fixture(scope="module")
def chests(real_data: Path) -> list[Decoded]:
    """Of patients that neither made the Gaussian nor set its limit."""
    measured = [one for one in radiographs(real_data / "chest_xray_224") if one.part == 4]
    return [read_picture(one.path) for one in measured[::30]]


def test_radiographs_are_in_scope(chests: list[Decoded]) -> None:
    refused = sum(bool(why_out_of_scope(one)) for one in chests)
    assert len(chests) >= 25
    assert refused <= 1


def test_a_radiograph_in_native_size_is_as_far_off_as_its_squeezed_copy(real_data: Path) -> None:
    shape, compared = the_shape(), 0
    for native in sorted(real_data.glob("native_sample/*/*.jpeg"))[::4]:
        copy = real_data / "chest_xray_224/train" / native.parent.name / native.name
        if copy.is_file():
            pair = np.stack([standardised(read_picture(path).image) for path in (native, copy)])  # type: ignore[arg-type]
            assert np.ptp(shape.distances(pair)) < 0.05
            compared += 1
    assert compared >= 3


@pytest.mark.parametrize("kind", list(MADE))
def test_strangers_are_caught(kind: str, encoded: Encoded) -> None:
    rng = np.random.default_rng(1)
    reasons = [why_out_of_scope(read_picture(encoded(MADE[kind](rng)))) for _ in range(4)]
    assert all(reasons), reasons


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("black and white exchanged", "invert it"),
        ("turned to its left", "to its left: turn it back"),
        ("turned to its right", "to its right: turn it back"),
        ("upside down", "upside down: turn it"),
    ],
)
def test_a_spoiled_radiograph_is_told_how_to_be_mended(kind: str, hint: str, chests: list[Decoded]) -> None:
    reasons = [why_out_of_scope(Decoded(SPOILED[kind](one.image), "L")) for one in chests]
    assert sum(map(bool, reasons)) >= 0.95 * len(reasons)
    assert sum(reason.endswith(hint) for reason in reasons) >= 0.95 * sum(map(bool, reasons))


def test_colour_is_seen_and_a_radiograph_saved_in_colour_has_none(chest: Chest, encoded: Encoded) -> None:
    image = Image.fromarray(chest(shape=(96, 96)))
    for mode, format in (("RGB", "PNG"), ("RGB", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("CMYK", "JPEG")):
        assert read_picture(encoded(image.convert(mode), format)).colour < MOST_COLOUR / 4, (mode, format)
    tinted = Image.merge("RGB", [image.point(lambda level, f=f: int(level * f)) for f in (1.0, 0.8, 0.5)])
    for mode, format in (("RGB", "PNG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG")):
        found = read_picture(encoded(tinted.convert(mode), format))
        assert found.colour > MOST_COLOUR, (mode, format)
        assert "in colour" in why_out_of_scope(found)


def test_a_picture_of_one_level_has_no_shape(encoded: Encoded) -> None:
    assert "one grey level" in why_out_of_scope(read_picture(encoded(Image.new("L", (64, 64), 90))))


def test_brightness_contrast_and_size_change_no_distance(chest: Chest) -> None:
    grey = chest(shape=(SIDE * 4, SIDE * 4)).astype(np.float64)
    versions = [grey, grey * 0.5, grey * 0.5 + 100, np.kron(grey, np.ones((2, 2)))]
    pixels = [standardised(Image.fromarray(np.rint(one).astype(np.uint8))) for one in versions]
    assert np.ptp(the_shape().distances(np.stack(pixels))) < 0.05  # type: ignore[arg-type]


def test_the_distance_is_that_of_the_gaussian() -> None:
    """Against the plain formula with the whole covariance."""
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 12)) + rng.normal(size=12)
    shape: Shape = fitted(pictures, 4)
    across = np.eye(12) - shape.directions.T @ shape.directions
    covariance = (shape.directions.T * shape.variances) @ shape.directions + float(shape.rest) * across
    off = pictures[:5] - shape.mean
    expected = np.einsum("ij,jk,ik->i", off, np.linalg.inv(covariance), off) / 12
    np.testing.assert_allclose(shape.distances(pictures[:5]), expected)
    # The likeliest Gaussian of that form has the data's own variance in every direction that it keeps.
    np.testing.assert_allclose(shape.distances(pictures).mean(), 1, rtol=1e-6)


def test_the_written_figures_are_of_this_gaussian() -> None:
    written = json.loads(RESULT.read_text(encoding="utf-8"))
    assert written["limit"] == round(float(the_shape().limit), 4)
    assert written["directions"] == len(the_shape().variances)
    assert (written["side"], written["most_colour"]) == (SIDE, MOST_COLOUR)
    assert RESULT.is_relative_to(PROJECT)
