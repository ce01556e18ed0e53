"""A double of the part of TensorRT's Python API that is used, over ONNX Runtime and the double of CUDA.

It keeps TensorRT's rules, each cited by its number in docs/tensorrt.md, so that what breaks one of them fails here
too. Its answers are ONNX Runtime's; its times mean nothing, and its device is called FAKE. See
``cuda.bindings.runtime`` beside it for what it can be told.
"""

import json
import threading
import zlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import onnx
from cuda.bindings import runtime as cuda
from onnx import TensorProto, numpy_helper

__version__ = cuda.told("version", "11.4.0.106")
MAJOR = int(__version__.split(".")[0])
_MAGIC = b"FAKE PLAN\n"

ProfilingVerbosity = IntEnum("ProfilingVerbosity", ["LAYER_NAMES_ONLY", "DETAILED", "NONE"], start=0)
LayerInformationFormat = IntEnum("LayerInformationFormat", ["ONELINE", "JSON"], start=0)
MemoryPoolType = IntEnum("MemoryPoolType", ["WORKSPACE"], start=0)
BuilderFlag = IntEnum("BuilderFlag", {"TF32": 6})  # FP16, BF16 and INT8 are gone in 11: nothing here has them (F1)
# 1 in 10.x, where 0 is EXPLICIT_BATCH; 0 in 11, where that is gone (F2).
NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1 if MAJOR < 11 else 0})

# Type: spelling in the inspector of 10.x, of 11 (F12).
_SPELLED = {
    TensorProto.FLOAT: ("Row major linear FP32", "Float"),
    TensorProto.FLOAT16: ("Channel major FP16 format where channel % 8 == 0", "Half"),
    TensorProto.BFLOAT16: ("Row major linear BF16", "BFloat16"),
    TensorProto.INT8: ("Row major Int8 format", "Int8"),
    TensorProto.INT64: ("Row major linear INT64", "Int64"),
}
_KINDS = {"Conv": "CaskConvolution", "Gemm": "CaskGemmConvolution", "Cast": "Cast", "QuantizeLinear": "Quantize"}


class _Abstract:
    """Overridden in Python; pybind11 refuses one whose base was not initialised (F17)."""

    def __init__(self) -> None:
        self._initialised = True


class ILogger(_Abstract):
    Severity = IntEnum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"], start=0)


class IProgressMonitor(_Abstract):
    pass


class IProfiler(_Abstract):
    pass


def _usable(made: Any, base: type[_Abstract]) -> Any:
    if not isinstance(made, base) or not getattr(made, "_initialised", False):
        raise TypeError(f"{base.__name__}.__init__() must be called when overriding __init__")
    return made


def _fails(fault: str, model: onnx.ModelProto, tf32: bool = False) -> bool:
    """Whether it is told that fault, for every network or for those of this precision (``parser:fp16``)."""
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    known = {TensorProto.INT8: "int8", TensorProto.BFLOAT16: "bf16", TensorProto.FLOAT16: "fp16"}
    precision = next((name for kind, name in known.items() if kind in kinds), "tf32" if tf32 else "fp32")
    return cuda.told(fault) in ("yes", precision)


def _here() -> dict[str, str]:
    about = cuda.cudaGetDeviceProperties(0)[1]
    return {"version": __version__, "device": about.name.decode(), "capability": f"{about.major}.{about.minor}"}


class IHostMemory(bytes):
    """Has the buffer protocol."""


class _Tensor:
    __slots__ = ("name", "shape")

    def __init__(self, value: Any) -> None:
        self.name: str = value.name
        dims = value.type.tensor_type.shape.dim
        self.shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in dims)


class INetworkDefinition:
    __slots__ = ("model", "strong")

    def __init__(self, strong: bool) -> None:
        self.strong, self.model = strong, None

    @property
    def num_inputs(self) -> int:
        return len(self.model.graph.input) if self.model else 0

    def get_input(self, index: int) -> _Tensor:
        return _Tensor(self.model.graph.input[index])


class ParserError:
    """Its parts are methods, not attributes (F6)."""

    __slots__ = ("_desc", "_name", "_node", "_operator")

    def __init__(self, node: int, name: str, operator: str, desc: str) -> None:
        self._node, self._name, self._operator, self._desc = node, name, operator, desc

    def node(self) -> int:
        return self._node

    def node_name(self) -> str:
        return self._name

    def node_operator(self) -> str:
        return self._operator

    def desc(self) -> str:
        return self._desc


class OnnxParser:
    __slots__ = ("_errors", "_logger", "_network")

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger, self._errors = network, _usable(logger, ILogger), []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        read = onnx.load(model)
        self._errors = list(_refused(read))
        if not self._errors:
            self._network.model = read
        return not self._errors


def _refused(model: onnx.ModelProto) -> Iterator[ParserError]:
    constants = {
        t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type != TensorProto.BFLOAT16
    }
    if _fails("parser", model):
        yield ParserError(3, "", "Slice", "told to refuse it")
    for place, node in enumerate(model.graph.node):
        about = (place, node.name, node.op_type)
        if node.domain not in ("", "ai.onnx"):
            yield ParserError(*about, f"No importer registered for op: {node.op_type}. Attempting to import as plugin.")
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        zero = constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero is not None and zero.dtype == np.int32:  # the DQ of an INT32 bias (F7)
            yield ParserError(*about, "only activation types allowed as input to this layer")
        elif zero is not None and zero.any():  # (F7)
            yield ParserError(*about, "TensorRT only supports symmetric quantization")
        if constants[node.input[1]].size > 1 and not _constant(model, node.input[0], constants):  # (F7)
            yield ParserError(*about, "per-channel scales are for weights only")
    try:  # strongly typed: operands of one operator that differ in type are an error, never a hidden cast (F1)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        yield ParserError(-1, "", "", str(error))


def _constant(model: onnx.ModelProto, name: str, constants: dict[str, Any]) -> bool:
    made = {output: node for node in model.graph.node for output in node.output}
    return name in constants or (name in made and made[name].input[0] in constants)


class IOptimizationProfile:
    __slots__ = ("shapes",)

    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        shapes = [tuple(shape) for shape in (min, opt, max)]
        if not all(a <= b <= c for a, b, c in zip(*shapes, strict=True)):
            raise RuntimeError("Shape provided for min/opt/max is inconsistent")  # (F8)
        self.shapes[input] = shapes


class ITimingCache:
    """Of one device and version (F10)."""

    __slots__ = ("of", "tactics")

    def __init__(self, content: bytes) -> None:
        read = json.loads(content) if content else {"of": _here(), "tactics": {}}
        self.of, self.tactics = read["of"], read["tactics"]

    def serialize(self) -> IHostMemory:
        return IHostMemory(json.dumps({"of": self.of, "tactics": self.tactics}).encode())

    def combine(self, input_cache: "ITimingCache", ignore_mismatch: bool) -> bool:
        if input_cache.of != self.of and not ignore_mismatch:
            return False
        self.tactics = input_cache.tactics | self.tactics
        return True


class IBuilderConfig:
    __slots__ = (
        "builder_optimization_level", "flags", "logger", "pools", "profiles", "profiling_verbosity",
        "progress_monitor", "timing",
    )  # fmt: skip

    def __init__(self, logger: ILogger) -> None:
        self.logger, self.flags, self.pools = logger, {BuilderFlag.TF32}, {}  # TF32 is on unless cleared (F5)
        self.profiles: list[IOptimizationProfile] = []
        self.builder_optimization_level, self.profiling_verbosity = 3, ProfilingVerbosity.LAYER_NAMES_ONLY
        self.progress_monitor: Any = None
        self.timing: ITimingCache | None = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self.pools[pool] = pool_size

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        try:
            return ITimingCache(bytes(serialized_timing_cache))
        except (ValueError, KeyError):
            self.logger.log(ILogger.Severity.ERROR, "timing cache: invalid header")
            return None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache.of != _here() and not ignore_mismatch:
            self.logger.log(ILogger.Severity.WARNING, "timing cache: device or version differs")
            return False
        self.timing = cache
        return True


class Builder:
    __slots__ = ("_logger",)

    def __init__(self, logger: ILogger) -> None:
        self._logger = _usable(logger, ILogger)
        if cuda.told("null") or cuda.told("no_gpu"):
            logger.log(ILogger.Severity.WARNING, "CUDA initialization failure with error: 35")  # (F3)
            raise TypeError("pybind11::init(): factory function returned nullptr")  # never None (F3)

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(MAJOR >= 11 or bool(flags >> NetworkDefinitionCreationFlag.STRONGLY_TYPED & 1))

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self._logger)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        """None on failure, and the reason only in the log (F4)."""
        if reason := self._cannot(network, config):
            self._logger.log(ILogger.Severity.ERROR, reason)
            return None
        for number in range(2 if cuda.told("warn") else 0):
            self._logger.log(ILogger.Severity.WARNING, f"warning number {number}")
        if config.timing is not None and config.builder_optimization_level > 0:  # level 0 ignores the cache (F10)
            config.timing.tactics |= {node.name: 1.0 for node in network.model.graph.node}
        if config.progress_monitor is not None and not _monitored(
            config.progress_monitor, len(network.model.graph.node)
        ):
            self._logger.log(ILogger.Severity.ERROR, "the build was cancelled by the progress monitor")
            return None
        about = {
            **_here(), "shapes": config.profiles[0].shapes, "tf32": BuilderFlag.TF32 in config.flags,
            "detailed": config.profiling_verbosity is ProfilingVerbosity.DETAILED and not cuda.told("names_only"),
        }  # fmt: skip
        return IHostMemory(_MAGIC + json.dumps(about).encode() + b"\n" + network.model.SerializeToString())

    def _cannot(self, network: INetworkDefinition, config: IBuilderConfig) -> str:
        if not network.strong:
            return "a weakly typed network: the product makes none"
        about = network.model, BuilderFlag.TF32 in config.flags
        if _fails("build_none", *about):
            return "Error Code 10: Could not find any implementation for node stem"
        if _fails("no_room", *about):
            return "Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.)"
        inputs = {network.get_input(place).name: network.get_input(place).shape for place in range(network.num_inputs)}
        shaped = config.profiles[0].shapes if config.profiles else {}
        missing = [name for name, shape in inputs.items() if -1 in shape and name not in shaped]
        return f"Error Code 4: {missing[0]} is dynamic and no optimization profile has it" if missing else ""


def _monitored(monitor: Any, steps: int) -> bool:
    """Phases nest, may finish before all their steps, and steps are told from other threads (F9)."""
    _usable(monitor, IProgressMonitor)
    went_on = [True]

    def some(part: Sequence[int]) -> None:
        for step in part:
            if went_on[0] and monitor.step_complete("Tactic selection", step) is not True:  # None aborts too (F9)
                went_on[0] = False

    monitor.phase_start("Building", None, 2)
    monitor.phase_start("Tactic selection", "Building", steps)
    threads = [threading.Thread(target=some, args=(range(first, steps - 1, 2),)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monitor.phase_finish("Tactic selection")
    went_on[0] = went_on[0] and monitor.step_complete("Building", 0) is True
    monitor.phase_finish("Building")
    return went_on[0]


class Runtime:
    __slots__ = ("_logger",)

    def __init__(self, logger: ILogger) -> None:
        self._logger = _usable(logger, ILogger)
        if cuda.told("null") or cuda.told("no_gpu"):
            raise TypeError("pybind11::init(): factory function returned nullptr")  # (F3)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        """None for a plan of another version or architecture; there is no check beforehand (F11)."""
        head, _, body = bytes(serialized_engine).removeprefix(_MAGIC).partition(b"\n")
        about = json.loads(head) if bytes(serialized_engine).startswith(_MAGIC) else {}
        wrong = not about or any(about[key] != value for key, value in _here().items())
        if wrong or _fails("refuse", model := onnx.load_from_string(body), about["tf32"]):
            self._logger.log(
                ILogger.Severity.ERROR, "Error Code 6: The engine plan file is not compatible with this device"
            )
            return None
        engine = ICudaEngine(self._logger, about, model)
        cuda.held[engine] = len(serialized_engine)  # its weights
        return engine


class ICudaEngine:
    __slots__ = ("__weakref__", "about", "logger", "model")

    def __init__(self, logger: ILogger, about: dict[str, Any], model: onnx.ModelProto) -> None:
        self.logger, self.about, self.model = logger, about, model

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        ports = (*self.model.graph.input, *self.model.graph.output)
        return next(_Tensor(port).shape for port in ports if port.name == name)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self.about["shapes"][name]]

    @property
    def device_memory_size_v2(self) -> int:
        return cuda.CONTEXT_BYTES

    def create_execution_context(self) -> "IExecutionContext | None":
        if _fails("context_none", self.model, self.about["tf32"]) or self.device_memory_size_v2 > cuda.free_bytes():
            self.logger.log(ILogger.Severity.ERROR, "Error Code 2: OutOfMemory (Requested size was 1048576 bytes.)")
            return None  # (F4)
        return IExecutionContext(self)

    def create_engine_inspector(self) -> "EngineInspector":
        return EngineInspector(self)


class IExecutionContext:
    __slots__ = (
        "__weakref__", "_addresses", "_engine", "_ready", "_session", "_shape", "enqueue_emits_profile", "profiler",
    )  # fmt: skip

    def __init__(self, engine: ICudaEngine) -> None:
        cuda.held[self] = cuda.CONTEXT_BYTES
        self._engine, self._addresses, self._shape, self._ready = engine, {}, None, None
        self.profiler, self.enqueue_emits_profile = None, True
        self._session = _session(engine.model)

    def set_input_shape(self, name: str, shape: Any) -> bool:
        least, _, most = self._engine.get_tensor_profile_shape(name, 0)
        if not all(a <= side <= b for a, side, b in zip(least, shape, most, strict=True)):
            return self._failed(f"Set dimension {tuple(shape)} for {name} does not satisfy the optimization profile")
        self._shape = tuple(shape)
        return True

    def infer_shapes(self) -> list[str]:
        return [] if self._shape else [self._engine.model.graph.input[0].name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = self._shape[0] if self._shape else -1
        return (batch, *self._engine.get_tensor_shape(name)[1:])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = cuda.stream_of(stream_handle)
        if self._shape is None or len(self._addresses) < 2:
            return self._failed("input shapes or tensor addresses are not all set")
        if stream.captured is not None and (self._ready != self._shape or cuda.told("no_graph")):
            stream.broken = True  # the first execution after a change of shape must not be captured (F14)
            return self._failed("operation not permitted when stream is capturing")
        self._ready, shape = self._shape, self._shape
        stream.add(lambda: self._work(shape))
        if self.profiler is not None and self.enqueue_emits_profile:  # it then synchronises (F13)
            stream.drain()
            for layer in _layers(self._engine):
                milliseconds = (1 + zlib.crc32(layer["Name"].encode()) % 7) / 100
                _usable(self.profiler, IProfiler).report_layer_time(layer["Name"], milliseconds)
        return True

    def _work(self, shape: tuple[int, ...]) -> Any:
        given, answered = (port[0].name for port in (self._engine.model.graph.input, self._engine.model.graph.output))
        bytes_in, bytes_out = 4 * int(np.prod(shape)), 8 * shape[0]
        source, target = self._addresses[given], self._addresses[answered]
        if not (cuda.reaches(source, bytes_in) and cuda.reaches(target, bytes_out)):
            return cuda.ILLEGAL
        images = np.frombuffer((cuda.ctypes.c_ubyte * bytes_in).from_address(source), np.float32).reshape(shape)
        answers = np.ascontiguousarray(self._session.run([answered], {given: images})[0], np.float32)
        cuda.ctypes.memmove(target, answers.ctypes.data, bytes_out)
        return cuda.OK

    def _failed(self, reason: str) -> bool:
        self._engine.logger.log(ILogger.Severity.ERROR, reason)
        return False


def _session(model: onnx.ModelProto) -> Any:
    """Unfused, which is nearest to TensorRT's own arithmetic (F16); bfloat16, which ONNX Runtime lacks, in float32."""
    import onnxruntime

    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for attribute in (a for node in wide.graph.node if node.op_type == "Cast" for a in node.attribute):
        attribute.i = TensorProto.FLOAT if attribute.i == TensorProto.BFLOAT16 else attribute.i
    del wide.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(wide.SerializeToString(), options, providers=["CPUExecutionProvider"])


class EngineInspector:
    __slots__ = ("_engine", "execution_context")

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self.execution_context = engine, None

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        layers = _layers(self._engine)
        top = "Bindings" if MAJOR < 11 else "I/O Tensors"  # (F12)
        names = [port.name for port in (*self._engine.model.graph.input, *self._engine.model.graph.output)]
        if not self._engine.about["detailed"]:  # then a layer is its name alone (F12)
            return json.dumps({"Layers": [layer["Name"] for layer in layers], top: names})
        return json.dumps({"Layers": layers, top: names if MAJOR < 11 else [{"Name": name} for name in names]})


def _layers(engine: ICudaEngine) -> list[dict[str, Any]]:
    """A layer a node; pairs around an int8 layer are fused into it, and so are those of weights."""
    graph = onnx.shape_inference.infer_shapes(engine.model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    sizes = {t.name: (t.data_type, int(np.prod(t.dims))) for t in graph.initializer}
    types |= {name: kind for name, (kind, _) in sizes.items()}
    made = {output: node for node in graph.node for output in node.output}
    found = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" or _constant(engine.model, node.input[0], dict.fromkeys(sizes)):
            continue
        pairs = [made[name] for name in node.input if name in made and made[name].op_type == "DequantizeLinear"]
        fused = len(pairs) >= 2
        kind = TensorProto.INT8 if fused else types.get(node.input[0], 0)
        layer = {
            "Name": node.name, "LayerType": _KINDS.get(node.op_type, "PointWiseV2"),
            "Inputs": [_spelled(node.input[0], kind)],
            "Outputs": [_spelled(node.output[0], types.get(node.output[0], 0))],
            "TacticName": "sm80_tf32_conv" if engine.about["tf32"] and kind == TensorProto.FLOAT else "sm80_conv",
        }  # fmt: skip
        weights = next((pair.input[0] for pair in pairs[1:]), node.input[1] if len(node.input) > 1 else "")
        weights = made[weights].input[0] if weights in made else weights
        if node.op_type in ("Conv", "Gemm") and weights in sizes:
            spelled = _SPELLED[TensorProto.INT8 if fused else sizes[weights][0]][1]
            layer["Weights"] = {"Type": spelled, "Count": sizes[weights][1]}
        found.append(layer)
    return found


def _spelled(name: str, kind: int) -> dict[str, Any]:
    old, new = _SPELLED.get(kind, ("Row major linear INT32", "Int32"))
    shape = {"Name": name, "Location": "Device", "Dimensions": []}
    if cuda.told("odd_keys"):
        return shape | {"Layout": old}
    return shape | ({"Format/Datatype": old} if MAJOR < 11 else {"Format": "Row major linear", "Datatype": new})
