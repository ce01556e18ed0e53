"""The stage ``report``: ``report.json``, the page, a model card and the plots. Written also when the run broke."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError

from cxr_core.errors import DataError
from cxr_core.evaluation.drift import drifts, read_changes
from cxr_core.evaluation.maps import Occlusion
from cxr_core.evaluation.reading import what
from cxr_core.evaluation.rows import Comparison
from cxr_core.evaluation.trials import Robustness
from cxr_core.evaluation.writing import write_json
from cxr_core.graphs.int8.found import Found
from cxr_core.progress import Progress, silent
from cxr_core.report.card import card
from cxr_core.report.document import Failure, ModelFacts, RunHeader, document
from cxr_core.report.drawing import inline_svg, lay_out, save_png, style
from cxr_core.report.figures import PLOTS, ROBUSTNESS_WORDS, training
from cxr_core.report.figures import robustness as draw_robustness
from cxr_core.report.gallery import gallery
from cxr_core.report.limits import limits
from cxr_core.report.page import Pictures, page

_STAGES: dict[type, str] = {Comparison: "compare", Occlusion: "occlusion", Robustness: "robustness"}
Read = TypeVar("Read", Comparison, Occlusion, Robustness)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
PAGE_WITHOUT_PICTURES = "report-without-pictures.html"
"""The page that may be given away: no radiograph and no name of one is in it."""
CARD = "model-card.md"


def report(
    *,
    run: RunHeader,
    out: Path,
    comparison: Path | None = None,
    checkpoint: Path | None = None,
    parity: Path | None = None,
    failures: tuple[Failure, ...] = (),
    changes: Path | None = None,
    tensors: Path | None = None,
    occlusion: Path | None = None,
    robustness: Path | None = None,
    int8: Found | None = None,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Write the report of a run, however far it came.

    Args:
        comparison: ``comparison.json``; None if compare did not run.
        checkpoint: the checkpoint's folder (``checkpoint.json``, ``history.csv``); None if there is none.
        parity: ``parity.json``; its plain values are shown.
        failures: what broke. A failed branch that the comparison already has a row for is not added twice.
        tensors: the frozen tensors, for the pictures of single test images; None for a report without any.
        occlusion: ``occlusion.json``, maps over some of those pictures. ``robustness``: ``robustness.json``.
        changes: branches whose engine is another than in the last green run, see ``cxr_core.evaluation.drift``.
        int8: the account of the search for INT8; None if there was none.

    Returns:
        Facts: ``state``, the verdicts, the recommendation, whether the images are phantoms.

    Raises:
        DataError: a comparison or checkpoint that cannot be read.
    """
    compared = _read(Comparison, comparison)
    drift = drifts(read_changes(changes), compared.rows, compared.threshold) if compared else ()
    tried = _read(Robustness, robustness)
    written = document(run, compared, _model(checkpoint), _parity(parity), failures, drift, tried, int8)
    written = written.model_copy(update={"limits": limits(written)})
    write_json(out / "report.json", written)
    if written.model:
        (out / CARD).write_text(card(written, written.model), encoding="utf-8")
    pictures = _pictures(compared, tensors, _read(Occlusion, occlusion))
    figures = _draw(out, compared, tried, checkpoint, progress)
    for name, shown in ((PAGE, pictures), (PAGE_WITHOUT_PICTURES, None)):
        (out / name).write_text(page(written, compared, figures, shown), encoding="utf-8")
    return {
        "state": written.state,
        "verdicts": {
            f"{row.precision}@{row.backend}": row.verdict.value if row.verdict else None for row in written.rows
        },
        "recommended": written.recommended.model_dump(mode="json") if written.recommended else None,
        "phantom": written.data is not None and written.data.source == "phantom",
    }


def _pictures(compared: Comparison | None, tensors: Path | None, found: Occlusion | None) -> Pictures | None:
    if compared is None or tensors is None:
        return None
    maps = {one.file: one for one in found.maps} if found else {}
    disagreements = gallery(compared.disagreements, tensors, compared.threshold, maps)
    return Pictures(disagreements, gallery(compared.worst, tensors, compared.threshold))


def _read(kind: type[Read], path: Path | None) -> Read | None:
    if path is None:
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        stage = _STAGES[kind]
        raise DataError(
            f"{path.name}: what the stage {stage} writes expected, but {what(error)}; mend: run {stage} again"
        ) from error


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


def _draw(
    out: Path,
    compared: Comparison | None,
    tried: Robustness | None,
    checkpoint: Path | None,
    progress: Progress,
) -> list[dict[str, str]]:
    """Write each plot that can be drawn as PNG, and return what the page needs of it."""
    wanted: list[tuple[str, str, str, Callable[[], Figure | None]]] = []
    if compared is not None:
        wanted += [(name, plot.title, plot.caption, partial(plot.draw, compared)) for name, plot in PLOTS.items()]
    if tried is not None:
        wanted.append(("robustness", "Robustness", ROBUSTNESS_WORDS, partial(draw_robustness, tried)))
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
                lay_out(figure)
                save_png(figure, out / f"{name}.png")
                drawn.append({"title": title, "caption": caption, "svg": inline_svg(figure, name, title)})
    return drawn
