"""What an image's style says about its class: tones, rims and sharpness, without a look at the lungs.

Normal and pneumonia radiographs of one hospital are taken and cut differently, so a network can win on train and
validation by style alone and lose wherever style and class part. Where these log odds are added to the logits while
training, that much of the label is explained already and the network learns the rest; it answers without them ("bias
product", Clark, Yatskar and Zettlemoyer 2019, Don't Take the Easy Way Out, arXiv:1909.03683).
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr_core.errors import DataError

LARGEST_LOG_ODDS = 3.0  # 95 : 5; an image that style decides for certain would teach nothing at all
_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_RIM = 0.05  # of the side
_DARK, _BRIGHT = 0.04, 0.96
_FOLDS = 5
_INVERSE_PENALTY = 0.3
_DIGITS = 3  # more would differ from one BLAS to the next


def style_log_odds(images: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Log odds of PNEUMONIA by style, float64 ``[n]`` within +-3, each from a fit that saw none of the image's group.

    A logistic regression on :func:`style`, classes weighed alike, in five folds at most.

    Args:
        images: uint8 ``[n, H, W]``.
        labels: 0 or 1, ``[n]``.
        groups: who the image is of, ``[n]``.

    Raises:
        DataError: a class has images of a single group.
    """
    folds = min(_FOLDS, *(len(np.unique(groups[labels == label])) for label in (0, 1)))
    if folds < 2:
        raise DataError("train.debias asks for two patients of each class at least; set it to 0 to train without")
    fit = make_pipeline(
        StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, class_weight="balanced", max_iter=3000)
    )
    odds = cross_val_predict(
        fit,
        np.stack([style(image) for image in images]),
        labels,
        groups=groups,
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=0),
        method="decision_function",
    )
    return np.asarray(odds.clip(-LARGEST_LOG_ODDS, LARGEST_LOG_ODDS).round(_DIGITS))


def style(image: np.ndarray) -> np.ndarray:
    """Quantiles and spread of grey, mean and share of black and of white at each rim, and mean steps along both axes.

    Args:
        image: uint8 ``[H, W]``.
    """
    grey = image.astype(np.float32) / 255
    high, wide = (max(1, round(_RIM * side)) for side in grey.shape)
    rims = (grey[:high], grey[-high:], grey[:, :wide], grey[:, -wide:])
    return np.array(
        [
            *np.quantile(grey, _QUANTILES),
            grey.std(),
            *(number for rim in rims for number in (rim.mean(), (rim < _DARK).mean(), (rim > _BRIGHT).mean())),
            *(np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1)),
        ]
    )
