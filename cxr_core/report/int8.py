"""The section on the search for INT8: what stays in FP32 so that the budget holds, and what that costs."""

from cxr_core.graphs.int8.found import Found, Size, Trial
from cxr_core.report.cells import number

Lines = list[list[str]]

_JUDGED_COLUMNS = ("mean |delta p|", "flips", "budget")
CALIBRATOR_COLUMNS = ("calibrator", *_JUDGED_COLUMNS)
TRIAL_COLUMNS = ("calibrator", "nodes left in FP32", "their share of the time", *_JUDGED_COLUMNS)
SIZE_COLUMNS = ("calibration images", *_JUDGED_COLUMNS)
SENSITIVITY_COLUMNS = ("node", "operator", "SQNR, dB", "share of the time", "runs in")
WORDS = (
    "Judged on training patients that neither calibration nor validation nor test holds; Q/DQ is computed as written. "
    "Time is estimated from each node's shapes, as a share of all that may be quantised; what an engine gains is in "
    "the decision table. SQNR: signal to quantisation noise of a node's output if it alone is quantised."
)
_RANKED = 15  # the worst; the record of the variant has them all


def section(found: Found | None) -> dict[str, object] | None:
    """What the page needs of it; None where there was no search."""
    if found is None:
        return None
    return {
        "answer": f"{answer(found)} {found.note}".rstrip(),
        "words": WORDS,
        "calibrator_columns": CALIBRATOR_COLUMNS,
        "calibrators": [[trial.calibrator, *_judged(trial)] for trial in found.calibrators],
        "size_columns": SIZE_COLUMNS,
        "sizes": [[str(size.images), *_judged(size)] for size in found.sizes],
        "trial_columns": TRIAL_COLUMNS,
        "curve": [_trial(trial) for trial in found.curve] if len(found.curve) > 1 else [],
        "sensitivity_columns": SENSITIVITY_COLUMNS,
        "sensitivity": _sensitivity(found),
        "sensitivity_title": f"The {min(_RANKED, len(found.sensitivity))} most sensitive nodes "
        f"of {len(found.sensitivity)}",
    }


def answer(found: Found) -> str:
    """One sentence: what was left, by which calibrator, and whether the budget holds."""
    chosen = found.chosen
    allowed = int(found.budget_flips * found.images)
    budget = f"mean |delta p| at most {found.budget_shift:g}, flips at most {allowed} of {found.images}"
    if not found.held:
        return (
            f"The budget ({budget}) cannot be held by leaving nodes in FP32; everything is quantised, by "
            f"{found.calibrator}, and moves the answers by {_shift(chosen)} with {chosen.flips} flipped."
        )
    left = f"{chosen.left} of {len(found.sensitivity)} nodes stay in FP32 ({chosen.time_share:.1%} of the time)"
    return (
        f"The budget ({budget}) holds by {found.calibrator}, with {_shift(chosen)} and {chosen.flips} flipped: "
        f"{left if chosen.left else 'no node has to stay in FP32 for it'}."
    )


def _shift(trial: Trial) -> str:
    return "no finite answer" if trial.shift is None else f"{trial.shift:.2g}"


def _trial(trial: Trial) -> list[str]:
    return [
        trial.calibrator,
        str(trial.left),
        f"{trial.time_share:.1%}",
        *_judged(trial),
    ]


def _judged(one: Trial | Size) -> list[str]:
    return [number(one.shift, 5), str(one.flips), "holds" if one.held else "broken"]


def _sensitivity(found: Found) -> Lines:
    return [
        [one.node, one.op, f"{one.sqnr_db:.1f}", f"{one.time_share:.1%}", "FP32" if one.left else "INT8"]
        for one in found.sensitivity[:_RANKED]
    ]
