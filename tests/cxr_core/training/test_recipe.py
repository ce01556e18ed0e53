"""The recipe's parts: batches, augmentation, and the operating point, each against what it promises."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxr_core.training.augmentation import Augmentation, Strength, perturb
from cxr_core.training.batches import BalancedBatches
from cxr_core.training.network import Classifier, create_backbone, standardise
from cxr_core.training.operating_point import balanced_threshold, fit_temperature


@given(st.integers(1, 40), st.integers(1, 90), st.integers(0, 3), st.integers(1, 8))
def test_every_batch_is_half_and_half_and_every_image_comes_once_an_epoch(
    few: int, many: int, seed: int, half: int
) -> None:
    labels = np.array([0] * few + [1] * many)
    batches = BalancedBatches(labels, 2 * half, seed)
    steps = -(-2 * many // half)
    taken = np.concatenate([batches(step) for step in range(steps)])
    assert (labels[taken].reshape(steps, 2 * half).sum(1) == half).all()
    pneumonia = taken[labels[taken] == 1]
    assert sorted(pneumonia[:many]) == list(range(few, few + many))


def test_augmentation_is_a_function_of_seed_and_step() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (8, 1, 32, 32)).astype(np.uint8))
    augment = Augmentation(3)
    first = augment(images, 5)
    augment(images, 6)
    assert torch.equal(first, Augmentation(3)(images, 5))
    assert not torch.equal(first, augment(images, 6))
    assert not torch.equal(first, Augmentation(4)(images, 5))
    assert torch.isfinite(first).all()


def test_no_strength_changes_nothing() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (4, 1, 16, 16)).astype(np.uint8))
    same = perturb(images, np.random.default_rng(0), Strength(0, 0))
    assert torch.allclose(same, images.float() / 255)


def test_borders_blacken_the_rim_only() -> None:
    white = torch.full((64, 1, 32, 32), 255, dtype=torch.uint8)
    framed = perturb(white, np.random.default_rng(1), Strength(0, 0, border_probability=1.0))
    assert (framed[..., 8:24, 8:24] == 1).all()
    assert (framed == 0).any()


def test_standardisation_ignores_brightness_contrast_and_the_rim() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 1, 32, 32) * 0.5
    plain = standardise(images)
    centre = plain[..., 4:28, 4:28]
    assert torch.allclose(centre.mean((-2, -1)), torch.zeros(2, 1), atol=1e-5)
    framed = images.clone()
    framed[..., 0, :] = 1
    assert torch.allclose(standardise(framed)[..., 4:28, 4:28], centre, atol=1e-6)


def test_flip_average_gives_mirror_images_the_same_answer() -> None:
    torch.manual_seed(0)
    model = Classifier(create_backbone("cxr_small", "none", 0.0), flip_average=True).eval()
    images = torch.rand(3, 1, 32, 32) * 255
    with torch.inference_mode():
        assert torch.allclose(model(images), model(images.flip(-1)), atol=1e-6)


def test_temperature_undoes_a_known_scale() -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-margins))).astype(int)
    assert abs(fit_temperature(margins * 3, labels) - 3) < 0.15


def test_threshold_balances_sensitivity_and_specificity() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [400, 100])
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.1), 0, 1)
    threshold = balanced_threshold(scores, labels)
    sensitivity, specificity = (scores[labels == 1] >= threshold).mean(), (scores[labels == 0] < threshold).mean()
    assert abs(sensitivity - specificity) < 0.02
