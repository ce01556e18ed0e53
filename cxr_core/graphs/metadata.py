"""What an ONNX file says about itself: with it the file alone suffices to predict.

Each property's value is JSON, under a key that begins with ``cxr.``.
"""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import from_json

from cxr_core.config import TensorsConfig
from cxr_core.errors import ModelError
from cxr_core.refs import Frozen

if TYPE_CHECKING:
    import onnx

_PREFIX = "cxr."
_EXAMPLE = (
    "onnx.helper.set_model_props(model, {'cxr.labels': '[\"NORMAL\", \"PNEUMONIA\"]', 'cxr.size': '96', "
    "'cxr.filter': '\"bilinear\"', 'cxr.temperature': '1.0', 'cxr.threshold': '0.5'})"
)


class GraphMetadata(Frozen):
    """Everything besides the graph that an answer depends on.

    ``size`` and ``filter`` say how an image is resized; ``threshold`` is on the calibrated
    probability softmax(output / temperature)[PNEUMONIA]. ``model`` and ``weights_digest`` say where
    the weights come from and are empty for a graph of unknown origin. ``version`` is that of these
    properties.
    """

    labels: tuple[Literal["NORMAL"], Literal["PNEUMONIA"]]
    size: Annotated[int, Field(ge=1, strict=True)]
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    model: str = ""
    weights_digest: str = ""
    version: Literal[1] = 1


def write_metadata(model: "onnx.ModelProto", metadata: GraphMetadata) -> None:
    """Put ``metadata`` into ``model``, in place of all properties that it had."""
    del model.metadata_props[:]
    for name, value in sorted(metadata.model_dump(mode="json").items()):
        model.metadata_props.add(key=_PREFIX + name, value=json.dumps(value))


def read_metadata(model: "onnx.ModelProto") -> GraphMetadata:
    """What ``model`` says about itself. Raises as :func:`metadata_from_properties`."""
    return metadata_from_properties({p.key: p.value for p in model.metadata_props})


def metadata_from_properties(properties: Mapping[str, str]) -> GraphMetadata:
    """The same from an ONNX file's properties, whoever has read them.

    Raises:
        ModelError: a property is missing, no JSON, unknown here or out of range; every one is named.
    """
    found = {key.removeprefix(_PREFIX): value for key, value in properties.items() if key.startswith(_PREFIX)}
    values, problems = {}, []
    for name, text in found.items():
        try:
            values[name] = from_json(text)
        except ValueError:
            problems.append(f"{_PREFIX}{name}: expected JSON, found {text!r}")
    try:
        if not problems:
            return GraphMetadata.model_validate(values)
    except ValidationError as error:
        problems = [_explained(p["loc"], p["msg"], p.get("input")) for p in error.errors()]
    raise ModelError(
        "the graph's metadata do not say how to use it:\n"
        + "\n".join(f"  {p}" for p in problems)
        + f"\nwrite them into the file before it is brought, for example\n  {_EXAMPLE}"
    )


def agree(metadata: GraphMetadata, tensors: TensorsConfig) -> None:
    """Refuse a graph that wants images other than those the profile makes.

    Raises:
        ModelError: another size or filter.
    """
    for name, expected in (("size", tensors.size), ("filter", tensors.filter)):
        found = getattr(metadata, name)
        if found != expected:
            raise ModelError(
                f"the graph's metadata say {_PREFIX}{name} {found!r}, the profile's tensors have {expected!r}; "
                f"run with tensors.{name}={found}, or export the graph again"
            )


def _explained(location: Iterable[int | str], message: str, value: Any) -> str:
    place = _PREFIX + ".".join(str(part) for part in location)
    return f"{place}: missing" if message == "Field required" else f"{place}: {message}, found {value!r}"
