"""A double of what PyTorch for ROCm says of a card, in place of torch's own answers. It computes nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch

GPU = torch.device("cuda")
GIB = 1 << 30


class Card:
    """Memory that steps take, and what the process may take of it."""

    def __init__(self, target: str, memory: int) -> None:
        self.memory, self.limit, self.peak = memory, memory, 0
        self.properties = SimpleNamespace(
            name="FAKE Radeon", gcnArchName=target, total_memory=memory, major=10, minor=3, uuid="0"
        )

    def take(self, amount: int) -> None:
        """As a step does that holds that many bytes at its peak."""
        if amount > self.limit:
            raise torch.OutOfMemoryError("HIP out of memory")
        self.peak = amount

    def restrict(self, fraction: float, device: object) -> None:
        self.limit = int(fraction * self.memory)

    def reset(self, device: object) -> None:
        self.peak = 0


@contextmanager
def card(target: str = "gfx1030", memory: int = 16 * GIB, **environment: str) -> Iterator[Card]:
    """This PyTorch is one for ROCm that sees that card; the environment is put back afterwards."""
    made = Card(target, memory)
    with (
        mock.patch.multiple(torch.version, hip="10.1.0", cuda=None),
        mock.patch.multiple(
            torch.cuda,
            is_available=lambda: True,
            get_device_properties=lambda device: made.properties,
            set_per_process_memory_fraction=made.restrict,
            reset_peak_memory_stats=made.reset,
            max_memory_allocated=lambda device: made.peak,
            empty_cache=lambda: None,
        ),
        mock.patch.dict(os.environ, environment),
    ):
        yield made


def topology(folder: Path, *targets: int, memory: int = 16 * GIB) -> None:
    """A folder as the kernel's driver shows its nodes: ``gfx_target_version`` of each, 0 for a CPU."""
    for number, target in enumerate(targets):
        node = folder / str(number)
        for bank, (heap, size) in enumerate(((1 if target else 0, memory), (4, 65536))):  # 4 is no memory of the card's
            (node / "mem_banks" / str(bank)).mkdir(parents=True)
            (node / "mem_banks" / str(bank) / "properties").write_text(f"heap_type {heap}\nsize_in_bytes {size}\n")
        (node / "properties").write_text(f"cpu_cores_count 8\ngfx_target_version {target}\n")
