"""Drawing a chest that is recognisably none: soft shapes on a grid that runs from -1 to 1 both ways."""

import numpy as np
from PIL.Image import Resampling, fromarray

Grid = np.ndarray


def draw_chest(shape: tuple[int, int], kind: str, chest: np.random.Generator, pose: np.random.Generator) -> np.ndarray:
    """One exposure, uint8 of that shape (height, width).

    Args:
        kind: ``normal``, ``bacteria`` (one or two dense patches) or ``virus`` (many faint ones in both lungs).
        chest: what belongs to the patient: build, ribs, disease.
        pose: what belongs to the exposure: turn, shift, brightness, noise.
    """
    x, y = _posed(shape, pose)
    lungs, picture = _thorax(x, y, chest)
    picture = picture + 0.10 * (_cloud(shape, 5, chest) - 0.5) + 0.16 * (_cloud(shape, 12, chest) - 0.5)
    picture = picture + lungs * _disease(x, y, kind, chest)
    return _exposed(picture, shape, pose)


def _posed(shape: tuple[int, int], pose: np.random.Generator) -> tuple[Grid, Grid]:
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    angle, zoom = np.deg2rad(pose.uniform(-7, 7)), np.exp(pose.uniform(-0.1, 0.1))
    x, y = x - pose.uniform(-0.12, 0.12), y - pose.uniform(-0.12, 0.12)
    return zoom * (np.cos(angle) * x + np.sin(angle) * y), zoom * (np.cos(angle) * y - np.sin(angle) * x)


def _thorax(x: Grid, y: Grid, chest: np.random.Generator) -> tuple[Grid, Grid]:
    """Where there is lung (0..1), and the healthy picture."""
    uniform = chest.uniform
    body = _edge((uniform(0.8, 1.1) + 0.12 * y - np.abs(x)) / 0.08)
    apart, wide, tall, top = uniform(0.4, 0.5), uniform(0.28, 0.38), uniform(0.6, 0.8), uniform(-0.15, 0.15)
    lungs = np.zeros_like(x)
    for side in (-1, 1):
        lean = side * uniform(0.02, 0.12)
        across = (x - side * apart - lean * y) / (wide * (1 + uniform(0.1, 0.35) * y))
        along = (y - top - side * uniform(-0.05, 0.05)) / tall
        lungs = np.maximum(lungs, _edge((1 - across**2 - along**2) / 0.25))
    floor = top + tall * uniform(0.55, 0.9)
    lungs = lungs * _edge((floor + uniform(-0.15, 0.15) * x + uniform(0, 0.3) * x**2 - y) / 0.08)
    heart = _blob(x, y, uniform(0.02, 0.2), top + uniform(0.15, 0.4), uniform(0.18, 0.34), uniform(0.2, 0.4))
    spine = np.exp(-((x / uniform(0.07, 0.12)) ** 2)) * (1 + 0.3 * np.sin(uniform(18, 26) * y + uniform(0, 6)))
    lungs = lungs * (1 - 0.8 * np.clip(heart, 0, 1))
    picture = body * (uniform(0.5, 0.62) - uniform(0.34, 0.42) * lungs) + 0.16 * heart + 0.14 * spine
    return lungs, picture + _ribs(x, y, chest) * body + _collar_bones(x, y, chest)


def _ribs(x: Grid, y: Grid, chest: np.random.Generator) -> Grid:
    waves = chest.uniform(20, 30) * (y + chest.uniform(0.25, 0.6) * np.abs(x) ** 1.5) + chest.uniform(0, 2 * np.pi)
    crossing = chest.uniform(18, 28) * (y - chest.uniform(0.2, 0.5) * np.abs(x)) + chest.uniform(0, 2 * np.pi)
    return np.asarray(
        chest.uniform(0.05, 0.1) * np.maximum(0, np.sin(waves)) ** 2
        + chest.uniform(0.02, 0.05) * np.maximum(0, np.sin(crossing)) ** 3
    )


def _collar_bones(x: Grid, y: Grid, chest: np.random.Generator) -> Grid:
    height, slope = chest.uniform(-0.8, -0.55), chest.uniform(-0.3, 0.2)
    line = (y - height - slope * (np.abs(x) - 0.4)) / chest.uniform(0.025, 0.045)
    return np.asarray(chest.uniform(0.08, 0.16) * np.exp(-(line**2)) * _edge((np.abs(x) - 0.12) / 0.05))


def _disease(x: Grid, y: Grid, kind: str, chest: np.random.Generator) -> Grid:
    """How much brighter the lung is. Every chest has a few vessels near the root of the lung; the ill have more."""
    total = np.zeros_like(x)
    for _ in range(6):
        side = chest.choice((-1, 1))
        total += 0.06 * _blob(x, y, side * chest.uniform(0.18, 0.4), chest.uniform(-0.2, 0.3), 0.04, 0.07)
    if kind == "bacteria":
        for _ in range(chest.integers(1, 3)):
            side = chest.choice((-1, 1))
            total += chest.uniform(0.3, 0.42) * _blob(
                x,
                y,
                side * chest.uniform(0.3, 0.55),
                chest.uniform(-0.4, 0.45),
                chest.uniform(0.17, 0.28),
                chest.uniform(0.2, 0.32),
            )
    elif kind == "virus":
        total += chest.uniform(0.06, 0.12)
        for _ in range(chest.integers(22, 36)):
            side = chest.choice((-1, 1))
            total += chest.uniform(0.14, 0.26) * _blob(
                x,
                y,
                side * chest.uniform(0.15, 0.7),
                chest.uniform(-0.6, 0.6),
                chest.uniform(0.04, 0.09),
                chest.uniform(0.04, 0.09),
            )
    return np.asarray(np.minimum(total, 0.4))


def _exposed(picture: Grid, shape: tuple[int, int], pose: np.random.Generator) -> np.ndarray:
    picture = picture + pose.normal(0, 0.015, shape)
    picture = np.clip(pose.uniform(-0.06, 0.06) + pose.uniform(0.85, 1.2) * picture, 0, 1)
    picture = picture ** np.exp(pose.uniform(-0.25, 0.25))
    return np.asarray(np.rint(picture * 255), np.uint8)


def _cloud(shape: tuple[int, int], cells: int, chest: np.random.Generator) -> Grid:
    """Smooth random shading, 0..1, with about that many cells across."""
    coarse = fromarray((chest.random((cells, cells)) * 255).astype(np.uint8))
    return np.asarray(coarse.resize((shape[1], shape[0]), Resampling.BICUBIC), np.float64) / 255


def _edge(value: Grid) -> Grid:
    """0 outside, 1 inside, soft where ``value`` is near 0."""
    return np.asarray(1 / (1 + np.exp(-np.clip(4 * value, -30, 30))))


def _blob(x: Grid, y: Grid, at_x: float, at_y: float, wide: float, tall: float) -> Grid:
    return np.asarray(np.exp(-(((x - at_x) / wide) ** 2) - ((y - at_y) / tall) ** 2))
