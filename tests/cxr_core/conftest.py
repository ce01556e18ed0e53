"""Small graphs of every precision, made once, and engines of every backend that works here."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_core.config import EngineConfig
from cxr_core.engines.engine import engine
from cxr_core.refs import Precision

CONFIG = EngineConfig(threads=1)


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``graphs("int8")``: the small network lowered to that precision."""
    from cxr_doubles.graphs import write_small

    folder, made = tmp_path_factory.mktemp("graphs"), {}

    def graph(precision: str) -> Path:
        if precision not in made:
            made[precision] = write_small(folder / f"{precision}.onnx", precision)
        return made[precision]

    return graph


@pytest.fixture(scope="session")
def built(graphs: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``built("openvino", "int8")``: the folder that the engine stage left; ``graph`` may be of another precision."""
    made: dict[tuple[str, str, str], Path] = {}

    def folder(backend: str, precision: str = "fp32", graph: str | None = None) -> Path:
        key = (backend, precision, graph or precision)
        if key not in made:
            out = tmp_path_factory.mktemp("engine")
            engine(graph=graphs(key[2]), out=out, precision=Precision(precision), backend=backend, config=CONFIG)
            made[key] = out
        return made[key]

    return folder
