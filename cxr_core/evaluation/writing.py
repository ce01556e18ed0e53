"""JSON whose bytes hang on its content alone."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

# More digits than any figure here carries, fewer than differ between two correct summation orders.
_DIGITS = 10


def write_json(path: Path, value: BaseModel) -> None:
    """Write a model as indented UTF-8 JSON: floats to ten significant digits, NaN refused."""
    text = json.dumps(_rounded(value.model_dump(mode="json")), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return value
