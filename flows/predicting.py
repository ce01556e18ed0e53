"""``cxr predict``: radiographs through a run's or a release's graph. Nothing heavier than ONNX Runtime is imported."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich.progress import Progress

from cxr_core.errors import UsageError
from cxr_core.prediction.agreement import MEANING, Agreement
from cxr_core.prediction.answers import Answer, Status, answers, files_at
from cxr_core.prediction.graph import GRAPH_FILE, Graph, graph_from_path, graph_from_release
from cxr_core.prediction.model import Model
from cxr_core.refs import Ref
from cxr_core.release.contents import NOTICE
from flows.predictions import Document, Lines, Table, Writer
from flows.showing import terminal
from tasks.place import current_store

_PROVEN = "every byte that was read has its digest in the store"
_PREFIX = "releases/"
_STAGES = ("export", "report")  # whose outputs are of use here


@dataclass(frozen=True)
class Asked:
    """What the command line asks for. ``model``: a file, a folder or a release's name; none means that of ``run``."""

    paths: Sequence[Path]
    model: str | None = None
    key: Path | None = None
    run: str = "latest"
    csv: Path | None = None
    as_json: bool = False
    check_scope: bool = True


def predict(asked: Asked) -> int:
    """An answer for every file; the exit status: 1 if one could not be read, else 0.

    Raises:
        UsageError: nothing at a path, no image there, no such model, or the CSV file cannot be written.
        ModelError, RefusedError: what was found is no graph that can be used, or is not proven.
    """
    files, unread = files_at(asked.paths)
    if not files and not unread:
        raise UsageError(f"no image in {', '.join(map(str, asked.paths))}: *.jpeg, *.jpg, *.png, *.dcm are looked for")
    graph = _graph(asked)
    with Model(graph.content, graph.source) as model, ExitStack() as open_writers:
        agreement = Agreement.of_report(graph.report, model.about)
        about = _about(graph, model, agreement, asked)
        writers = [open_writers.enter_context(writer) for writer in _writers(about, asked)]
        found = answers(files, model, agreement, check_scope=about["scope"]["checked"])
        counts = Counter(dict.fromkeys(Status, 0))
        for answer in chain(unread, _with_progress(found, len(files), asked)):
            counts[answer.status] += 1
            for writer in writers:
                writer.write(answer)
        for writer in writers:
            writer.end({str(status): count for status, count in counts.items()})
    return 1 if counts[Status.REFUSED] else 0


def _writers(about: dict[str, Any], asked: Asked) -> Iterator[Writer]:
    if asked.csv is not None:
        yield Table(about, asked.csv)
    yield Document(about) if asked.as_json else Lines(about, each=asked.csv is None)


def _about(graph: Graph, model: Model, agreement: Agreement, asked: Asked) -> dict[str, Any]:
    """What holds of every answer: the head of the JSON document."""
    release = {name: graph.release.get(name) for name in ("precision", "backend", "verdict", "forced")}
    return {
        "notice": NOTICE,
        "model": graph.source,
        "digest": graph.digest,
        "proof": graph.proof,
        "release": release if graph.release else None,
        "phantom": graph.phantom,
        "threshold": model.about.threshold,
        "temperature": model.about.temperature,
        "interval": agreement.reason or MEANING,
        "scope": _scope(graph, asked),
    }


def _scope(graph: Graph, asked: Asked) -> dict[str, Any]:
    if not asked.check_scope:
        return {"checked": False, "reason": "as asked: every picture is labelled, whatever it shows"}
    if graph.phantom:
        return {
            "checked": False,
            "reason": "since it is about radiographs, and this model has learned from generated pictures",
        }
    return {"checked": True, "reason": ""}


def _with_progress(found: Iterable[Answer], total: int, asked: Asked) -> Iterator[Answer]:
    """With a bar where a person looks and no line comes for each file anyway."""
    lines = not asked.as_json and asked.csv is None and sys.stdout.isatty()
    if lines or not terminal.is_terminal:
        yield from found
        return
    with Progress(console=terminal, transient=True) as bar:
        yield from bar.track(found, total, description="predict")


def _graph(asked: Asked) -> Graph:
    if asked.model is None:
        if asked.key is not None:
            raise UsageError("--key is for a bundle: give one with --model")
        return _of_run(asked.run)
    path = Path(asked.model)
    if path.exists():
        return graph_from_path(path, asked.key)
    return _of_store(asked.model)


def _of_run(run_id: str) -> Graph:
    from flows.runs import newest_with  # only where there is a run to look into

    run_id, records = newest_with("export", run_id)
    refs = {name: ref for record in records if record.stage in _STAGES for name, ref in record.outputs.items()}

    def read(name: str) -> bytes | None:
        ref = refs.get(name)
        # Without the report there is still an answer; without the graph there is none, and the store says why.
        return _read(ref) if ref and (name == GRAPH_FILE or current_store().has(ref)) else None

    return graph_from_release(read, f"run {run_id}", _PROVEN)


def _of_store(name: str) -> Graph:
    store = current_store()
    pins = store.pins()
    found = next((pins[pin] for pin in (name, _PREFIX + name) if pin in pins), None)
    if found is None:
        known = ", ".join(pin for pin in pins if pin.startswith(_PREFIX)) or "none"
        raise UsageError(f"--model {name}: there is no such file, folder or release; releases in {store.root}: {known}")
    if len(found) != 1 or found[0].form != "tree":
        raise UsageError(f"--model {name} is a pin of something else than a release")
    entries = {entry.name: entry for entry in store.entries(found[0])}

    def read(file: str) -> bytes | None:
        entry = entries.get(file)
        return _read(Ref(form="blob", digest=entry.digest, size=entry.size, name="file")) if entry else None

    return graph_from_release(read, name, _PROVEN)


def _read(ref: Ref) -> bytes:
    return current_store().read_bytes(ref)
