"""OpenVINO itself, without its telemetry."""

import sys
from typing import Any, cast


def library() -> Any:
    """The module ``openvino``.

    Importing it reports to a server on the internet as soon as the package ``openvino_telemetry`` is
    there, which it always is, and holds up the exit of the process for 3 s. Where that package
    cannot be imported OpenVINO takes a stub of its own that does nothing.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = cast(Any, None)
    import openvino

    return openvino
