"""Run in a process of its own over empty libraries: our logger, monitor and profiler on the real classes. ``ROOT``."""

import json
import sys
import types

import tensorrt_bindings as trt

sys.path.insert(0, sys.argv[1])
sys.modules["tensorrt"] = trt

from cxr_core.engines.tensorrt import TensorRTBackend, builder, log, monitor, runner  # noqa: E402
from cxr_core.errors import MachineError  # noqa: E402

sink = log.log_sink(trt)
for severity in ("VERBOSE", "INFO", "WARNING", "ERROR"):
    sink.log(getattr(trt.ILogger.Severity, severity), severity)
told: list[tuple[int, int, str]] = []
watching = monitor.progress_monitor(trt, lambda *one: told.append(one), 1000, 3000)
watching.phase_start("phase", None, 4)
went_on = watching.step_complete("phase", 0)
watching.phase_finish("phase")
times: dict[str, float] = {}
runner._profiler(trt, times).report_layer_time("layer", 1.5)
refusals = []
opener = types.SimpleNamespace(_trt=trt, _sink=sink)
for start in (lambda: builder._builder(trt, sink), lambda: runner.TensorRTRunner._started(opener)):  # type: ignore[arg-type]
    try:
        start()
    except MachineError as error:
        refusals.append(str(error))
sys.stdout.write(
    json.dumps(
        {
            "warnings": sink.warnings, "errors": sink.errors, "told": told, "went_on": went_on, "times": times,
            "refusals": refusals, "dims": [int(side) for side in trt.Dims((-1, 1, 32, 32))],
            "support": TensorRTBackend().support("fp32").reason,
        }
    )
)  # fmt: skip
