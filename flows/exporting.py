"""``cxr bench export``: what a run timed, as trtexec's files."""

import json
import tempfile
from pathlib import Path

from cxr_core.bench.trtexec.exporting import Timed, export_logs
from cxr_core.engines.metadata import read_metadata
from cxr_core.errors import UsageError
from flows.runs import newest_with
from tasks.place import current_store


def export_run(run_id: str, folder: Path) -> list[Path]:
    """The benchmarks of a run, each branch's last, as trtexec's files; the context files written.

    Raises:
        UsageError: no run was measured, or the folder holds something.
    """
    run_id, records = newest_with("benchmark", run_id)
    store = current_store()
    engines = {one.output("engine").digest: one for one in records if one.stage == "engine"}
    with store.lease("bench export"), tempfile.TemporaryDirectory(dir=store.root / "tmp") as scratch:
        timed = {}
        for number, record in enumerate(one for one in records if one.stage == "benchmark"):
            place = Path(scratch, str(number))
            place.mkdir()
            document = json.loads(store.checkout(record.output("benchmark.json"), place).read_text())
            if (built := engines.get(document["engine_digest"])) is None:
                raise UsageError(f"run {run_id} no longer names the engine {document['engine_digest']} that it timed")
            known = read_metadata(store.checkout(built.output("engine.json"), place))
            times = store.checkout(record.output("times.json"), place)
            timed[known.precision, known.backend] = Timed(known, document, times)
        return export_logs(list(timed.values()), folder)
