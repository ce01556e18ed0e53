"""A GPU that was slowed down or shared while it was measured is told; what is not watched is said."""

import threading
import time

import pytest

from cxr_core.bench.watching import watching
from tests.nvidia import doubled

GPU = "GPU-46414b45-2d47-5055-2d55-5549442d3136"


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ((), ""),
        (("reasons:5",), ""),  # idle, and a software power cap
        (("reasons:40",), "the GPU was slowed down: hardware slowdown, thermal slowdown by software"),
        (("processes:3",), "3 processes computed on this GPU at once: end the others and measure again"),
        (("no_gpu",), "were not watched (NVML Shared Library Not Found): install nvidia-ml-py"),
    ],
)
def test_what_makes_figures_doubtful(told: tuple[str, ...], says: str) -> None:
    with doubled(*told):
        with watching(GPU) as watch:
            time.sleep(0.05)
        assert says in watch.complaint() and bool(says) == bool(watch.complaint())
        assert bool(watch.told()) == (told != ("no_gpu",))
    assert not any("_sampling" in thread.name for thread in threading.enumerate())


def test_readings_are_taken_again_and_again() -> None:
    with doubled():
        with watching(GPU) as watch:
            time.sleep(0.5)
        found = watch.told()
    assert found["samples"] >= 2 and found["temperature_c"] == [61, 61, 61] and found["processes"] == 1
