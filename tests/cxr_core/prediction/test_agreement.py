"""The interval is that of the tenth in which the test images were scored alike, or it is left out with a reason."""

import pytest

from cxr_core.evaluation.intervals import wilson
from cxr_core.prediction.agreement import Agreement
from tests.cxr_core.prediction.conftest import METADATA, REPORT


def test_it_is_wilsons_interval_of_the_tenth() -> None:
    found = Agreement.of_report(REPORT, METADATA)
    assert found.reason == ""
    assert found.share(0.51) == found.share(0.599) == (*wilson(6, 10), 10)
    assert found.share(0.9) == found.share(1.0) == (*wilson(190, 200), 200)
    assert found.share(0.3) is None


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({}, "ONNX file alone"),
        ({**REPORT, "model": {"weights_digest": "sha256:" + "b" * 64}}, "other weights"),
        ({**REPORT, "model": None}, "other weights"),
        ({**REPORT, "reference": None}, "no answers"),
        ({**REPORT, "reference": {"calibration": [{"predicted": 3}]}}, "no answers"),
    ],
)
def test_without_them_it_is_left_out_with_a_reason(report: dict[str, object], words: str) -> None:
    found = Agreement.of_report(report, METADATA)
    assert words in found.reason
    assert found.share(0.95) is None
