"""A backend in numpy that obeys the contract and fails when told to.

``CXR_FAKE`` holds faults, separated by commas, each ``fault`` or ``fault:precision``; ``@file`` means that they stand
in that file, so that a test can heal what a running worker does:

    unsupported   the precision cannot run here        error    the build raises ModelError
    crash         the process dies while building      hang     the build never ends
    slow          an answer takes 5 ms                 nan      answers are not numbers
    wrong         every fifth answer is off by 1       batch    only one image of a batch is bound
    elsewhere     the device says it is another one    memory   an answer takes 1 ms, a remembered one none
    memories      as memory, batches alone
    other         every answer is off by 1, so that an engine told so only when it is timed is another then
    faithful      no fault: an engine built now answers as its graph does, by ONNX Runtime, and so can pass a gate

Put this folder's parent on ``PYTHONPATH`` and child processes find the backend too.
"""

import base64
import hashlib
import json
import os
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from pydantic import JsonValue

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Effective, Images, Layer, Logits, Support
from cxr_core.errors import MachineError, ModelError
from cxr_core.progress import Progress
from cxr_core.refs import Precision

_FEATURES = 8
_ROUNDING = {Precision.FP16: 1e-3, Precision.BF16: 1e-2, Precision.INT8: 5e-2}


def told_to(fault: str, precision: Precision | None = None) -> bool:
    """Whether ``CXR_FAKE`` asks for this fault."""
    told = os.environ.get("CXR_FAKE", "")
    faults = (Path(told[1:]).read_text(encoding="utf-8") if told.startswith("@") else told).split(",")
    return fault in faults or f"{fault}:{precision}" in faults


def _opened(graph: bytes) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


class FakeBackend:
    """See ``Backend``."""

    name = "fake"
    fake = True

    def support(self, precision: Precision) -> Support:
        if told_to("unsupported", precision):
            return Support(level="unsupported", reason="the double was told so")
        return Support(level="native", reason="a test double, not a measurement")

    def device(self) -> str:
        return "FAKE elsewhere" if told_to("elsewhere") else "FAKE device"

    def environment(self) -> dict[str, JsonValue]:
        return {"version": "1.0", "device": self.device(), "cpus": 1}

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def build(
        self,
        *,
        graph: Path,
        precision: Precision,
        engine: Path,
        config: EngineConfig,
        progress: Progress,
        cache: Path | None = None,
    ) -> dict[str, JsonValue]:
        progress(0, 1, "pretending to compile")
        if told_to("error", precision):
            raise ModelError(f"the double was told not to compile {graph.name} for {precision}")
        if told_to("crash", precision):
            os.kill(os.getpid(), signal.SIGKILL)
        while told_to("hang", precision):
            time.sleep(0.05)
        height, width = _size(graph)
        digest = hashlib.sha256(graph.read_bytes()).hexdigest()
        content = {"graph": digest, "precision": precision, "size": [height, width]}
        if told_to("faithful", precision):
            content["model"] = base64.b64encode(graph.read_bytes()).decode()
        engine.write_text(json.dumps(content))
        return {"note": "made by a test double"}

    def runner(
        self, engine: Path, *, precision: Precision, config: EngineConfig, profiling: bool = False
    ) -> "FakeRunner":
        try:
            return FakeRunner(json.loads(engine.read_text()), precision)
        except (ValueError, KeyError) as error:
            raise MachineError(f"the double refuses {engine.name}: {error}; build it here") from error

    def inspect(self, engine: Path, *, precision: Precision, config: EngineConfig) -> Effective:
        real = str(json.loads(engine.read_text())["precision"])
        layers = (Layer(name="all", kind="numpy", precision=real, share=1.0),)
        return Effective(shares={real: 1.0}, weighted_by="layers", layers=layers, label=real)

    def peak(self, precision: Precision, *, config: EngineConfig, seconds: float) -> float | None:
        return None


class FakeRunner:
    """Logits are a fixed random projection of coarse pixels, rounded as coarsely as the precision is."""

    spans = None

    def __init__(self, content: dict[str, JsonValue], precision: Precision) -> None:
        seed = int(str(content["graph"])[:8], 16)
        height, width = content["size"]  # type: ignore[misc]
        self.input_shape: tuple[int, ...] = (-1, 1, int(height), int(width))  # type: ignore[call-overload]
        self.bound_images = 0
        self._precision, self._calls, self._seen = precision, 0, set[bytes]()
        self._weights = np.random.default_rng(seed).normal(0, 1, (_FEATURES * _FEATURES, 2))
        self._graph = _opened(base64.b64decode(str(content["model"]))) if "model" in content else None

    def __call__(self, images: Images) -> Logits:
        if images.dtype != np.float32 or images.shape[1:] != self.input_shape[1:]:
            raise ModelError(f"images {images.dtype} {images.shape} do not fit the engine's input {self.input_shape}")
        self._calls += 1
        self.bound_images = 1 if told_to("batch", self._precision) else len(images)
        logits = self._answers(images)
        if told_to("slow", self._precision):
            time.sleep(0.005)
        if told_to("other", self._precision):
            logits[:, 1] += 1
        remembers = told_to("memory", self._precision) or (len(images) > 1 and told_to("memories", self._precision))
        if remembers and images.tobytes() not in self._seen:
            time.sleep(0.001)
            self._seen.add(images.tobytes())
        if told_to("nan", self._precision):
            logits[:] = np.nan
        if told_to("wrong", self._precision) and self._calls % 5 == 0:
            logits += 1
        return logits

    def _answers(self, images: Images) -> Logits:
        if self._graph is not None:
            return np.asarray(self._graph.run(None, {self._graph.get_inputs()[0].name: images})[0])
        rows = np.linspace(0, images.shape[2] - 1, _FEATURES).astype(int)
        columns = np.linspace(0, images.shape[3] - 1, _FEATURES).astype(int)
        coarse = images[:, 0][:, rows][:, :, columns].reshape(len(images), -1) / 255 - 0.5
        logits = coarse @ self._weights
        step = _ROUNDING.get(self._precision)
        return (np.round(logits / step) * step if step else logits).astype(np.float32)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def _size(graph: Path) -> tuple[int, int]:
    from cxr_core.engines.graph import variant_metadata

    size = variant_metadata(graph).size
    return size, size
