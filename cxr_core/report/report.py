"""The stage ``report``: ``report.json``, ``report.html`` and the plots. Written also when the run broke."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, TypeAdapter, ValidationError

from cxr_core.errors import DataError
from cxr_core.evaluation.drift import drifts, read_changes
from cxr_core.evaluation.reading import what
from cxr_core.evaluation.rows import Comparison
from cxr_core.evaluation.writing import write_json
from cxr_core.graphs.int8.found import Found
from cxr_core.progress import Progress, silent
from cxr_core.report.document import Failure, ModelFacts, RunHeader, document
from cxr_core.report.drawing import inline_svg, save_png, style
from cxr_core.report.figures import PLOTS, training
from cxr_core.report.page import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def report(
    *,
    run: RunHeader,
    out: Path,
    comparison: Path | None = None,
    checkpoint: Path | None = None,
    parity: Path | None = None,
    failures: tuple[Failure, ...] = (),
    changes: Path | None = None,
    int8: Found | None = None,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Write the report of a run, however far it came.

    Args:
        comparison: ``comparison.json``; None if compare did not run.
        checkpoint: the checkpoint's folder (``checkpoint.json``, ``history.csv``); None if there is none.
        parity: ``parity.json``; its plain values are shown.
        failures: what broke. A failed branch that the comparison already has a row for is not added twice.
        changes: branches whose engine is another than in the last green run, see ``cxr_core.evaluation.drift``.
        int8: the account of the search for INT8; None if there was none.

    Returns:
        Facts: ``state``, the verdicts, the recommendation, whether the images are phantoms.

    Raises:
        DataError: a comparison or checkpoint that cannot be read.
    """
    compared = _comparison(comparison)
    drift = drifts(read_changes(changes), compared.rows, compared.threshold) if compared else ()
    written = document(run, compared, _model(checkpoint), _parity(parity), failures, drift, int8)
    write_json(out / "report.json", written)
    figures = _draw(out, compared, checkpoint, progress)
    (out / "report.html").write_text(page(written, compared, figures), encoding="utf-8")
    return {
        "state": written.state,
        "verdicts": {
            f"{row.precision}@{row.backend}": row.verdict.value if row.verdict else None for row in written.rows
        },
        "recommended": written.recommended.model_dump(mode="json") if written.recommended else None,
        "phantom": written.data is not None and written.data.source == "phantom",
    }


def _comparison(path: Path | None) -> Comparison | None:
    if path is None:
        return None
    try:
        return Comparison.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path.name}: a comparison expected, but {what(error)}; mend: run compare again") from error


def _model(folder: Path | None) -> ModelFacts | None:
    if folder is None:
        return None
    try:
        return ModelFacts.model_validate_json((folder / "checkpoint.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"checkpoint.json: a checkpoint expected, but {what(error)}; mend: train again") from error


def _parity(path: Path | None) -> dict[str, JsonValue]:
    if path is None:
        return {}
    try:
        return TypeAdapter(dict[str, JsonValue]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path.name}: a JSON object expected, but {what(error)}; mend: run the gate again") from error


def _draw(out: Path, compared: Comparison | None, checkpoint: Path | None, progress: Progress) -> list[dict[str, str]]:
    """Write each plot that can be drawn as PNG, and return what the page needs of it."""
    wanted: list[tuple[str, str, str, Callable[[], Figure | None]]] = []
    if compared is not None:
        wanted += [(name, plot.title, plot.caption, partial(plot.draw, compared)) for name, plot in PLOTS.items()]
    history = checkpoint / "history.csv" if checkpoint else None
    if history and history.is_file():
        wanted.append(
            (
                "training",
                "Training",
                "Loss by images seen, thin as measured, thick a running mean.",
                partial(training, history),
            )
        )
    drawn = []
    with style():
        for done, (name, title, caption, draw) in enumerate(wanted):
            progress(done, len(wanted), name)
            if (figure := draw()) is not None:
                save_png(figure, out / f"{name}.png")
                drawn.append({"title": title, "caption": caption, "svg": inline_svg(figure, name, title)})
    return drawn
