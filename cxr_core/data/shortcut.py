"""How well the classes can be told without looking at the lungs: from file geometry, and from a blurred picture.

A model that does not clearly beat these two has learned nothing worth shipping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue

if TYPE_CHECKING:
    import pandas as pd

_SIDE = 32  # pixels
_PENALTY = 100.0  # ridge penalty on grey values 0..1; ten times more or less moves the AUC by 0.01
_DIGITS = 4  # what is kept: more would be noise, and would differ from one BLAS to the next


def audit_shortcuts(table: pd.DataFrame, thumbs: np.ndarray) -> dict[str, JsonValue]:
    """Accuracy (at the fit's own threshold) and AUC on test of two fits made on train, as ``{name: {...}}``.

    ``geometry``: logistic regression on the logarithms of width, height, aspect ratio and file size.
    ``pixels``: ridge regression on the picture at 32x32 pixels.

    Args:
        table: manifest columns and ``split``, a row a thumbnail.
        thumbs: uint8 ``[images, side, side]``.
    """
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "geometry": _judge(make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), _geometry(table), table)
        | {"from": "width, height, aspect ratio and bytes of the file"},
        "pixels": _judge(RidgeClassifier(alpha=_PENALTY), _small(thumbs), table)
        | {"from": f"ridge regression on {_SIDE}x{_SIDE} pixels"},
    }


def _judge(model: Any, features: np.ndarray, table: pd.DataFrame) -> dict[str, JsonValue]:
    from sklearn.metrics import roc_auc_score

    ill = (table["label"] == "PNEUMONIA").to_numpy()
    train, test = ((table["split"] == name).to_numpy() for name in ("train", "test"))
    model.fit(features[train], ill[train])
    scores = model.decision_function(features[test])
    return {
        "accuracy": round(float(np.mean((scores > 0) == ill[test])), _DIGITS),
        "auc": round(float(roc_auc_score(ill[test], scores)), _DIGITS),
        "n_train": int(train.sum()),
        "n_test": int(test.sum()),
    }


def _geometry(table: pd.DataFrame) -> np.ndarray:
    width, height, size = (table[name].to_numpy(np.float64) for name in ("width", "height", "bytes"))
    return np.stack([np.log(width), np.log(height), np.log(width / height), np.log(size)], axis=1)


def _small(thumbs: np.ndarray) -> np.ndarray:
    from PIL.Image import fromarray

    from cxr_core.data.decode import resize

    small = [resize(fromarray(thumb), size=_SIDE, filter="bilinear") for thumb in thumbs]
    return np.stack(small).reshape(len(thumbs), -1).astype(np.float64) / 255
