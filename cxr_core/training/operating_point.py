"""Temperature and threshold, by rules fixed beforehand, on validation images alone.

Clean validation cannot see the shift between train and test and would pick too high a threshold.
So both are set on validation images under the training's own geometry: the temperature minimises
the negative log likelihood (Guo et al. 2017, On Calibration of Modern Neural Networks), the
threshold is where sensitivity equals specificity. Recipes are compared by ``auc_perturbed``.
"""

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import JsonValue
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.metrics import roc_auc_score, roc_curve

from cxr_core.config import TrainConfig
from cxr_core.data.tensors import Tensors
from cxr_core.errors import ModelError
from cxr_core.training.augmentation import Strength, perturb
from cxr_core.training.network import Classifier

_DRAWS = 3
_BATCH = 64
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class OperatingPoint:
    """Frozen before any look at test."""

    temperature: float
    threshold: float
    validation: dict[str, JsonValue]


def choose_operating_point(
    model: Classifier, data: Tensors, config: TrainConfig, device: torch.device
) -> OperatingPoint:
    """Score validation clean and perturbed, then set temperature and threshold.

    Raises:
        ModelError: the network answers NaN or the same for every image.
    """
    rows = data.select("val")
    labels = data.labels[rows]
    images = data.images[rows]
    clean = _margins(model, images, None, 0, device)
    if not np.isfinite(clean).all() or np.ptp(clean) == 0:
        raise ModelError(
            "the network gives the same answer (or NaN) for every validation image; it has learned nothing"
        )
    geometry = np.concatenate([_margins(model, images, Strength(1, 0), d, device) for d in range(_DRAWS)])
    both = [_margins(model, images, Strength(1, 1), d, device) for d in range(_DRAWS)]
    temperature = fit_temperature(geometry, np.tile(labels, _DRAWS))
    threshold = balanced_threshold(_sigmoid(geometry / temperature), np.tile(labels, _DRAWS))
    return OperatingPoint(
        temperature,
        threshold,
        {
            "auc": round(float(roc_auc_score(labels, clean)), 6),
            "auc_perturbed": round(float(np.mean([roc_auc_score(labels, m) for m in both])), 6),
            "images": len(rows),
        },
    )


def fit_temperature(margins: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that minimises the mean negative log likelihood of ``sigmoid(margin / T)``."""
    signed = np.where(labels == 1, margins, -margins)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed / np.exp(log_temperature)).mean())

    low, high = np.log(_TEMPERATURES)
    return round(float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x)), 6)


def balanced_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The threshold at which sensitivity and specificity are nearest each other."""
    false_rate, true_rate, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    nearest = int(np.argmin(np.abs(true_rate - (1 - false_rate))))
    return round(float(np.clip(thresholds[nearest], 1e-6, 1 - 1e-6)), 6)


@torch.inference_mode()
def _margins(
    model: Classifier, images: np.ndarray, strength: Strength | None, draw: int, device: torch.device
) -> np.ndarray:
    """logit(PNEUMONIA) - logit(NORMAL) for each image, float64 ``[n]``."""
    rng = np.random.default_rng([20, draw])
    margins = []
    for start in range(0, len(images), _BATCH):
        pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + _BATCH]))[:, None].to(device)
        grey = perturb(pixels, rng, strength) * 255.0 if strength else pixels.float()
        logits = model(grey).double().cpu().numpy()
        margins.append(logits[:, 1] - logits[:, 0])
    return np.concatenate(margins)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(expit(values))
