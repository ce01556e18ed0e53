"""Pictures that are no frontal chest radiograph, made anew from a seed: what the check of scope must catch.

Photographs are cut from the three that come with scikit-learn and matplotlib, the head is the one MRI slice that comes
with matplotlib. Other radiographs are not at hand: the hand and the bone are drawn, and stand for real ones poorly.
"""

import gzip
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Maker = Callable[[np.random.Generator], Image.Image]

_SIZE = 256
_GREYS = 256
_PHOTOGRAPHS = (
    ("sklearn.datasets", "images/china.jpg"),
    ("sklearn.datasets", "images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
_MRI, _MRI_SIDE = "mpl-data/sample_data/s1045.ima.gz", 256
_WORDS = "the of and to in that is was he for it with as his on be at by had not are but from or have an they which one"


def blank(rng: np.random.Generator) -> Image.Image:
    """One grey level."""
    return Image.new("L", (_SIZE, _SIZE), int(rng.integers(_GREYS)))


def ramp(rng: np.random.Generator) -> Image.Image:
    """Grey that grows evenly in some direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : _SIZE * 1j, -1 : 1 : _SIZE * 1j]
    return _grey(127 + rng.uniform(20, 90) * (np.cos(angle) * x + np.sin(angle) * y))


def noise(rng: np.random.Generator) -> Image.Image:
    """Each pixel by itself."""
    return _grey(rng.normal(rng.uniform(60, 190), rng.uniform(10, 80), (_SIZE, _SIZE)))


def clouds(rng: np.random.Generator) -> Image.Image:
    """Noise that is smooth, of some coarseness."""
    cells = int(rng.integers(3, 12))
    coarse = Image.fromarray(rng.integers(0, _GREYS, (cells, cells)).astype(np.uint8))
    return coarse.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)


def text_page(rng: np.random.Generator) -> Image.Image:
    """Dark words on a light page."""
    page = Image.new("L", (600, 800), int(rng.integers(225, 256)))
    draw, size = ImageDraw.Draw(page), int(rng.integers(12, 26))
    font, words = ImageFont.load_default(size), _WORDS.split()
    for top in range(60, 740, int(size * 1.6)):
        line = " ".join(rng.choice(words, 9 if rng.random() < 0.85 else 3))
        draw.text((60, top), line, fill=int(rng.integers(0, 80)), font=font)
    return page


def colour_photograph(rng: np.random.Generator) -> Image.Image:
    """A part of a photograph, mirrored or not."""
    whole = _photographs()[int(rng.integers(len(_PHOTOGRAPHS)))]
    side = int(min(whole.size) * rng.uniform(0.4, 1))
    left, top = (int(rng.integers(0, full - side + 1)) for full in whole.size)
    part = whole.crop((left, top, left + side, top + side)).resize((_SIZE, _SIZE), Image.Resampling.BILINEAR)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def grey_photograph(rng: np.random.Generator) -> Image.Image:
    """The same without its colour."""
    return colour_photograph(rng).convert("L")


def head(rng: np.random.Generator) -> Image.Image:
    """The slice, moved, turned and brightened a little."""
    moved = _slice().rotate(rng.uniform(-20, 20), translate=tuple(map(int, rng.integers(-15, 16, 2))))
    return _grey(np.asarray(moved, np.float64) * rng.uniform(0.7, 1.3) + rng.uniform(0, 20))


def hand(rng: np.random.Generator) -> Image.Image:
    """Five fingers with their bones on black, wrist below."""
    flesh, bone = Image.new("L", (_SIZE, _SIZE)), Image.new("L", (_SIZE, _SIZE))
    on_flesh, on_bone = ImageDraw.Draw(flesh), ImageDraw.Draw(bone)
    soft, hard, broad = int(rng.integers(60, 110)), int(rng.integers(150, 220)), rng.uniform(0.85, 1.15)
    palm = np.array([128 + rng.uniform(-12, 12), 165 + rng.uniform(-10, 10)])
    on_flesh.ellipse([*(palm - 44 * broad), *(palm + 48 * broad)], fill=soft)
    on_flesh.rectangle([palm[0] - 28 * broad, palm[1], palm[0] + 28 * broad, _SIZE], fill=soft)
    for offset in (-12, 12):
        on_bone.line([palm[0] + offset, palm[1] + 50, palm[0] + offset, _SIZE], fill=hard, width=14)
    for angle, length in zip((-1.0, -0.42, -0.1, 0.2, 0.5), (75, 115, 125, 115, 95), strict=True):
        lean = angle + rng.uniform(-0.08, 0.08)
        way = np.array([np.sin(lean), -np.cos(lean)])
        on_flesh.line([*palm, *(palm + length * broad * way)], fill=soft, width=int(24 * broad))
        for begin, end in ((0.25, 0.55), (0.58, 0.77), (0.8, 0.96)):
            ends = [*(palm + begin * length * broad * way), *(palm + end * length * broad * way)]
            on_bone.line(ends, fill=hard, width=int(10 * broad))
    return _exposed(np.maximum(_soft(flesh, 2), _soft(bone, 1.5)), rng)


def long_bone(rng: np.random.Generator) -> Image.Image:
    """A joint from the side: two shafts that meet, in soft tissue on black."""
    flesh, bone = Image.new("L", (_SIZE, _SIZE)), Image.new("L", (_SIZE, _SIZE))
    on_flesh, on_bone = ImageDraw.Draw(flesh), ImageDraw.Draw(bone)
    soft, hard = int(rng.integers(60, 120)), int(rng.integers(150, 220))
    joint, bend = np.array([128, 128]) + rng.uniform(-20, 20, 2), rng.uniform(0, 1.2)
    for lean in (rng.uniform(-0.3, 0.3), np.pi - bend):
        end = joint + 220 * np.array([np.sin(lean), -np.cos(lean)])
        on_flesh.line([*joint, *end], fill=soft, width=int(rng.integers(70, 110)))
        on_bone.line([*joint, *end], fill=hard, width=int(rng.integers(20, 34)))
    on_bone.ellipse([*(joint - 24), *(joint + 24)], fill=hard)
    return _exposed(np.maximum(_soft(flesh, 4), _soft(bone, 2)), rng)


MADE: dict[str, Maker] = {
    "blank": blank, "grey ramp": ramp, "noise": noise, "smooth noise": clouds, "text page": text_page,
    "colour photograph": colour_photograph, "grey photograph": grey_photograph, "head MRI": head,
    "drawn hand": hand, "drawn bone from the side": long_bone,
}  # fmt: skip
"""Pictures out of nothing but a seed."""

SPOILED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "black and white exchanged": lambda image: Image.eval(image, lambda level: 255 - level),
    "turned to its left": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned to its right": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "left half alone": lambda image: image.crop((0, 0, image.width // 2, image.height)),
    "upper half alone": lambda image: image.crop((0, 0, image.width, image.height // 2)),
}
"""What is done to a radiograph."""


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _soft(image: Image.Image, radius: float) -> np.ndarray:
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float64)


def _exposed(values: np.ndarray, rng: np.random.Generator) -> Image.Image:
    return _grey(values + rng.uniform(5, 25) + rng.normal(0, 4, values.shape))


@cache
def _photographs() -> Sequence[Image.Image]:
    found = []
    for package, name in _PHOTOGRAPHS:
        with (files(package) / name).open("rb") as file:
            found.append(Image.open(file).convert("RGB"))
    return found


@cache
def _slice() -> Image.Image:
    raw = gzip.decompress((files("matplotlib") / _MRI).read_bytes())
    values = np.frombuffer(raw, np.uint16).reshape(_MRI_SIDE, _MRI_SIDE).astype(np.float64)
    return _grey(255 * values / np.percentile(values, 99.5))
