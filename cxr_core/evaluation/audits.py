"""Is what was timed what was scored? The same engine, by its digest, and the same answers to the same images.

After the audits of MLPerf Inference (TEST01: answers in performance mode against those in accuracy mode).
"""

import json
from pathlib import Path

import numpy as np

from cxr_core.errors import DataError
from cxr_core.evaluation.branches import Branch
from cxr_core.evaluation.metrics import Floats
from cxr_core.evaluation.reading import what
from cxr_core.evaluation.scores import Scores

# Batches differ, so other kernels may run, in bf16 with three decimal digits: of single images, and on average.
_LARGEST, _MEAN = 0.05, 0.005


def require_one_engine(branch: Branch) -> None:
    """Benchmark and scores must be of the engine that the row names.

    Raises:
        DataError: they are of another, or do not say of which.
    """
    if branch.engine is None:
        return
    for name, there, digest in (
        ("benchmark", branch.benchmark, branch.benchmark_engine),
        ("scores", branch.scores, branch.scores_engine),
    ):
        if there and digest != branch.engine.digest:
            raise DataError(
                f"{branch.precision}@{branch.backend}: the {name} must be of the row's engine "
                f"{branch.engine.digest[:19]}, found {(digest or 'none named')[:19]}; mend: run the branch again"
            )


def require_answers_of_accuracy_mode(benchmark: Path, scores: Scores) -> None:
    """The answers given while being timed must be those given while being scored.

    Raises:
        DataError: they are not, the images are others, or the benchmark holds no answers.
    """
    timed = _answers(benchmark)
    place = {file: i for i, file in enumerate(scores.files)}
    strange = [file for file in timed if file not in place]
    if not timed or strange:
        found = f"{len(strange)} others, first {strange[0]}" if strange else "none"
        raise DataError(
            f"{benchmark.name}: answers to images of the test split expected, found {found}; "
            "mend: measure this branch again"
        )
    margins = np.array([ill - well for well, ill in timed.values()])
    shift = np.abs(_chance(margins) - _chance(scores.margin[[place[file] for file in timed]]))
    if not (shift.max() <= _LARGEST and shift.mean() <= _MEAN):  # so that NaN does not pass
        raise DataError(
            f"{benchmark.name}: the engine answers otherwise when it is timed than when it is scored: over "
            f"{len(shift)} images the probability moves by {shift.mean():.3g} on average (at most {_MEAN:g}) and by "
            f"{shift.max():.3g} at most (at most {_LARGEST:g}); no figure of this branch can be believed"
        )


def _answers(benchmark: Path) -> dict[str, tuple[float, float]]:
    try:
        answers = json.loads(benchmark.read_text(encoding="utf-8")).get("audit") or {}
        return {str(file): (float(pair[0]), float(pair[1])) for file, pair in answers.items()}
    except (OSError, ValueError, AttributeError, TypeError, IndexError) as error:
        raise DataError(
            f"{benchmark.name}: a benchmark expected, but {what(error)}; mend: measure this branch again"
        ) from error


def _chance(margin: Floats) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(margin))
