"""calibration: the INT8 calibration set, from training patients only."""

from cxr_core.config import CalibrationConfig
from cxr_core.refs import Record
from tasks.stage import Arguments, stage


@stage("calibration", core="cxr_core.data.calibration:calibration", packages=("numpy", "pandas"))
def calibration(frozen: Record, config: CalibrationConfig) -> Arguments:
    return {"tensors": frozen.output("tensors"), "config": config}
