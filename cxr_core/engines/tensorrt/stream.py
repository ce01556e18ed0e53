"""An execution context on a CUDA stream of its own: pinned host buffers, nothing allocated after the opening."""

import ctypes
import logging
from contextlib import ExitStack
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_core.engines.contract import Images, Logits, Spans
from cxr_core.engines.graph import INPUT, OUTPUT
from cxr_core.engines.tensorrt.library import checked, cudart
from cxr_core.engines.tensorrt.log import why
from cxr_core.engines.tensorrt.plan import OpenedPlan
from cxr_core.errors import MachineError, ModelError

_LOGGER = logging.getLogger("cxr.tensorrt")
_EDGES = 4  # before the copy to the GPU, before and after the execution, after the copy back
_WIPED = 0xFF  # four of these bytes are a NaN


class TensorRTStream:
    """See ``Stream``."""

    def __init__(self, opened: OpenedPlan, *, cuda_graph: bool) -> None:
        """Takes all memory that it will ever need.

        Raises:
            MachineError: no execution context, or a CUDA call fails.
        """
        self._opened, self._cudart, self._graph_wanted = opened, cudart(), cuda_graph
        self._shaped = self._bound = 0
        self._enqueue = 0.0
        self._copied = True
        self._graph: Any = None
        self._context: Any = opened.context()
        with ExitStack() as self._owned:  # whatever was taken is given back where the opening fails half-way
            self._take_memory()
            self._owned = self._owned.pop_all()

    def _take_memory(self) -> None:
        runtime, owned, opened = self._cudart, self._owned, self._opened
        owned.callback(self._forget)
        self._stream: Any = checked(runtime.cudaStreamCreateWithFlags, runtime.cudaStreamNonBlocking)
        owned.callback(checked, runtime.cudaStreamDestroy, self._stream)
        self._events = [self._event() for _ in range(_EDGES)]
        most = opened.largest[0]
        self._device_in = self._taken(runtime.cudaMalloc, runtime.cudaFree, most * opened.bytes_in)
        self._device_out = self._taken(runtime.cudaMalloc, runtime.cudaFree, most * opened.bytes_out)
        self._host_in = self._taken(runtime.cudaMallocHost, runtime.cudaFreeHost, most * opened.bytes_in)
        self._host_out = self._taken(runtime.cudaMallocHost, runtime.cudaFreeHost, most * opened.bytes_out)
        self._given = _floats(self._host_in, opened.largest)
        self._answered = _floats(self._host_out, (most, opened.classes))
        for name, address in ((INPUT, self._device_in), (OUTPUT, self._device_out)):
            if not self._context.set_tensor_address(name, address):
                raise MachineError(f"TensorRT takes no buffer for {name} of {opened.name}: {why(opened.sink)}")
        owned.callback(self._forget)  # before the buffers, which it uses
        owned.callback(self._drop_graph)

    def _event(self) -> Any:
        event: Any = checked(self._cudart.cudaEventCreateWithFlags, self._cudart.cudaEventDefault)
        self._owned.callback(checked, self._cudart.cudaEventDestroy, event)
        return event

    def _taken(self, take: Any, give_back: Any, count: int) -> int:
        address = int(checked(take, count))
        self._owned.callback(checked, give_back, address)
        return address

    @property
    def bound_images(self) -> int:
        """See ``Stream``."""
        return self._bound

    @property
    def spans(self) -> Spans | None:
        """See ``Stream``. By events on the stream, as trtexec takes them."""
        if not self._bound:
            return None
        begun, copied, computed, done = self._events
        compute = self._elapsed(copied, computed)
        if not self._copied:  # trtexec then takes both ends of both copies for those of the execution
            return Spans(self._enqueue, 0.0, compute, 0.0)
        return Spans(self._enqueue, self._elapsed(begun, copied), compute, self._elapsed(computed, done))

    def _elapsed(self, start: Any, end: Any) -> float:
        return float(checked(self._cudart.cudaEventElapsedTime, start, end))

    @property
    def copies(self) -> bool:
        """Whether the last query copied its images and answers."""
        return self._copied

    @property
    def graph_launched(self) -> bool:
        """Whether the last query was a CUDA graph."""
        return self._graph is not None

    def begin(self, images: Images | None) -> None:
        """See ``Stream``.

        Raises:
            ModelError: the images do not fit the engine's input.
            MachineError: the GPU fails.
        """
        runtime, stream = self._cudart, self._stream
        begun, copied, computed, done = self._events
        self._copied = images is not None
        if images is not None:
            self._give(images)
            checked(runtime.cudaEventRecord, begun, stream)
            self._copy_in()
        checked(runtime.cudaEventRecord, copied, stream)
        before = perf_counter()
        self._compute()
        self._enqueue = (perf_counter() - before) * 1000
        checked(runtime.cudaEventRecord, computed, stream)
        if images is not None:
            self._copy_out()
            checked(runtime.cudaEventRecord, done, stream)

    def end(self) -> None:
        """See ``Stream``."""
        checked(self._cudart.cudaStreamSynchronize, self._stream)
        self._bound = int(self._context.get_tensor_shape(INPUT)[0])

    def answers(self) -> Logits:
        """See ``Stream``."""
        if not self._copied:
            self._copy_out()
            self.end()
        return self._answered[: self._shaped].copy()

    def load(self, images: Images) -> None:
        """See ``Stream``."""
        runtime, stream = self._cudart, self._stream
        self._give(images)
        self._copy_in()
        checked(runtime.cudaMemsetAsync, self._device_out, _WIPED, self._shaped * self._opened.bytes_out, stream)
        checked(runtime.cudaStreamSynchronize, stream)

    def _give(self, images: Images) -> None:
        if len(images) != self._shaped:
            self._shape(len(images))
        self._given[: len(images)] = images

    def _copy_in(self) -> None:
        count, kind = self._shaped * self._opened.bytes_in, self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        checked(self._cudart.cudaMemcpyAsync, self._device_in, self._host_in, count, kind, self._stream)

    def _copy_out(self) -> None:
        count, kind = self._shaped * self._opened.bytes_out, self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        checked(self._cudart.cudaMemcpyAsync, self._host_out, self._device_out, count, kind, self._stream)

    def _shape(self, count: int) -> None:
        self._shaped = 0
        self._drop_graph()
        name, sink = self._opened.name, self._opened.sink
        if not self._context.set_input_shape(INPUT, (count, *self._opened.largest[1:])):
            raise ModelError(f"TensorRT refuses a batch of {count} for {name}: {why(sink)}")
        if missing := self._context.infer_shapes():
            raise ModelError(f"TensorRT infers no shapes for {name}, {', '.join(missing)} are unset")
        if self._graph_wanted:
            self._capture()
        self._shaped = count

    def _compute(self) -> None:
        if self._graph is not None:
            checked(self._cudart.cudaGraphLaunch, self._graph, self._stream)
        elif not self._context.execute_async_v3(int(self._stream)):
            raise MachineError(f"TensorRT cannot execute {self._opened.name}: {why(self._opened.sink)}")

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
        with ExitStack() as owned:
            if int(error) == 0:
                owned.callback(checked, runtime.cudaGraphDestroy, captured)
                if executed:
                    self._graph = checked(runtime.cudaGraphInstantiate, captured, 0)
                    return
        runtime.cudaGetLastError()  # a failed capture leaves its error behind
        self._graph_wanted = False
        _LOGGER.warning(
            "%s cannot be captured as a CUDA graph (%s); it runs without", self._opened.name, why(self._opened.sink)
        )

    def profile(self, profiler: Any) -> None:
        """Tells that ``trt.IProfiler`` each layer's time from now on."""
        self._profiler = profiler  # TensorRT does not keep it alive
        self._context.profiler = profiler

    def layer_information(self) -> str:
        """See ``OpenedPlan.layer_information``; at the shapes of the last query."""
        return self._opened.layer_information(self._context)

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            checked(self._cudart.cudaGraphExecDestroy, graph)

    def _forget(self) -> None:
        self._context = None

    def close(self) -> None:
        """Gives everything back.

        Raises:
            MachineError: the GPU has failed.
        """
        self._owned.close()


def _floats(address: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The pinned memory at ``address`` as an array; it lives as long as the allocation."""
    raw = (ctypes.c_float * int(np.prod(shape))).from_address(address)
    return np.ctypeslib.as_array(raw).reshape(shape)
