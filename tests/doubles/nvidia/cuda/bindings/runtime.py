"""A double of the part of ``cuda.bindings.runtime`` that is used, over host memory.

Put ``tests/doubles/nvidia`` on ``PYTHONPATH`` and it stands before the real package. What it imitates: every call
returns a tuple that begins with the error and never raises (docs/tensorrt.md, F15); work on a stream
waits until it is synchronised; freed memory is refused, and what reaches it on the GPU is error 700, which every
later call repeats. ``CXR_FAKE_NVIDIA`` holds what it is told, separated by commas, ``name`` or ``name:value``:

    version:10.16.1.11   capability:8.0   name:A100   driver:575.1   memory:MIB     what there is
    devices:2   second:L4 (another name)   slices:3 (of each device)
    no_gpu   null   no_graph   no_flags                                             what fails
    parser   build_none   no_room   refuse   context_none   or for one precision, parser:fp16
    warn   odd_keys   names_only                                                    what is said
"""

import ctypes
import os
import time
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

cudaStreamNonBlocking = 1  # noqa: N816
cudaEventDefault = 0  # noqa: N816
cudaDeviceScheduleSpin, cudaDeviceScheduleBlockingSync, cudaDeviceScheduleMask = 1, 4, 7  # noqa: N816
cudaError_t = IntEnum(  # noqa: N816
    "cudaError_t",
    {
        "cudaSuccess": 0, "cudaErrorInvalidValue": 1, "cudaErrorMemoryAllocation": 2, "cudaErrorNoDevice": 100,
        "cudaErrorIllegalAddress": 700, "cudaErrorSetOnActiveProcess": 708, "cudaErrorStreamCaptureInvalidated": 901,
    },
)  # fmt: skip
cudaMemcpyKind = IntEnum("cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2})  # noqa: N816
cudaStreamCaptureMode = IntEnum("cudaStreamCaptureMode", {"cudaStreamCaptureModeThreadLocal": 1})  # noqa: N816

OK, INVALID, NO_ROOM, NO_DEVICE, ILLEGAL, IN_USE, NOT_CAPTURED = cudaError_t
Work = Callable[[], cudaError_t]
# What was freed is kept and filled with NaN: who still reads it gets no number, and no crash hides who that was.
live: dict[int, Any] = {}
_freed: list[Any] = []
_pinned: set[int] = set()
_streams: dict[int, "Stream"] = {}
_sticky = [OK]
_flags = [0]
held: Any = WeakKeyDictionary()  # bytes that engines and contexts take until they are forgotten
CONTEXT_BYTES = 1 << 20  # what an execution context takes when it is made (F19)


def told(name: str, default: str = "") -> str:
    """The value of what ``CXR_FAKE_NVIDIA`` says of ``name``; ``yes`` where it has none."""
    said = (part.partition(":") for part in os.environ.get("CXR_FAKE_NVIDIA", "").split(","))
    return next((value or "yes" for key, _, value in said if key == name), default)


class Stream:
    """A queue. While it captures, work goes to ``captured`` instead and is not done."""

    def __init__(self) -> None:
        self.queue: list[Work] = []
        self.captured: list[Work] | None = None
        self.broken = False
        _streams[id(self)] = self

    def __int__(self) -> int:
        return id(self)

    def add(self, work: Work) -> None:
        (self.queue if self.captured is None else self.captured).append(work)

    def drain(self) -> cudaError_t:
        while self.queue:
            if (found := self.queue.pop(0)()) and not _sticky[0]:
                _sticky[0] = found
        return _sticky[0]


def stream_of(handle: int) -> Stream:
    return _streams[handle]


def reaches(address: int, count: int) -> bool:
    """Whether ``count`` bytes from ``address`` on lie in one allocation."""
    return any(start <= address and address + count <= start + len(block) for start, block in live.items())


def free_bytes() -> int:
    used = sum(len(block) for start, block in live.items() if start not in _pinned)
    return int(told("memory", "81920")) * (1 << 20) - used - sum(held.values())


def cudaGetDeviceCount() -> tuple[Any, ...]:  # noqa: N802
    count = 0 if told("no_gpu") else len(_visible())
    return (OK, count) if count else (NO_DEVICE, None)


def uuid_of(device: int, piece: int = 0) -> str:
    """A GPU's; with ``piece``, from 1 on, that of a slice of it."""
    text = (b"FAKE-GPU-UUID-16"[:-2] + b"%d%d" % (piece + 1, device + 6)).hex()
    kind = "MIG" if piece else "GPU"
    return f"{kind}-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def pieces() -> range:
    return range(1, int(told("slices", "0")) + 1)


def name_of(device: int) -> str:
    card = f"FAKE {told('second', told('name', 'H100')) if device == 1 else told('name', 'H100')}"
    return f"{card} MIG 1g.10gb" if told("slices") else card


def _visible() -> list[int]:
    """By number or UUID, in the order of the variable; of all slices the first alone (F21)."""
    count, chosen = int(told("devices", "1")), os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return list(range(1 if told("slices") else count))
    known = {str(one): one for one in range(count)}
    known |= {uuid_of(one, piece): one for one in range(count) for piece in (0, *pieces())}
    found = [one for part in chosen.split(",") for name, one in known.items() if part and name.startswith(part)]
    return found[:1] if told("slices") else found


def cudaSetDeviceFlags(flags: int) -> tuple[Any, ...]:  # noqa: N802
    """Refused once the device is in use (F20)."""
    if told("no_flags") or (live and flags != _flags[0]):
        return (IN_USE,)
    _flags[0] = flags
    return (OK,)


def cudaGetDeviceFlags() -> tuple[Any, ...]:  # noqa: N802
    return OK, _flags[0] | 8  # cudaDeviceMapHost, which it always has


def cudaSetDevice(device: int) -> tuple[Any, ...]:  # noqa: N802
    return (OK,) if device < len(_visible()) else (INVALID,)


def cudaGetDeviceProperties(device: int) -> tuple[Any, ...]:  # noqa: N802
    here, (major, minor) = _visible()[device], told("capability", "9.0").split(".")
    uuid = bytes.fromhex(uuid_of(here)[4:].replace("-", ""))
    about = SimpleNamespace(
        name=name_of(here).encode(), major=int(major), minor=int(minor), multiProcessorCount=132,
        totalGlobalMem=int(told("memory", "81920")) << 20, uuid=SimpleNamespace(bytes=uuid),
    )  # fmt: skip
    return OK, about


def cudaDriverGetVersion() -> tuple[Any, ...]:  # noqa: N802
    return OK, 13000


def cudaGetLastError() -> tuple[Any, ...]:  # noqa: N802
    return (_sticky[0],)


def cudaMemGetInfo() -> tuple[Any, ...]:  # noqa: N802
    return OK, free_bytes(), int(told("memory", "81920")) << 20


def _taken(size: int, pinned: bool) -> tuple[Any, ...]:
    if size <= 0 or (not pinned and size > free_bytes()):
        return (INVALID if size <= 0 else NO_ROOM), None
    block = (ctypes.c_ubyte * size)()
    live[ctypes.addressof(block)] = block
    if pinned:
        _pinned.add(ctypes.addressof(block))
    return _sticky[0], ctypes.addressof(block)


def _given_back(address: int, pinned: bool) -> tuple[Any, ...]:
    if address not in live or (address in _pinned) != pinned:
        return (INVALID,)
    block = live.pop(address)
    ctypes.memset(address, 0xFF, len(block))
    _freed.append(block)
    _pinned.discard(address)
    return (_sticky[0],)


def cudaMalloc(size: int) -> tuple[Any, ...]:  # noqa: N802
    return _taken(size, False)


def cudaFree(devPtr: int) -> tuple[Any, ...]:  # noqa: N802, N803
    return _given_back(devPtr, False)


def cudaMallocHost(size: int) -> tuple[Any, ...]:  # noqa: N802
    return _taken(size, True)


def cudaFreeHost(ptr: int) -> tuple[Any, ...]:  # noqa: N802
    return _given_back(ptr, True)


def cudaStreamCreateWithFlags(flags: int) -> tuple[Any, ...]:  # noqa: N802
    return _sticky[0], Stream()


def cudaStreamDestroy(stream: Stream) -> tuple[Any, ...]:  # noqa: N802
    return (OK,) if _streams.pop(int(stream), None) else (INVALID,)


def cudaStreamSynchronize(stream: Stream) -> tuple[Any, ...]:  # noqa: N802
    return (NOT_CAPTURED,) if stream.captured is not None else (stream.drain(),)


def cudaMemcpyAsync(dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: Stream) -> tuple[Any, ...]:  # noqa: N802
    def copy() -> cudaError_t:
        if not (reaches(dst, count) and reaches(src, count)):
            return ILLEGAL
        ctypes.memmove(dst, src, count)
        return OK

    if not (reaches(dst, count) and reaches(src, count)):
        return (INVALID,)
    stream.add(copy)
    return (_sticky[0],)


def cudaMemsetAsync(devPtr: int, value: int, count: int, stream: Stream) -> tuple[Any, ...]:  # noqa: N802, N803
    def fill() -> cudaError_t:
        if not reaches(devPtr, count):
            return ILLEGAL
        ctypes.memset(devPtr, value, count)
        return OK

    stream.add(fill)
    return (_sticky[0],)


def cudaEventCreateWithFlags(flags: int) -> tuple[Any, ...]:  # noqa: N802
    return OK, SimpleNamespace(at=None)


def cudaEventDestroy(event: Any) -> tuple[Any, ...]:  # noqa: N802
    return (OK,)


def cudaEventRecord(event: Any, stream: Stream) -> tuple[Any, ...]:  # noqa: N802
    def stamp() -> cudaError_t:
        event.at = time.perf_counter()
        return OK

    stream.add(stamp)
    return (_sticky[0],)


def cudaEventElapsedTime(start: Any, end: Any) -> tuple[Any, ...]:  # noqa: N802
    return (INVALID, None) if None in (start.at, end.at) else (OK, (end.at - start.at) * 1000)


def cudaStreamBeginCapture(stream: Stream, mode: cudaStreamCaptureMode) -> tuple[Any, ...]:  # noqa: N802
    stream.captured, stream.broken = [], False
    return (OK,)


def cudaStreamEndCapture(stream: Stream) -> tuple[Any, ...]:  # noqa: N802
    captured, stream.captured = stream.captured, None
    return (NOT_CAPTURED, None) if stream.broken else (OK, captured)


def cudaGraphInstantiate(graph: list[Work], flags: int) -> tuple[Any, ...]:  # noqa: N802
    return OK, list(graph)


def cudaGraphLaunch(graphExec: list[Work], stream: Stream) -> tuple[Any, ...]:  # noqa: N802, N803
    for work in graphExec:
        stream.add(work)
    return (_sticky[0],)


def cudaGraphDestroy(graph: Any) -> tuple[Any, ...]:  # noqa: N802
    return (OK,)


def cudaGraphExecDestroy(graphExec: Any) -> tuple[Any, ...]:  # noqa: N802, N803
    return (OK,)
