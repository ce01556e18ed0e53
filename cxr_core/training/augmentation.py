"""Strong augmentation on batches of uint8 images, a pure function of (seed, step).

The test split differs from train in geometry and photometry, and clean validation cannot see it;
what closes the gap is strong augmentation over many images. Ranges are uniform; they stand here and
nowhere else, because validation under the training's own perturbation uses the same ones.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cxr_core.training.network import standardise

ROTATION_DEGREES = 10.0
LOG_ZOOM = 0.15
LOG_ANISOTROPY = 0.11
SHIFT = 0.08  # of the half width
LOG_GAMMA = 0.35
LOG_CONTRAST = 0.25
BRIGHTNESS = 0.12
BLUR_PROBABILITY = 0.3
NOISE = 0.1
ERASE_PROBABILITY = 0.3
ERASE_SIDES = (0.10, 0.45)
LARGEST_BORDER = 0.14
_NOISE_BANK = 1 << 22


@dataclass(frozen=True)
class Strength:
    """Which families are drawn and how strong; 1 is the training's own strength."""

    geometry: float = 1.0
    photometry: float = 1.0
    border_probability: float = 0.0


class Augmentation:
    """Turns uint8 ``[batch, 1, H, W]`` into standardised float32 of the same shape.

    Gaussian noise is cut from a bank made once: PyTorch draws random numbers on one core, which
    costs a two-core machine a fifth of its speed.
    """

    def __init__(self, seed: int, border_probability: float = 0.0) -> None:
        self.seed = seed
        self.strength = Strength(border_probability=border_probability)
        self._bank = torch.from_numpy(np.random.default_rng(seed).standard_normal(_NOISE_BANK, dtype=np.float32))

    def __call__(self, images: Tensor, step: int) -> Tensor:
        rng = np.random.default_rng([self.seed, 1, step])
        pixels = perturb(images, rng, self.strength)
        standard = standardise(pixels)
        standard += self._noise(standard, rng)
        return erase(standard, rng)

    def _noise(self, like: Tensor, rng: np.random.Generator) -> Tensor:
        sigma = _uniform(rng, 0, NOISE, len(like)).to(like.device)
        size = like[0].numel()
        starts = rng.integers(0, _NOISE_BANK - size, len(like))
        noise = torch.stack([self._bank[s : s + size] for s in starts]).view_as(like)
        return noise.to(like.device) * sigma


def perturb(images: Tensor, rng: np.random.Generator, strength: Strength) -> Tensor:
    """Geometry and photometry, each image its own draw: uint8 ``[b, 1, H, W]`` to 0..1, not standardised."""
    pixels = images.float().div_(255.0)
    if strength.geometry:
        pixels = _warp(pixels, rng, strength.geometry)
    if strength.photometry:
        pixels = _tone(pixels, rng, strength.photometry)
        pixels = _soften(pixels, rng)
    if strength.border_probability:
        pixels = _borders(pixels, rng, strength.border_probability)
    return pixels


def erase(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Some images lose one rectangle, filled with the standardised mean (0). In place."""
    count, _, height, width = images.shape
    low, high = ERASE_SIDES
    for row in np.flatnonzero(rng.random(count) < ERASE_PROBABILITY):
        rows, columns = (int(rng.uniform(low, high) * side) for side in (height, width))
        top, left = int(rng.integers(0, height - rows)), int(rng.integers(0, width - columns))
        images[row, :, top : top + rows, left : left + columns] = 0
    return images


def _uniform(rng: np.random.Generator, low: float, high: float, count: int) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, (count, 1, 1, 1)).astype(np.float32))


def _warp(pixels: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    count = len(pixels)
    angle = np.deg2rad(rng.uniform(-ROTATION_DEGREES, ROTATION_DEGREES, count) * strength)
    zoom = np.exp(rng.uniform(-LOG_ZOOM, LOG_ZOOM, count) * strength)
    stretch = np.exp(rng.uniform(-LOG_ANISOTROPY, LOG_ANISOTROPY, count) * strength)
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    shift = rng.uniform(-SHIFT, SHIFT, (count, 2)) * strength
    cos, sin = np.cos(angle), np.sin(angle)
    theta = np.empty((count, 2, 3), np.float32)
    theta[:, 0] = np.stack([cos * zoom * stretch * mirror, -sin * zoom * stretch, shift[:, 0]], -1)
    theta[:, 1] = np.stack([sin * zoom / stretch * mirror, cos * zoom / stretch, shift[:, 1]], -1)
    grid = F.affine_grid(torch.from_numpy(theta).to(pixels.device), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _tone(pixels: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    count, device = len(pixels), pixels.device
    gamma = _uniform(rng, -LOG_GAMMA * strength, LOG_GAMMA * strength, count).exp().to(device)
    contrast = _uniform(rng, -LOG_CONTRAST * strength, LOG_CONTRAST * strength, count).exp().to(device)
    brightness = _uniform(rng, -BRIGHTNESS * strength, BRIGHTNESS * strength, count).to(device)
    pixels = pixels.clamp_(0, 1).pow(gamma)
    mean = pixels.mean((-2, -1), keepdim=True)
    return ((pixels - mean) * contrast + (mean + brightness)).clamp_(0, 1)


def _soften(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    chosen = torch.from_numpy(np.flatnonzero(rng.random(len(pixels)) < BLUR_PROBABILITY)).to(pixels.device)
    if len(chosen):
        size = pixels.shape[-2:]
        half = F.avg_pool2d(pixels[chosen], 2)
        pixels[chosen] = F.interpolate(half, size=size, mode="bilinear", align_corners=False)
    return pixels


def _borders(pixels: Tensor, rng: np.random.Generator, probability: float) -> Tensor:
    height, width = pixels.shape[-2:]
    for row in np.flatnonzero(rng.random(len(pixels)) < probability):
        top, bottom = (rng.uniform(0, LARGEST_BORDER, 2) * height).astype(int)
        left, right = (rng.uniform(0, LARGEST_BORDER, 2) * width).astype(int)
        frame = torch.zeros_like(pixels[row])
        frame[:, top : height - bottom, left : width - right] = 1
        pixels[row] *= frame
    return pixels
