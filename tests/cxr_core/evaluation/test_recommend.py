import pytest

from cxr_core.evaluation.intervals import Interval
from cxr_core.evaluation.recommend import recommended_by_backend
from cxr_core.evaluation.rows import Row


def _choose(*rows, fake=()):
    made = [
        Row.model_validate(
            {
                "precision": precision,
                "backend": backend,
                "verdict": verdict,
                "device": "FAKE device" if backend in fake else "a CPU",
                "effective_precision": effective,
                "ratio_to_reference": Interval(value=ratio, low=ratio - 0.05, high=ratio + 0.05) if ratio else None,
            }
        )
        for precision, backend, verdict, ratio, effective in rows
    ]
    return [f"{c.precision}@{c.backend}" for c in recommended_by_backend(made)]


FP32 = ("fp32", "a", "pass", 1.0, "fp32")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([FP32, ("int8", "a", "pass", 3.0, "fp32+int8"), ("bf16", "a", "pass", 2.0, "bf16")], ["int8@a"]),
        ([FP32, ("int8", "a", "fail", 3.0, "int8"), ("bf16", "a", "pass", 2.0, "bf16")], ["bf16@a"]),
        ([FP32, ("int8", "a", "inconclusive", 3.0, "int8")], ["fp32@a"]),
        ([FP32, ("bf16", "a", "pass", 1.04, "bf16")], ["fp32@a"]),  # not shown to be faster
        ([FP32, ("int8", "a", "pass", 3.0, "fp32")], ["fp32@a"]),  # INT8 was asked for, FP32 runs
        ([FP32, ("int8", "a", "pass", None, "int8")], ["fp32@a"]),
        ([("bf16", "a", "pass", 0.9, "bf16"), ("fp16", "a", "pass", 0.7, "fp16")], ["bf16@a"]),
        ([("int8", "a", "fail", 3.0, "int8")], []),
        # Each backend by itself, in the order of the rows, whatever the figures of the other are.
        ([FP32, ("fp32", "b", "pass", 1.0, "fp32"), ("int8", "b", "pass", 9.0, "int8")], ["fp32@a", "int8@b"]),
    ],
)
def test_the_fastest_that_passed(rows, expected):
    assert _choose(*rows) == expected


def test_no_double():
    assert _choose(FP32, ("int8", "b", "pass", 3.0, "int8"), fake=("b",)) == ["fp32@a"]
