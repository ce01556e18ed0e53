"""export: the checkpoint as one ONNX file that alone suffices to predict, or such a file that the user brings."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue, ValidationError

from cxr_core.config import ExportConfig, TensorsConfig
from cxr_core.errors import ModelError
from cxr_core.graphs.files import INPUT, OUTPUT, image_size, open_graph, opset_of, save_graph
from cxr_core.graphs.metadata import GraphMetadata, agree, write_metadata
from cxr_core.progress import Progress, silent

if TYPE_CHECKING:
    import onnx

    from cxr_core.training.checkpoint import Checkpoint

_TRACED_BATCH = 2  # tracing with 1 would bake the batch in


def export(*, checkpoint: Path, out: Path, config: ExportConfig, progress: Progress = silent) -> dict[str, JsonValue]:
    """Write ``out/model.onnx``: constants folded, dynamic batch, standardisation and metadata inside.

    Raises:
        ModelError: weights that do not fit their model, or metadata out of range.
    """
    from cxr_core.training.checkpoint import load_checkpoint

    network, about = load_checkpoint(checkpoint)
    metadata = _metadata(about)
    progress(1, 3, "tracing the network")
    model = onnx_from_network(network, about.size, config.opset)
    progress(2, 3, "checking the graph")
    write_metadata(model, metadata)
    save_graph(model, out / "model.onnx")
    return _facts(out / "model.onnx")


def adopt(*, graph: Path, out: Path, tensors: TensorsConfig, progress: Progress = silent) -> dict[str, JsonValue]:
    """Take a graph that the user brings as it is: ``out/model.onnx`` has the same bytes.

    Raises:
        ModelError: not ONNX, other names or shapes, metadata missing, or made for images of another size or filter.
    """
    _, metadata = open_graph(graph)
    agree(metadata, tensors)
    shutil.copyfile(graph, out / "model.onnx")
    return _facts(out / "model.onnx")


def onnx_from_network(network: Any, size: int, opset: int) -> "onnx.ModelProto":
    """Trace a module from float32 ``[batch, 1, size, size]`` to ``[batch, 2]``.

    The exporter notes in every node where in which source file it came from; all of that is
    dropped, so that the same weights give the same bytes wherever the program lies.
    """
    import torch

    example = torch.zeros(_TRACED_BATCH, 1, size, size)
    with torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=opset,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    return _bare(program.model_proto)


def _bare(model: "onnx.ModelProto") -> "onnx.ModelProto":
    graph = model.graph
    del graph.value_info[:]  # inferred again by whoever needs it
    for noted in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del noted.metadata_props[:]
        noted.doc_string = ""
    model.producer_name, model.producer_version = "cxr", ""
    return model


def _metadata(about: "Checkpoint") -> GraphMetadata:
    shared = set(GraphMetadata.model_fields) - {"version"}
    try:
        return GraphMetadata.model_validate(about.model_dump(include=shared))
    except ValidationError as error:
        raise ModelError(
            f"the checkpoint's description cannot go into a graph: {error}; train or adopt it again"
        ) from error


def _facts(path: Path) -> dict[str, JsonValue]:
    import numpy as np

    model, metadata = open_graph(path)
    return {
        **metadata.model_dump(mode="json"),
        "opset": opset_of(model),
        "ir_version": model.ir_version,
        "nodes": len(model.graph.node),
        "parameters": sum(int(np.prod(t.dims)) for t in model.graph.initializer if t.data_type == t.FLOAT),
        "input": f"float32 0..255 [batch, 1, {image_size(model)}, {image_size(model)}]",
        "bytes": path.stat().st_size,
    }
