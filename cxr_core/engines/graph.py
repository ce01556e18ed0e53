"""What the engine stage must know of a variant: that its ports are the contract's, and what it says of itself."""

from pathlib import Path
from typing import Any

from cxr_core.errors import ModelError
from cxr_core.graphs.metadata import GraphMetadata, read_metadata

INPUT, OUTPUT = "input", "output"
_FLOAT32 = 1


def variant_metadata(graph: Path) -> GraphMetadata:
    """The metadata of an ONNX file in any precision. Whether its nodes compile is the backend's to say.

    Raises:
        ModelError: not an ONNX file, ports other than float32 ``input`` [batch, 1, S, S] and ``output``
            [batch, 2], metadata missing, or a size S that contradicts them.
    """
    import onnx

    try:
        model = onnx.load(graph, load_external_data=False)
    except Exception as error:
        raise ModelError(f"{graph.name} is not a readable ONNX file: {error}; make the variant again") from error
    about = read_metadata(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    ports = [value for value in model.graph.input if value.name not in constants] + list(model.graph.output)
    found = [(value.name, value.type.tensor_type.elem_type, _shape(value)) for value in ports]
    expected = [(INPUT, _FLOAT32, [-1, 1, about.size, about.size]), (OUTPUT, _FLOAT32, [-1, 2])]
    if found != expected:
        raise ModelError(
            f"{graph.name}: expected {_told(expected)}, found {_told(found)} (-1 is any batch); export the graph again"
        )
    return about


def _shape(value: Any) -> list[int]:
    return [d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim]


def _told(ports: list[tuple[str, int, list[int]]]) -> str:
    return ", ".join(
        f"{name} {'float32' if kind == _FLOAT32 else f'type {kind}'} {shape}" for name, kind, shape in ports
    )
