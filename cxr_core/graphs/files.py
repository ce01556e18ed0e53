"""Opening and writing ONNX files: every graph that enters or leaves this room passes here.

The contract of a graph: input ``input`` float32 0..255 ``[batch, 1, H, W]`` with H = W, output
``output`` float32 ``[batch, 2]``, any batch, standard operators only, weights inside the file.
"""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from cxr_core.errors import ModelError
from cxr_core.graphs.metadata import GraphMetadata, read_metadata

INPUT, OUTPUT = "input", "output"
NEWEST_IR = 10  # newer files are refused by runtimes that are otherwise recent enough
OPSETS = range(13, 24)  # per-channel quantisation needs 13
_EXPORT_AGAIN = (
    "export it again: torch.onnx.export(..., dynamo=True, input_names=['input'], output_names=['output'], "
    "dynamic_shapes=({0: 'batch'},), external_data=False)"
)


def open_graph(path: Path) -> tuple[onnx.ModelProto, GraphMetadata]:
    """A graph that keeps the contract, and what it says about itself.

    Raises:
        ModelError: not ONNX, or a graph that breaks the contract or contradicts its own metadata.
    """
    model = _loaded(path)
    _check_file(model, path)
    _check_ports(model, path)
    metadata = read_metadata(model)
    size = image_size(model)
    if size != metadata.size:
        raise ModelError(
            f"{path.name}: cxr.size is {metadata.size}, but the graph's input is {size} pixels wide; "
            "correct whichever is wrong"
        )
    return model, metadata


def save_graph(model: onnx.ModelProto, path: Path) -> None:
    """Check ``model`` in full and write it; the same model always gives the same bytes.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: the model is not valid ONNX.
    """
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operator set."""
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


def image_size(model: onnx.ModelProto) -> int:
    """Height and width of the input in pixels."""
    return int(model.graph.input[0].type.tensor_type.shape.dim[2].dim_value)


def _loaded(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise ModelError(f"no ONNX file at {path}")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ModelError(f"{path.name} is not an ONNX file ({error}); expected a protobuf ModelProto") from error
    outside = [t.name for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    if outside:
        raise ModelError(
            f"{path.name} keeps {len(outside)} weights in another file (first: {outside[0]}); expected all "
            "inside: onnx.save_model(onnx.load(FILE), NEW, save_as_external_data=False)"
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{path.name} is not valid ONNX: {error}; {_EXPORT_AGAIN}") from error
    return model


def _check_file(model: onnx.ModelProto, path: Path) -> None:
    foreign = sorted({node.domain for node in model.graph.node if node.domain not in ("", "ai.onnx")})
    lowered = sorted(
        {
            TensorProto.DataType.Name(t.data_type)
            for t in model.graph.initializer
            if t.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16)
        }
        | {n.op_type for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")}
    )
    if foreign:
        raise ModelError(
            f"{path.name} uses operators of {', '.join(foreign)}; expected standard ONNX operators alone, "
            "as the exporter wrote them and before any optimiser"
        )
    if opset_of(model) not in OPSETS:
        raise ModelError(
            f"{path.name} has opset {opset_of(model)}; expected {OPSETS[0]} to {OPSETS[-1]}: "
            "onnx.version_converter.convert_version(model, 18)"
        )
    if model.ir_version > NEWEST_IR:
        raise ModelError(
            f"{path.name} has IR version {model.ir_version}; expected at most {NEWEST_IR}: "
            f"set model.ir_version = {NEWEST_IR} and save it again"
        )
    if lowered:
        raise ModelError(
            f"{path.name} is already lowered ({', '.join(lowered)} found); expected the float32 graph, "
            "of which every precision is made here"
        )


def _check_ports(model: onnx.ModelProto, path: Path) -> None:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [port for port in model.graph.input if port.name not in weights]
    found = f"{_listed(inputs)} -> {_listed(model.graph.output)}"
    try:
        (given,), (answered,) = inputs, model.graph.output
        shapes = _shape(given), _shape(answered)
        batch, channels, height, width = shapes[0]
        fits = (
            given.name == INPUT
            and answered.name == OUTPUT
            and isinstance(batch, str)
            and channels == 1
            and height == width
            and isinstance(height, int)
            and len(shapes[1]) == 2
            and isinstance(shapes[1][0], str)
            and shapes[1][1] == 2
            and all(port.type.tensor_type.elem_type == TensorProto.FLOAT for port in (given, answered))
        )
    except ValueError:
        fits = False
    if not fits:
        raise ModelError(
            f"{path.name}: expected {INPUT} FLOAT[batch, 1, H, H] -> {OUTPUT} FLOAT[batch, 2] with grey levels "
            f"0..255 and a batch of any size, found {found}; {_EXPORT_AGAIN}"
        )


def _shape(port: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in port.type.tensor_type.shape.dim]


def _listed(ports: list[onnx.ValueInfoProto]) -> str:
    return ", ".join(
        f"{p.name} {TensorProto.DataType.Name(p.type.tensor_type.elem_type)}[{', '.join(map(str, _shape(p)))}]"
        for p in ports
    )
