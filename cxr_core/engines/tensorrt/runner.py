"""A TensorRT plan opened on a GPU: not opened by this version."""

from pathlib import Path
from types import TracebackType
from typing import Self

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Images, Logits
from cxr_core.engines.tensorrt import missing
from cxr_core.errors import MachineError
from cxr_core.refs import Precision


class TensorRTRunner:
    """See ``Runner``."""

    input_shape: tuple[int, ...] = (-1, 1, 0, 0)
    bound_images = 0

    def __init__(self, engine: Path, *, precision: Precision, config: EngineConfig, profiling: bool = False) -> None:
        """Never opens.

        Raises:
            MachineError: always, with what is missing here.
        """
        raise MachineError(f"{precision} plan {engine.name} cannot be opened: {missing()}")

    def __call__(self, images: Images) -> Logits:
        raise MachineError(missing())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
