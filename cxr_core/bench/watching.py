"""A device watched while it is measured."""

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from pydantic import JsonValue

from cxr_core.bench.cpu_state import watching_cpu
from cxr_core.bench.gpu_state import watching_gpu
from cxr_core.device import GPUS


class Watch(Protocol):
    """What was seen; whole once the block is left."""

    @property
    def kind(self) -> Literal["cpu", "gpu"]:
        """The name under which what was told stands among the facts."""
        ...

    def told(self) -> dict[str, JsonValue]:
        """Each reading; empty where nothing was seen."""
        ...

    def complaint(self) -> str:
        """A sentence for what makes the figures doubtful; empty where nothing does."""
        ...


def watching(device: str) -> AbstractContextManager[Watch]:
    """For as long as the block runs: a GPU or a slice by its UUID, else the processors that this process may use.

    Raises, when the block is left:
        BranchError: the device stood still for most of the time.
    """
    return watching_gpu(device) if device.startswith(GPUS) else watching_cpu()
