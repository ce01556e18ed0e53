"""Run in a process of its own over empty libraries: our logger, monitor and profiler on the real classes. ``ROOT``."""

import json
import sys
import types

import tensorrt_bindings as trt

sys.path.insert(0, sys.argv[1])
sys.modules["tensorrt"] = trt

from cxr_core.bench.gpu_state import watching_gpu  # noqa: E402
from cxr_core.engines.tensorrt import TensorRTBackend, builder, library, log, monitor, plan, runner  # noqa: E402
from cxr_core.errors import MachineError  # noqa: E402

sink = log.log_sink(trt)
for severity in ("VERBOSE", "INFO", "WARNING", "ERROR"):
    sink.log(getattr(trt.ILogger.Severity, severity), severity)
told: list[tuple[int, int, str]] = []
shown = monitor.progress_monitor(trt, lambda *one: told.append(one), 1000, 3000)
shown.phase_start("phase", None, 4)
went_on = shown.step_complete("phase", 0)
shown.phase_finish("phase")
times: dict[str, float] = {}
runner._profiler(trt, times).report_layer_time("layer", 1.5)
refusals = []
opener = types.SimpleNamespace(_trt=trt, sink=sink)
for start in (lambda: builder._builder(trt, sink), lambda: plan.OpenedPlan._started(opener)):  # type: ignore[arg-type]
    try:
        start()
    except MachineError as error:
        refusals.append(str(error))
try:
    library.checked(library.cudart().cudaMalloc, 64)
except MachineError as error:
    refusals.append(str(error))
with watching_gpu("GPU-00000000-0000-0000-0000-000000000000") as watch:
    pass
sys.stdout.write(
    json.dumps(
        {
            "warnings": sink.warnings, "errors": sink.errors, "told": told, "went_on": went_on, "times": times,
            "refusals": refusals, "dims": [int(side) for side in trt.Dims((-1, 1, 32, 32))],
            "watch": watch.complaint(),
            "support": TensorRTBackend().support("fp32").reason,
        }
    )
)  # fmt: skip
