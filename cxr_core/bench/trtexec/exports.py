"""The JSON files of ``trtexec --exportTimes``, ``--exportProfile`` and ``--exportLayerInfo``, read and written.

What is read is kept whole, fields of other versions among them: dumped it gives the same JSON values again.
Fields by version: NVIDIA/TensorRT, samples/common/sampleReporting.cpp at 8.2.1, v8.6.1, v10.0, v11.1.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from cxr_core.bench.trtexec.files import read_file
from cxr_core.errors import UsageError

Milliseconds = Annotated[float, Field(allow_inf_nan=False)]
Duration = Annotated[float, Field(ge=0, le=1e12)]  # ms
_STRICT = ConfigDict(frozen=True, extra="allow")


class Query(BaseModel):
    """One query of ``--exportTimes``, in milliseconds. 8.2 has ``endToEndMs`` besides, and lists its warm-up too."""

    model_config = _STRICT
    startComputeMs: Milliseconds  # noqa: N815 - the file's own names
    endComputeMs: Milliseconds  # noqa: N815
    computeMs: Duration  # noqa: N815
    latencyMs: Duration  # noqa: N815


class ProfiledLayer(BaseModel):
    """A layer of ``--exportProfile``: time over all iterations, and its share in percent."""

    model_config = _STRICT
    name: str
    timeMs: Duration  # noqa: N815
    averageMs: Duration  # noqa: N815
    percentage: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Profile(BaseModel):
    """``--exportProfile``: how many iterations were profiled, then every layer."""

    model_config = ConfigDict(frozen=True)
    count: int
    layers: tuple[ProfiledLayer, ...]


# The first wrong element is told: a complaint about each of a large file takes many times its size.
_QUERIES = TypeAdapter(Annotated[tuple[Query, ...], FailFast()])
_LAYERS = TypeAdapter(Annotated[tuple[ProfiledLayer, ...], FailFast()])


def read_times(path: Path) -> tuple[Query, ...]:
    """Every query in the file's order; at least one.

    Raises:
        UsageError: no such list.
    """
    rows = _list(path, "--exportTimes")
    try:
        return _QUERIES.validate_python(rows)
    except ValidationError as error:
        raise _unlike(path, "--exportTimes", _first(error)) from error


def latencies(queries: tuple[Query, ...]) -> NDArray[np.float64]:
    """``latencyMs`` of every query, shape [queries]."""
    return np.array([query.latencyMs for query in queries], dtype=np.float64)


def write_times(path: Path, queries: tuple[Query, ...]) -> None:
    """One line a query, as trtexec writes it."""
    _write_list(path, [query.model_dump() for query in queries])


def read_profile(path: Path) -> Profile:
    """The profile of every layer.

    Raises:
        UsageError: no such file.
    """
    rows = _list(path, "--exportProfile")
    head = rows[0]
    if not (isinstance(head, dict) and isinstance(head.get("count"), int) and set(head) == {"count"}):
        raise _unlike(path, "--exportProfile", "its first element is not a count")
    try:
        return Profile(count=head["count"], layers=_LAYERS.validate_python(rows[1:]))
    except ValidationError as error:
        raise _unlike(path, "--exportProfile", _first(error)) from error


def write_profile(path: Path, profile: Profile) -> None:
    """The count, then one line a layer, as trtexec writes it."""
    _write_list(path, [{"count": profile.count}, *(layer.model_dump() for layer in profile.layers)])


def read_layers(path: Path) -> dict[str, Any]:
    """The engine inspector's JSON as it is: ``Layers`` (names, or mappings where the engine was built detailed).

    Raises:
        UsageError: no such file.
    """
    found = _json(path, "--exportLayerInfo")
    if not (isinstance(found, dict) and isinstance(found.get("Layers"), list)):
        raise _unlike(path, "--exportLayerInfo", "it has no list of Layers")
    return found


def write_layers(path: Path, layers: dict[str, Any]) -> None:
    """The engine inspector's JSON, as trtexec writes it."""
    path.write_text(json.dumps(layers, indent=1) + "\n", encoding="utf-8")


def _write_list(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")


def _list(path: Path, option: str) -> list[Any]:
    found = _json(path, option)
    if not (isinstance(found, list) and found):
        raise _unlike(path, option, "it is not a list of at least one element")
    return found


def _json(path: Path, option: str) -> Any:
    try:
        text = read_file(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); name the file that trtexec {option} wrote") from error
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise _unlike(path, option, str(error)) from error


def _refused(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is no measurement")


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"element {'.'.join(map(str, first['loc']))}: {first['msg']}"


def _unlike(path: Path, option: str, reason: str) -> UsageError:
    return UsageError(f"{path.name} is not a file as trtexec {option} writes it: {reason}; export it again")
