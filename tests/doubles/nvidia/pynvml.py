"""A double of the part of ``pynvml`` that is used."""

from cuda.bindings.runtime import told


class NVMLError(Exception):
    """As the real one: raised, not returned."""


def nvmlInit() -> None:  # noqa: N802
    if told("no_gpu"):
        raise NVMLError("NVML Shared Library Not Found")


def nvmlShutdown() -> None:  # noqa: N802
    return None


def nvmlSystemGetDriverVersion() -> str:  # noqa: N802
    return told("driver", "580.95.05")
