"""Our search for INT8 against NNCF's accuracy control on OpenVINO: same network, images, budget and judge.

``CXR_BENCH_PROFILE`` names the profile, or a YAML file, whose network is trained and whose budget holds (``smoke``);
``CXR_DATA`` a folder of radiographs, else the profile's phantoms are taken. Both sides get the same calibration images,
16 of them first (``CXR_BENCH_CALIBRATION`` names another number), then twice as many up to the profile's
``calibration.images``, and the same held-back ones. Each is then judged once more on the validation split, which
neither has seen. Speed is that of both, and of the two ends between which our search chooses: everything quantised that
may be, and float32. ``CXR_BENCH_LIMIT`` is how many seconds NNCF may search (no limit). Needs
``pip install -e '.[bench]'``.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import Beside, Paired, in_turns, seconds
from benchmarks.prepared import prepared, profile_asked

_BATCH = 32
_FEWEST = 16
_REPEATS = 4  # batches a turn


class _GivenUpError(Exception):
    """NNCF's time is up."""


@dataclass(frozen=True)
class _Judge:
    """How far an OpenVINO model's answers on ``images`` are from those of ONNX Runtime in float32."""

    images: Any
    expected: Any
    metadata: Any

    def moved(self, model: Any) -> tuple[float, int]:
        """Mean |delta p| and changed decisions."""
        from cxr_core.graphs.answers import shift

        batches = (self.images[i : i + _BATCH].astype(np.float32) for i in range(0, len(self.images), _BATCH))
        found = shift(np.concatenate([model(batch)[0] for batch in batches]), self.expected, self.metadata)
        return float(found["mean_shift"]), int(found["flips"])  # type: ignore[arg-type]


def measure(rounds: int) -> list[Paired | Beside]:
    """One search a side and calibration size; speeds in ``rounds`` rounds, on one thread."""
    if find_spec("nncf") is None:
        raise SystemExit("nncf is not installed; it is the other side: pip install -c constraints.txt -e '.[bench]'")
    profile = profile_asked("smoke")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tensors, graph = _trained(folder, profile)
        found: list[Paired | Beside] = []
        images = int(os.environ.get("CXR_BENCH_CALIBRATION", _FEWEST))
        while images <= profile.calibration.images:
            found += _compared(folder / str(images), tensors, graph, profile, images, rounds)
            images *= 2
        return found


def _compared(
    folder: Path, tensors: Path, graph: Path, profile: Any, images: int, rounds: int
) -> list[Paired | Beside]:
    """Both sides on so many calibration images."""
    from cxr_core.data.calibration import calibration
    from cxr_core.data.tensors import open_tensors
    from cxr_core.engines.openvino.library import library
    from cxr_core.graphs.variants import variant
    from cxr_core.refs import Precision

    folder.mkdir()
    calibration(tensors=tensors, out=folder, config=profile.calibration.model_copy(update={"images": images}))
    data = open_tensors(tensors)
    held_back = _judge(graph, np.load(folder / "held_back.npy"))
    unseen = _judge(graph, data.images[data.select("val")][:, None])

    facts: dict[str, Any] = {}
    config = profile.variant.model_copy(update={"int8_method": "search"})
    given = {"graph": graph, "calibration": folder / "calibration.npy", "held_back": folder / "held_back.npy"}
    ours_took = seconds(
        lambda: facts.update(variant(**given, out=folder, precision=Precision.INT8, config=config))  # type: ignore[arg-type]
    )
    ours_left = facts["search"]["chosen"]
    (folder / "whole").mkdir()
    plain = profile.variant.model_copy(update={"int8_method": facts["search"]["calibrator"]})
    variant(**given, out=folder / "whole", precision=Precision.INT8, config=plain)  # type: ignore[arg-type]
    theirs: list[Any] = []
    theirs_took = seconds(
        lambda: theirs.append(_accuracy_control(graph, np.load(folder / "calibration.npy"), held_back, config))
    )
    read = library().Core().read_model
    written = {"ours": folder / "variant.onnx", "FP32": graph, "all INT8": folder / "whole/variant.onnx"}
    models = {name: _compiled(read(path)) for name, path in written.items()}
    if theirs[0] is not None:
        models["NNCF"] = _compiled(theirs[0])

    about = f"{profile.train.model}, {images} calibration images"
    searched = "search" if "NNCF" in models else "search (NNCF given up)"
    return [
        Beside("int8", f"{searched}, {about}", "s", "", ours_took, theirs_took),
        Beside("int8", f"estimated time left in float32, {about}", "share", "", ours_left["time_share"], None),
        *_judged(about, models, held_back, unseen, config, rounds),
    ]


def _judged(
    about: str, models: dict[str, Any], held_back: _Judge, unseen: _Judge, config: Any, rounds: int
) -> list[Paired | Beside]:
    """How far each moves the answers, and how fast it is."""
    rows: list[Paired | Beside] = []
    for where, judge in (("held back", held_back), ("validation", unseen)):
        moved = {name: judge.moved(model) for name, model in models.items()}
        their_shift, their_flips = moved.get("NNCF", (None, None))
        judged = f"{where} ({len(judge.images)} images), {about}"
        bound = f"<= {config.int8_shift:g}" if judge is held_back else ""
        allowed = f"<= {int(config.int8_flips * len(judge.images))}" if judge is held_back else ""
        shift, flips = moved["ours"]
        rows.append(Beside("int8", f"mean |delta p|, {judged}", "", bound, shift, their_shift))
        rows.append(Beside("int8", f"flips, {judged}", "", allowed, flips, their_flips))
        rows.append(Beside("int8", f"mean |delta p| of all INT8, {judged}", "", "", moved["all INT8"][0], None))
        rows.append(Beside("int8", f"flips of all INT8, {judged}", "", "", moved["all INT8"][1], None))
    batch = np.repeat(held_back.images, -(-_BATCH // len(held_back.images)), axis=0)[:_BATCH].astype(np.float32)
    return [*rows, *_speeds(about, models, batch, rounds)]


def _speeds(about: str, models: dict[str, Any], batch: Any, rounds: int) -> list[Paired]:
    """Images a second, in turns: ours against theirs, each against float32, ours against everything quantised."""

    def rate(name: str) -> Callable[[], float]:
        return lambda: _REPEATS * len(batch) / seconds(lambda: [models[name](batch) for _ in range(_REPEATS)])

    rates = {name: rate(name) for name in models}
    against = [("ours", "NNCF", ">= 1")] if "NNCF" in models else []
    against += [(name, "FP32", "") for name in models if name != "FP32"]
    return [
        in_turns(Paired("int8", f"{a} / {b}, {about}", target, "images/s"), rates[a], rates[b], rounds)
        for a, b, target in (*against, ("ours", "all INT8", ""))
    ]


def _accuracy_control(graph: Path, images: Any, judge: _Judge, config: Any) -> Any:
    """NNCF's answer to the same budget, or none in time: a metric that falls by 1 as either half of it is used up."""
    from cxr_core.engines.openvino.library import library

    openvino = library()  # before NNCF, so that neither reports to anybody
    import nncf

    longest = float(os.environ.get("CXR_BENCH_LIMIT", "inf"))
    began = time.perf_counter()
    allowed = max(config.int8_flips * len(judge.images), 0.5)  # one flip is too many where none is allowed

    def used(model: Any, items: Any) -> tuple[float, None]:
        del items  # NNCF hands over a subset while it ranks; the budget is judged on all
        if time.perf_counter() - began > longest:
            raise _GivenUpError
        shift, flips = judge.moved(model)
        return -max(shift / config.int8_shift, flips / allowed), None

    def dataset(of: Any) -> Any:
        return nncf.Dataset([image[None].astype(np.float32) for image in of])

    try:
        return nncf.quantize_with_accuracy_control(
            openvino.Core().read_model(graph),
            calibration_dataset=dataset(images),
            validation_dataset=dataset(judge.images),
            validation_fn=used,
            max_drop=1.0,
            drop_type=nncf.DropType.ABSOLUTE,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
        )
    except _GivenUpError:
        return None


def _judge(graph: Path, images: Any) -> _Judge:
    from cxr_core.graphs.answers import Answering
    from cxr_core.graphs.files import open_graph

    return _Judge(images, Answering(graph)(images, _BATCH), open_graph(graph)[1])


def _compiled(model: Any) -> Any:
    from cxr_core.config import EngineConfig
    from cxr_core.engines.openvino.library import library
    from cxr_core.engines.openvino.runner import properties
    from cxr_core.refs import Precision

    return library().Core().compile_model(model, "CPU", properties(Precision.INT8, EngineConfig(threads=1)))


def _trained(folder: Path, profile: Any) -> tuple[Path, Path]:
    """Tensors and the graph of a network trained on them, by the stages of the workflow itself."""
    from cxr_core.graphs.export import export
    from cxr_core.training.loop import train

    tensors, filter = prepared(folder, profile).tensors, profile.tensors.filter
    for name in ("train", "work", "export"):
        (folder / name).mkdir()
    train(tensors=tensors, out=folder / "train", work=folder / "work", config=profile.train, filter=filter)
    export(checkpoint=folder / "train/checkpoint", out=folder / "export", config=profile.export)
    return tensors, folder / "export/model.onnx"
