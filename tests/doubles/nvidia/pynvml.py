"""A double of the part of ``pynvml`` that is used."""

from cuda.bindings.runtime import name_of, pieces, told, uuid_of


class NVMLError(Exception):
    """As the real one: raised, not returned."""


def nvmlInit() -> None:  # noqa: N802
    if told("no_gpu"):
        raise NVMLError("NVML Shared Library Not Found")


def nvmlShutdown() -> None:  # noqa: N802
    return None


NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0
nvmlClocksEventReasonHwSlowdown, nvmlClocksEventReasonSwThermalSlowdown = 8, 32  # noqa: N816
nvmlClocksEventReasonHwThermalSlowdown, nvmlClocksEventReasonHwPowerBrakeSlowdown = 64, 128  # noqa: N816


def nvmlDeviceGetCount() -> int:  # noqa: N802
    """All, whatever ``CUDA_VISIBLE_DEVICES`` says (F21)."""
    return int(told("devices", "1"))


def nvmlDeviceGetHandleByIndex(index: int) -> str:  # noqa: N802
    return uuid_of(index)


def nvmlDeviceGetMaxMigDeviceCount(device: str) -> int:  # noqa: N802
    return 7 if pieces() else 0


def nvmlDeviceGetMigDeviceHandleByIndex(device: str, index: int) -> str:  # noqa: N802
    if index + 1 not in pieces():
        raise NVMLError("Not Found")
    return next(uuid_of(one, index + 1) for one in range(nvmlDeviceGetCount()) if uuid_of(one) == device)


def nvmlDeviceGetUUID(handle: str) -> str:  # noqa: N802
    return handle


def nvmlDeviceGetName(handle: str) -> str:  # noqa: N802
    return name_of(0).removeprefix("FAKE H100 ")  # of slices NVML may leave out the card (F21)


def nvmlDeviceGetHandleByUUID(uuid: str) -> str:  # noqa: N802
    return uuid


def nvmlDeviceGetClockInfo(handle: str, type: int) -> int:  # noqa: N802
    return 1980


def nvmlDeviceGetTemperature(handle: str, sensor: int) -> int:  # noqa: N802
    return 61


def nvmlDeviceGetPowerUsage(handle: str) -> int:  # noqa: N802
    raise NVMLError("Not Supported")


def nvmlDeviceGetCurrentClocksEventReasons(handle: str) -> int:  # noqa: N802
    return int(told("reasons", "4"))


def nvmlDeviceGetComputeRunningProcesses(handle: str) -> list[object]:  # noqa: N802
    return [object()] * int(told("processes", "1"))


def nvmlSystemGetDriverVersion() -> str:  # noqa: N802
    return told("driver", "580.95.05")
