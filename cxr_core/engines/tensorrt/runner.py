"""A plan opened on the GPU: pinned host buffers, one stream, nothing allocated after the opening."""

import ctypes
import logging
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Images, Logits, Spans
from cxr_core.engines.graph import INPUT, OUTPUT
from cxr_core.engines.tensorrt.library import checked, cudart, tensorrt
from cxr_core.engines.tensorrt.log import log_sink, why
from cxr_core.errors import MachineError, ModelError
from cxr_core.refs import Precision

_LOGGER = logging.getLogger("cxr.tensorrt")
_FLOAT = 4  # bytes
_MEBIBYTE = 1 << 20
_EDGES = 4  # before the copy to the GPU, before and after the execution, after the copy back


class TensorRTRunner:
    """See ``Runner``. Input and output are float32 in every precision; the graph casts inside."""

    def __init__(self, engine: Path, *, precision: Precision, config: EngineConfig, profiling: bool = False) -> None:
        """Deserialises the plan and takes all memory that it will ever need.

        A CUDA graph is captured where ``config.cuda_graph`` asks for it and nothing is profiled.

        Raises:
            MachineError: TensorRT refuses the plan, a CUDA call fails, or the memory is more than
                ``config.memory_mebibytes`` or than the GPU has free.
        """
        self._name = f"{precision} plan {engine.name}"
        self._trt, self._cudart = tensorrt(), cudart()
        self._sink = log_sink(self._trt)
        self._owned = ExitStack()
        self._bound = 0
        self._enqueue = 0.0
        self._shaped = 0
        self._graph: Any = None
        self._graph_wanted = config.cuda_graph and not profiling
        self.times: dict[str, float] = {}
        with self._owned:  # whatever was taken is given back where the opening fails half-way
            self._open(engine.read_bytes(), config, profiling)
            self._owned = self._owned.pop_all()

    def _open(self, content: bytes, config: EngineConfig, profiling: bool) -> None:
        runtime = self._cudart
        checked(runtime.cudaSetDevice, 0)
        # Plans with host code in them stay refused: engine_host_code_allowed is left at its default.
        self._opener = self._started()
        self._owned.callback(self._forget)
        self._engine: Any = self._opener.deserialize_cuda_engine(content)
        if self._engine is None:
            raise MachineError(
                f"TensorRT {self._trt.__version__} refuses {self._name}: {why(self._sink)}; build it here"
            )
        self._smallest, self._tuned, self._largest = (
            tuple(int(side) for side in shape) for shape in self._engine.get_tensor_profile_shape(INPUT, 0)
        )
        self._classes = int(tuple(self._engine.get_tensor_shape(OUTPUT))[-1])
        self._image = int(np.prod(self._largest[1:]))
        self._refuse_too_much(config)
        self._context: Any = self._engine.create_execution_context()
        if self._context is None:
            raise MachineError(
                f"TensorRT makes no execution context for {self._name}: {why(self._sink)}; the GPU has no room left: "
                "end other processes on it, or lower engine.batches"
            )
        self._take_memory()
        if profiling:
            self._profiler = _profiler(self._trt, self.times)
            self._context.profiler = self._profiler

    def _started(self) -> Any:
        try:
            return self._trt.Runtime(self._sink)
        except TypeError as error:  # what a null from the library becomes
            raise MachineError(
                f"TensorRT {self._trt.__version__} cannot start its runtime here: {why(self._sink)} ({error}); "
                "driver and TensorRT's libraries must fit its version: install them anew"
            ) from error

    def _refuse_too_much(self, config: EngineConfig) -> None:
        """Before anything of it is allocated."""
        needed = int(self._engine.device_memory_size_v2) + self._bytes_in + self._bytes_out
        free, _ = checked(self._cudart.cudaMemGetInfo)
        stated = config.memory_mebibytes * _MEBIBYTE
        if needed > min(free, stated):
            raise MachineError(
                f"{self._name} needs {needed / _MEBIBYTE:.0f} MiB for activations and buffers at batch "
                f"{self._largest[0]}; {free / _MEBIBYTE:.0f} MiB are free on the GPU and engine.memory_mebibytes is "
                f"{config.memory_mebibytes}: lower engine.batches, or raise the limit"
            )

    def _take_memory(self) -> None:
        runtime, owned = self._cudart, self._owned
        self._stream: Any = checked(runtime.cudaStreamCreateWithFlags, runtime.cudaStreamNonBlocking)
        owned.callback(checked, runtime.cudaStreamDestroy, self._stream)
        # Not blocking: a thread that is woken would add its waking to a time.
        self._events = [self._event() for _ in range(_EDGES)]
        self._device_in = self._taken(runtime.cudaMalloc, runtime.cudaFree, self._bytes_in)
        self._device_out = self._taken(runtime.cudaMalloc, runtime.cudaFree, self._bytes_out)
        self._host_in = self._taken(runtime.cudaMallocHost, runtime.cudaFreeHost, self._bytes_in)
        self._host_out = self._taken(runtime.cudaMallocHost, runtime.cudaFreeHost, self._bytes_out)
        self._given = _floats(self._host_in, self._largest)
        self._answered = _floats(self._host_out, (self._largest[0], self._classes))
        for name, address in ((INPUT, self._device_in), (OUTPUT, self._device_out)):
            if not self._context.set_tensor_address(name, address):
                raise MachineError(f"TensorRT takes no buffer for {name} of {self._name}: {why(self._sink)}")

    def _event(self) -> Any:
        event: Any = checked(self._cudart.cudaEventCreateWithFlags, self._cudart.cudaEventDefault)
        self._owned.callback(checked, self._cudart.cudaEventDestroy, event)
        return event

    def _taken(self, take: Any, give_back: Any, count: int) -> int:
        address = int(checked(take, count))
        self._owned.callback(checked, give_back, address)
        return address

    @property
    def _bytes_in(self) -> int:
        return self._largest[0] * self._image * _FLOAT

    @property
    def _bytes_out(self) -> int:
        return self._largest[0] * self._classes * _FLOAT

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See ``Runner``."""
        return tuple(int(side) for side in self._engine.get_tensor_shape(INPUT))

    @property
    def tuned_batch(self) -> int:
        """The batch that the plan's kernels were chosen for."""
        return self._tuned[0]

    @property
    def spans(self) -> Spans | None:
        """See ``Runner``. By events on the stream, as trtexec takes them; asked for after the call is over."""
        if not self._bound:
            return None
        elapsed = self._cudart.cudaEventElapsedTime
        parts = [float(checked(elapsed, start, end)) for start, end in pairwise(self._events)]
        return Spans(self._enqueue, *parts)

    @property
    def bound_images(self) -> int:
        """See ``Runner``."""
        return self._bound

    def __call__(self, images: Images) -> Logits:
        """See ``Runner``.

        Raises:
            ModelError: the images do not fit the engine's input, or are more than its largest batch.
            MachineError: the runner was closed, or the GPU fails.
        """
        self._refuse_unfit(images)
        count = len(images)
        if count != self._shaped:
            self._shape(count)
        runtime, stream, kind = self._cudart, self._stream, self._cudart.cudaMemcpyKind
        self._given[:count] = images
        bytes_in, bytes_out = count * self._image * _FLOAT, count * self._classes * _FLOAT
        begun, copied, computed, done = self._events
        checked(runtime.cudaEventRecord, begun, stream)
        checked(runtime.cudaMemcpyAsync, self._device_in, self._host_in, bytes_in, kind.cudaMemcpyHostToDevice, stream)
        checked(runtime.cudaEventRecord, copied, stream)
        before = perf_counter()
        self._compute()
        self._enqueue = (perf_counter() - before) * 1000
        checked(runtime.cudaEventRecord, computed, stream)
        checked(
            runtime.cudaMemcpyAsync, self._host_out, self._device_out, bytes_out, kind.cudaMemcpyDeviceToHost, stream
        )
        checked(runtime.cudaEventRecord, done, stream)
        checked(runtime.cudaStreamSynchronize, stream)
        self._bound = int(self._context.get_tensor_shape(INPUT)[0])
        return self._answered[:count].copy()

    def _refuse_unfit(self, images: Images) -> None:
        if self._engine is None:
            raise MachineError(f"{self._name} was closed; open it again")
        if images.dtype != np.float32 or images.shape[1:] != self._largest[1:]:
            raise ModelError(
                f"images {images.dtype} {images.shape} do not fit the engine's input float32 {self.input_shape}"
            )
        if not self._smallest[0] <= len(images) <= self._largest[0]:
            raise ModelError(
                f"{len(images)} images at once, the plan takes {self._smallest[0]} to {self._largest[0]}: "
                "build it with other engine.batches"
            )

    def _shape(self, count: int) -> None:
        self._shaped = 0
        self._drop_graph()
        if not self._context.set_input_shape(INPUT, (count, *self._largest[1:])):
            raise ModelError(f"TensorRT refuses a batch of {count} for {self._name}: {why(self._sink)}")
        if missing := self._context.infer_shapes():
            raise ModelError(f"TensorRT infers no shapes for {self._name}, {', '.join(missing)} are unset")
        if self._graph_wanted:
            self._capture()
        self._shaped = count

    def _compute(self) -> None:
        if self._graph is not None:
            checked(self._cudart.cudaGraphLaunch, self._graph, self._stream)
        elif not self._context.execute_async_v3(int(self._stream)):
            raise MachineError(f"TensorRT cannot execute {self._name}: {why(self._sink)}")

    def _capture(self) -> None:
        """The execution as one CUDA graph; shapes and addresses are final until the next batch of another size.

        The first execution after a change of shape sets things up and must not be captured, so one goes before. A
        network that cannot be captured is executed without, and the log says so.
        """
        runtime, stream = self._cudart, self._stream
        self._compute()
        checked(runtime.cudaStreamSynchronize, stream)
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(runtime.cudaStreamBeginCapture, stream, mode)
        executed = self._context.execute_async_v3(int(stream))
        error, captured = runtime.cudaStreamEndCapture(stream)
        if not executed or int(error) != 0:
            runtime.cudaGetLastError()  # a failed capture leaves its error behind
            self._graph_wanted = False
            _LOGGER.warning("%s cannot be captured as a CUDA graph (%s); it runs without", self._name, why(self._sink))
            return
        self._graph = checked(runtime.cudaGraphInstantiate, captured, 0)
        checked(runtime.cudaGraphDestroy, captured)

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            checked(self._cudart.cudaGraphExecDestroy, graph)

    def layer_information(self) -> str:
        """What TensorRT's engine inspector says of the plan at the shapes of the last call, as JSON text."""
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = self._context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def _forget(self) -> None:
        """In this order: context, engine, runtime."""
        self._context = None
        self._engine = None
        self._opener = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._drop_graph()
            self._context = None  # it uses the buffers
            self._owned.close()
        except MachineError:
            if error is None:  # else the GPU failed before, and freeing only says so again
                raise


def _floats(address: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The pinned memory at ``address`` as an array; it lives as long as the allocation."""
    raw = (ctypes.c_float * int(np.prod(shape))).from_address(address)
    return np.ctypeslib.as_array(raw).reshape(shape)


def _profiler(trt: Any, times: dict[str, float]) -> Any:
    """A ``trt.IProfiler`` that sums milliseconds by layer into ``times``."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times[layer_name] = times.get(layer_name, 0.0) + ms

    return Profiler()
