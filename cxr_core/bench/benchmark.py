"""Stage ``benchmark``: an engine measured against its reference in one process, the device held alone."""

import json
from pathlib import Path

from pydantic import JsonValue

from cxr_core.bench.audit import require_valid
from cxr_core.bench.inputs import Inputs, of_test_split
from cxr_core.bench.ratio import ratio_from_rounds
from cxr_core.bench.rounds import Ended, Side, alternate, both_sides, drift, drifting, note_rooflines, ratios_by_round
from cxr_core.bench.stages import stages
from cxr_core.bench.summary import latency_summary, thinned
from cxr_core.bench.trtexec.exports import write_times
from cxr_core.bench.trtexec.times import queries_of
from cxr_core.bench.watching import watching
from cxr_core.config import BenchmarkConfig, EngineConfig
from cxr_core.engines.metadata import EngineMetadata
from cxr_core.engines.opening import open_engine
from cxr_core.engines.registry import backend
from cxr_core.errors import UsageError
from cxr_core.progress import Progress, silent


def benchmark(
    *,
    engine: Path,
    engine_metadata: Path,
    reference: Path,
    reference_metadata: Path,
    out: Path,
    config: BenchmarkConfig,
    engine_config: EngineConfig,
    tensors: Path | None = None,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Writes ``out/benchmark.json`` and ``out/times.json`` (trtexec's export); the facts are the summary.

    Latency is per query at batch 1, throughput per image at ``config.throughput_batch``; each round
    measures both on both engines. Ratios above 1 mean faster than the reference. An engine that is its
    own reference is measured against itself all the same: its interval shows what the machine can resolve.
    With ``tensors`` images of the test split are fed, and ``benchmark.json`` holds what was answered to which
    (``audit``): ``compare`` holds that against the answers of the accuracy stage.

    Raises:
        BranchError: the measurement is not valid: answers given while timed were not those given before, not all
            images were bound, or the rate is above what the device computes. Nothing is written, so that no later
            run takes it for a result.
        UsageError: engine and reference are of different backends or image sizes.
        RefusedError, MachineError: one of them is not to be loaded here.
    """
    first, known = open_engine(engine, engine_metadata, config=engine_config)
    with first:
        second, other = open_engine(reference, reference_metadata, config=engine_config)
        with second:
            _comparable(known, other)
            inputs = of_test_split(tensors, config.throughput_batch, *first.input_shape[2:]) if tensors else None
            sides = both_sides(("engine", "reference"), (first, second), (known, other), config, inputs)
            with watching(backend(known.backend).devices()[0]) as watch:
                ended = alternate(*sides, config, progress)
    roof, _ = note_rooflines(sides, (known, other), config, engine_config)
    require_valid(*(one.complaint for one in sides))
    ways = (one.otherwise(engine_config, config.streams) for one in sides)
    doubts = (*ways, *(one.unsteady for one in sides), ended.reason, drifting(drift(*sides)), watch.complaint())
    summary = _summary(known, *sides, ended, "; ".join(filter(None, doubts)), config)
    summary |= {"roofline": roof.model_dump(mode="json")} if roof else {}
    summary |= {watch.kind: told} if (told := watch.told()) else {}
    kept = [round(value, 6) for value in sides[0].milliseconds.tolist()]
    document = summary | {"latencies_ms": thinned(kept)} | _audit(sides[0], inputs, known.engine_digest)
    (out / "benchmark.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    write_times(out / "times.json", queries_of(sides[0].latency))
    return summary | {"engine_digest": known.engine_digest, "fake": known.fake}


def _audit(engine: Side, inputs: Inputs | None, digest: str) -> dict[str, JsonValue]:
    """The engine, and its answers to the images by file; every timed answer was one of these."""
    if inputs is None:
        return {"engine_digest": digest}
    logits: list[JsonValue] = [
        [float(f"{value:.9g}") for value in pair] for answers in engine.batched_answers for pair in answers
    ]
    return {"engine_digest": digest, "audit": dict(zip(inputs.files, logits, strict=True))}


def _comparable(known: EngineMetadata, other: EngineMetadata) -> None:
    mine, its = ((m.backend, m.model.size) for m in (known, other))
    if mine != its:
        raise UsageError(
            f"a reference must be of the engine's own backend and image size: expected {mine}, found {its}"
        )


def _summary(
    known: EngineMetadata, engine: Side, reference: Side, ended: Ended, reason: str, config: BenchmarkConfig
) -> dict[str, JsonValue]:
    return {
        "backend": known.backend,
        "precision": known.precision.value,
        "device": backend(known.backend).device(),
        **_figures(engine, config.seed),
        "reference": _figures(reference, config.seed),
        "ratio": _ratios(engine, reference, config.seed),
        "drift": moved.model_dump() if (moved := drift(engine, reference)) else None,
        "ended": ended.model_dump(),
        "reason": reason,
        **({"stages": told} if (told := stages(engine.spans)) else {}),
    }


def _figures(one: Side, seed: int) -> dict[str, JsonValue]:
    """Latency, its median over rounds, throughput, how it was warmed up and executed, and which streams were tried."""
    return {
        "latency": latency_summary(one.milliseconds, 1).model_dump(),
        "median_ms": one.median_ms(seed).model_dump(),
        "throughput": one.throughput_summary.model_dump(),
        "warmup": {kind: warmed.model_dump() for kind, warmed in one.warmup.items()},
        **({"execution": how.model_dump()} if (how := one.execution) else {}),
        **({"tuned_streams": one.tuned.model_dump(mode="json")} if one.tuned else {}),
    }


def _ratios(engine: Side, reference: Side, seed: int) -> dict[str, JsonValue]:
    latency, throughput = ratios_by_round(engine, reference)
    return {
        "throughput": ratio_from_rounds(throughput, seed).model_dump(),
        "latency": ratio_from_rounds(latency, seed).model_dump(),
    }
