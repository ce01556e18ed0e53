"""A rate above the device's peak is told with its arithmetic, and a probe that other load spoiled is repeated."""

import subprocess
import sys
from time import sleep

import numpy as np
import pytest

from cxr_core.bench.roofline import judged
from cxr_core.config import EngineConfig
from cxr_core.engines.processor import processors
from cxr_core.engines.registry import backend
from cxr_core.refs import Precision

P = Precision


class Probe:
    """Answers with what it was given for each arithmetic, in order; the last one for ever."""

    def __init__(self, **peaks: list[float | None]) -> None:
        self.peaks, self.asked = peaks, list[str]()

    def __call__(self, precision: Precision) -> float | None:
        self.asked.append(precision.value)
        left = self.peaks.get(precision.value, [None])
        return left.pop(0) if len(left) > 1 else left[0]


def test_an_engine_below_the_peak_is_asked_once() -> None:
    probe = Probe(fp32=[0.2], int8=[0.8])
    found = judged(P.INT8, 3000, 0.1, probe, {}, {})
    assert found.complaint == "" and found.needed == pytest.approx(0.3) and probe.asked == ["fp32", "int8"]
    assert found.measured == {P.FP32: 0.2, P.INT8: 0.8}


def test_one_above_it_with_the_margin_is_told_with_the_arithmetic() -> None:
    probe = Probe(fp32=[0.2])
    found = judged(P.FP32, 30_000, 0.1, probe, {}, {})
    assert found.complaint == (
        "30,000 images/s x 0.1 GFLOP = 3 TFLOP/s; the peak measured here is 0.2 TFLOP/s in fp32 x 1.5 for what a probe "
        "leaves out: 15.0 times the peak. It cannot have computed all these images"
    )
    assert probe.asked == ["fp32"] * 4


@pytest.mark.parametrize(("rate", "refused"), [(2990, False), (3010, True)])
def test_the_margin_is_one_and_a_half(rate: float, refused: bool) -> None:
    assert bool(judged(P.FP32, rate, 0.1, Probe(fp32=[0.2]), {}, {}).complaint) == refused


def test_the_highest_of_all_tries_counts() -> None:
    probe = Probe(fp32=[0.02, 0.2, 0.1])
    assert judged(P.FP32, 2900, 0.1, probe, {}, {}).complaint == "" and probe.asked == ["fp32"] * 2


def test_what_was_measured_before_is_measured_again_only_for_a_complaint() -> None:
    probe, before = Probe(fp32=[0.2], bf16=[0.6]), {P.FP32: 0.1}
    assert judged(P.FP32, 1000, 0.1, probe, {}, before).measured == before and probe.asked == []
    assert judged(P.BF16, 1000, 0.1, probe, {}, before).measured == before | {P.BF16: 0.6} and probe.asked == ["bf16"]
    found = judged(P.FP32, 2900, 0.1, probe, {}, before)
    assert found.measured == {P.FP32: 0.2} and found.complaint == "" and before == {P.FP32: 0.1}


def test_another_engine_s_arithmetic_is_no_peak_of_this_one() -> None:
    before = {P.FP32: 0.1, P.INT8: 1.0}  # as the engine in INT8 left it for its reference
    found = judged(P.FP32, 2900, 0.1, Probe(fp32=[0.1]), {}, before)
    assert found.measured == {P.FP32: 0.1} and "2.9 times" in found.complaint


def test_an_arithmetic_that_the_device_lacks_is_that_of_fp32() -> None:
    found = judged(P.BF16, 3010, 0.1, Probe(fp32=[0.2], bf16=[None]), {}, {})
    assert found.measured == {P.FP32: 0.2} and "in fp32" in found.complaint


def test_the_vendors_figure_is_a_limit_of_its_own() -> None:
    nothing = Probe()
    found = judged(P.INT8, 50_000, 3.0, nothing, {P.INT8: 130.0}, {})
    assert "= 150 TFLOP/s; the peak of the vendor's is 130 TFLOP/s in int8: 1.2 times the peak" in found.complaint
    assert judged(P.INT8, 40_000, 3.0, nothing, {P.INT8: 130.0}, {}).complaint == ""
    assert judged(P.INT8, 1e9, 3.0, nothing, {}, {}).complaint == ""  # nothing is known, nothing is said


def test_this_cpus_peaks_are_of_the_arithmetic_that_was_asked_for() -> None:
    openvino, config = backend("openvino"), EngineConfig(threads=1)
    for precision in (P.FP32, P.INT8, P.BF16):
        found = openvino.peak(precision, config=config, seconds=0.01)
        assert found is None if openvino.support(precision).level == "unsupported" else True
        assert found is None or (np.isfinite(found) and found > 1e-4)
    assert openvino.peak(P.FP32, config=config, seconds=0.01)
    assert openvino.peak(P.TF32, config=config, seconds=0.01) is None
    assert backend("onnxruntime").peak(P.FP32, config=config, seconds=0.01) is None


def test_other_load_takes_little_of_the_peak() -> None:
    """By the wall clock it took six sevenths of it, and engines measured before the load came were refused."""
    openvino, config = backend("openvino"), EngineConfig(threads=processors())
    busy = "import numpy as n\na = n.ones((700, 700))\nwhile True: a @ a"
    before = openvino.peak(P.FP32, config=config, seconds=0.2)
    load = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(2 * processors())]
    try:
        sleep(1.0)  # numpy is imported
        beside = openvino.peak(P.FP32, config=config, seconds=0.5)
    finally:
        for one in load:
            one.kill()
            one.wait()
    assert before and beside and beside > 0.4 * before


def test_more_threads_than_processors_make_no_higher_peak() -> None:
    openvino, all_of_them = backend("openvino"), processors()
    one, many = (
        openvino.peak(P.FP32, config=EngineConfig(threads=threads), seconds=0.2)
        for threads in (all_of_them, 8 * all_of_them)
    )
    assert one and many and many < 2 * one


def test_products_that_ran_in_another_arithmetic_are_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_core.engines.openvino import peak

    monkeypatch.setitem(peak._HINT, P.BF16, "f32")
    assert peak.peak_tera(P.BF16, 1, 0.01) is None
