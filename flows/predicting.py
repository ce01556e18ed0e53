"""``cxr predict``: radiographs through a released graph. The ONNX file alone suffices."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from cxr_core.data.layout import IMAGE_SUFFIXES
from cxr_core.data.litter import walk
from cxr_core.errors import MachineError, UsageError
from flows.runs import newest_with
from flows.showing import output, progress_bars
from tasks.place import current_store
from tasks.progress import Reporter

NO_DEVICE = "Research only. This is no medical device and must not be used for a diagnosis."


def predict_paths(paths: Sequence[Path], onnx: Path | None, run_id: str) -> dict[str, Any]:
    """Label every image under ``paths``; one bad file never stops the rest.

    Raises:
        UsageError: no such path, no such run, or a graph that was not exported here.
    """
    from cxr_core.prediction import open_model

    graph, source = (onnx, str(onnx)) if onnx else _graph_of(run_id)
    files = list(_files(paths))
    predictions, errors = [], []
    with open_model(graph) as model, progress_bars(), Reporter("predict") as reporter:
        for done, file in enumerate(files, start=1):
            try:
                label, probability = model.predict(file)
                predictions.append({"file": str(file), "label": label, "probability": round(probability, 6)})
            except (UsageError, MachineError) as error:
                errors.append({"file": str(file), "error": str(error)})
            reporter.progress(done, len(files), file.name)
        about = {"model": source, "threshold": model.threshold, "temperature": model.temperature}
    return {**about, "notice": NO_DEVICE, "predictions": predictions, "errors": errors}


def print_predictions(found: dict[str, Any]) -> None:
    """A table, and what was refused."""
    table = Table("file", "label", "probability of PNEUMONIA")
    for row in found["predictions"]:
        table.add_row(row["file"], row["label"], f"{row['probability']:.3f}")
    output.print(table)
    for row in found["errors"]:
        output.print(f"refused {row['file']}: {row['error']}", markup=False, highlight=False, soft_wrap=True)
    output.print(f"model: {found['model']}; PNEUMONIA at {found['threshold']:.3f} and above", highlight=False)
    output.print(found["notice"])


def _graph_of(run_id: str) -> tuple[Path, str]:
    _, records = newest_with("export", run_id)
    ref = next(record for record in records if record.stage == "export").output("model.onnx")
    current_store().verify_ref(ref)
    return current_store().path(ref), f"{ref.name} {ref.digest[:19]}"


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (path / name for name in walk(path).files if Path(name).suffix.lower() in IMAGE_SUFFIXES)
        elif path.exists():
            yield path
        else:
            raise UsageError(f"no file or folder at {path}")
