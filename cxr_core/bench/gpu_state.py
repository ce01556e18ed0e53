"""What a GPU did while it was measured: clocks, temperature, power, why it slowed down, and who else computed on it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from statistics import median
from typing import Any, Literal, NamedTuple

from pydantic import JsonValue

_EVERY = 0.2  # seconds; a sample takes well under a millisecond


class Sample(NamedTuple):
    """One reading; what a card does not tell is None."""

    clock_mhz: float | None
    temperature_c: float | None
    power_w: float | None
    reasons: int
    processes: int


class GpuWatch:
    """Samples so far. Without NVML there are none."""

    kind: Literal["gpu"] = "gpu"

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.slowed: dict[str, int] = {}
        self.missing = ""

    def told(self) -> dict[str, JsonValue]:
        """Smallest, median and largest of each reading; empty where nothing was sampled."""
        if not self.samples:
            return {}
        names = ("clock_mhz", "temperature_c", "power_w")
        columns = {
            name: [one for sample in self.samples if (one := getattr(sample, name)) is not None] for name in names
        }
        return {
            "samples": len(self.samples),
            **{name: [min(values), median(values), max(values)] for name, values in columns.items() if values},
            "slowed_by": list(self._reasons()),
            "processes": max(sample.processes for sample in self.samples),
        }

    def complaint(self) -> str:
        """A sentence for what makes the figures doubtful; empty where nothing does."""
        found = [f"the GPU was slowed down: {', '.join(reasons)}"] if (reasons := self._reasons()) else []
        shared = max((sample.processes for sample in self.samples), default=0)
        if shared > 1:  # this one is among them
            found.append(f"{shared} processes computed on this GPU at once: end the others and measure again")
        return "; ".join([*found, *([self.missing] if self.missing else [])])

    def _reasons(self) -> Sequence[str]:
        return [name for name, bit in self.slowed.items() if any(sample.reasons & bit for sample in self.samples)]


@contextmanager
def watching_gpu(device: str) -> Iterator[GpuWatch]:
    """Sample that GPU or slice (its UUID) in a thread for as long as the block runs."""
    watch = GpuWatch()
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
    except Exception as error:  # noqa: BLE001 - NVMLError cannot be named before its module is there
        watch.missing = f"clocks and other processes were not watched ({error}): install nvidia-ml-py"
        yield watch
        return
    watch.slowed = _slowing(nvml)
    over = threading.Event()
    thread = threading.Thread(target=_sampling, args=(nvml, device, watch, over), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
        nvml.nvmlShutdown()


def _slowing(nvml: Any) -> dict[str, int]:
    """Reasons, by their bit, that make a figure one of cooling or power supply; capped power is how these cards run."""
    return {
        "hardware slowdown": int(nvml.nvmlClocksEventReasonHwSlowdown),
        "thermal slowdown by hardware": int(nvml.nvmlClocksEventReasonHwThermalSlowdown),
        "thermal slowdown by software": int(nvml.nvmlClocksEventReasonSwThermalSlowdown),
        "power brake": int(nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown),
    }


def _sampling(nvml: Any, device: str, watch: GpuWatch, over: threading.Event) -> None:
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(device)
    except nvml.NVMLError as error:
        watch.missing = f"clocks and other processes were not watched: NVML does not know {device} ({error})"
        return
    while True:
        watch.samples.append(_sample(nvml, handle))
        if over.wait(_EVERY):
            return


def _sample(nvml: Any, handle: Any) -> Sample:
    def asked(call: Any, *arguments: Any) -> Any:
        try:
            return call(handle, *arguments)
        except nvml.NVMLError:  # some cards and containers do not tell everything
            return None

    power = asked(nvml.nvmlDeviceGetPowerUsage)
    return Sample(
        clock_mhz=asked(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
        temperature_c=asked(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
        power_w=None if power is None else power / 1000,
        reasons=asked(nvml.nvmlDeviceGetCurrentClocksEventReasons) or 0,
        processes=len(asked(nvml.nvmlDeviceGetComputeRunningProcesses) or ()),
    )
