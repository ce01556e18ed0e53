"""Stage ``engine``: a variant compiled by one backend for this device, and what really runs inside it."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Backend, Effective, Support
from cxr_core.engines.effective import disagreement
from cxr_core.engines.graph import INPUT, OUTPUT, variant_metadata
from cxr_core.engines.metadata import EngineMetadata, bound_environment, file_digest
from cxr_core.engines.registry import backend as backend_named
from cxr_core.errors import MachineError
from cxr_core.graphs.metadata import GraphMetadata
from cxr_core.graphs.operations import gflop_per_image
from cxr_core.progress import Progress, silent
from cxr_core.refs import Precision


def engine(
    *,
    graph: Path,
    out: Path,
    precision: Precision,
    backend: str,
    config: EngineConfig,
    cache: Path | None = None,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Compiles ``graph`` into ``out/engine`` and writes ``engine.json`` and ``layers.json`` beside it.

    ``cache`` is a folder in which a backend may keep what makes its next build faster.

    ``layers.json`` lists every executed layer with its kind and arithmetic, and with its formats and tactic where the
    engine tells them, without times, so that its bytes do not hang on the clock; the shares of the time, the layers
    and the weights are among the returned facts.

    Raises:
        UsageError: unknown backend.
        MachineError: this machine does not run the precision; ask ``support`` first.
        ModelError: the graph has another signature, lacks metadata or cannot be compiled.
    """
    chosen = backend_named(backend)
    support = chosen.support(precision)
    if support.level == "unsupported":
        raise MachineError(f"{precision} on {backend} is unsupported here: {support.reason}")
    about = variant_metadata(graph)
    target = out / "engine"
    built = chosen.build(graph=graph, precision=precision, engine=target, config=config, progress=progress, cache=cache)
    progress(2, 3, "reading back what runs")
    effective = chosen.inspect(target, precision=precision, config=config)
    (out / "engine.json").write_text(
        _metadata(chosen, precision, graph, target, about, built).model_dump_json(indent=1) + "\n"
    )
    (out / "layers.json").write_text(_layers(effective))
    progress(3, 3, f"{effective.label}, {target.stat().st_size / 1e6:.1f} MB")
    return _facts(chosen, precision, support, effective, built)


def _metadata(
    chosen: Backend,
    precision: Precision,
    graph: Path,
    target: Path,
    about: GraphMetadata,
    built: Mapping[str, JsonValue],
) -> EngineMetadata:
    settings = built.get("built_with", {})
    return EngineMetadata(
        backend=chosen.name,
        fake=chosen.fake,
        precision=precision,
        engine_digest=file_digest(target),
        engine_bytes=target.stat().st_size,
        graph_digest=file_digest(graph),
        built_for=bound_environment(chosen),
        built_with=settings if isinstance(settings, dict) else {},
        input=INPUT,
        output=OUTPUT,
        model=about,
        gflop_per_image=gflop_per_image(graph),
    )


def _layers(effective: Effective) -> str:
    import json

    rows = [layer.model_dump(mode="json", exclude={"share"}, exclude_defaults=True) for layer in effective.layers]
    return json.dumps(rows, indent=1) + "\n"


def _facts(
    chosen: Backend, precision: Precision, support: Support, effective: Effective, built: dict[str, JsonValue]
) -> dict[str, JsonValue]:
    sentences = [disagreement(precision, effective), support.reason, str(built.pop("note", ""))]
    return {
        **built,
        "effective": dict(effective.shares),
        "effective_precision": effective.label,
        "weighted_by": effective.weighted_by,
        **({"layers": dict(effective.counts)} if effective.counts else {}),
        **({"weights": dict(effective.weights)} if effective.weights else {}),
        "support": support.level,
        "device": chosen.device(),
        "note": "; ".join(sentence for sentence in sentences if sentence),
        "fake": chosen.fake,
    }
