"""Rules about what is claimed, and about accuracies: whether the figures carry it."""

import math
from collections.abc import Iterator
from statistics import median

from cxr_core.bench.trtexec.accuracy import sample_size
from cxr_core.bench.trtexec.case import Case, Finding, NotApplied
from cxr_core.bench.trtexec.context import Claim

_SIGNIFICANT = 0.05


def claim_contradicted(case: Case) -> Iterator[Finding | NotApplied]:
    """A gain is claimed, and the figures that it is claimed of show a loss."""
    for claim in case.context.claims:
        pair = _rates(case, claim) if claim.metric == "throughput" else _accuracies(case, claim)
        if pair is None:
            what = "a log" if claim.metric == "throughput" else "an accuracy"
            lacks = f"{what} of {claim.precision.value} and of {claim.over.value}"
            yield NotApplied(rule="claim-contradicted", precision=claim.precision.value, lacks=lacks)
        elif pair[0] < pair[1]:
            first, second = (f"{value:,.6g}" for value in pair)
            claimed = f"{claim.percent:g} %" if claim.percent is not None else f"{claim.points:g} points"
            yield Finding(
                rule="claim-contradicted",
                precision=claim.precision.value,
                severity="warning",
                arithmetic=f"{claim.metric} {first} < {second} of {claim.over.value}; {claimed} more is claimed",
                says=f"These figures show a loss of {claim.metric} where a gain is claimed.",
            )


def _rates(case: Case, claim: Claim) -> tuple[float, float] | None:
    """Images/s really answered, the median of a precision's runs: what ``--batch`` was multiplied in may differ."""
    mine, others = ([one.answered_per_second for one in case.of(kind)] for kind in (claim.precision, claim.over))
    return (median(mine), median(others)) if mine and others else None


def _accuracies(case: Case, claim: Claim) -> tuple[float, float] | None:
    mine, other = case.accuracies.get(claim.precision), case.accuracies.get(claim.over)
    return (mine.value, other.value) if mine and other else None


def noise_exceeds_difference(case: Case) -> Iterator[Finding | NotApplied]:
    """A gain in throughput is claimed from one run each, and is smaller than the spread of their queries."""
    for claim in _claims(case, "throughput"):
        mine, others = case.of(claim.precision), case.of(claim.over)
        if len(mine) != 1 or len(others) != 1:
            continue  # with several runs each, how they differ from each other is the question
        if mine[0].variation is None and others[0].variation is None:
            # Printed above a limit only, and by 8.2 never.
            lacks = "the coefficient of variation: neither log prints one; export the times of every query"
            yield NotApplied(rule="noise-exceeds-difference", precision=claim.precision.value, lacks=lacks)
            continue
        spreads = [one.variation or 0.0 for one in (mine[0], others[0])]
        noise, percent = math.hypot(*spreads), claim.percent or 0.0
        if percent < noise:
            yield Finding(
                rule="noise-exceeds-difference",
                precision=claim.precision.value,
                severity="warning",
                arithmetic=f"sqrt({spreads[0]:g}^2 + {spreads[1]:g}^2) = {noise:.1f} % > {percent:g} % claimed over "
                f"{claim.over.value}; one run each",
                says="Queries of one run differ by more than the gain, and how much runs differ from each other is "
                "unknown: nothing shows that a second pair of runs would say the same. Alternate both engines in "
                "rounds and give the ratio with its interval.",
            )


def accuracy_within_noise(case: Case) -> Iterator[Finding | NotApplied]:
    """A gain in accuracy is claimed that two independent samples of that size do not show."""
    sized = _sample(case)
    for claim in _claims(case, "accuracy"):
        pair = _accuracies(case, claim)
        if pair is None:
            continue  # ``claim_contradicted`` says so
        if sized is None:
            lacks = "how many images: no sum of the dataset's splits fits the accuracies"
            yield NotApplied(rule="accuracy-within-noise", precision=claim.precision.value, lacks=lacks)
            continue
        total = sized[0]
        right = [round(value * total) for value in pair]
        statistic, chance = two_proportions(right[0], right[1], total)
        if chance >= _SIGNIFICANT:
            difference = right[0] - right[1]
            yield Finding(
                rule="accuracy-within-noise",
                precision=claim.precision.value,
                severity="warning",
                arithmetic=f"{right[0]} and {right[1]} right of {total}: z = {statistic:.2f}, p = {chance:.3f} (two "
                "proportions, two-sided, unpaired)",
                says=f"{abs(difference)} images {'fewer' if difference < 0 else 'more'} than {claim.over.value} are "
                "within chance at this size. The answers of both engines to the same images would tell more: compare "
                "them pairwise.",
            )


def wrong_sample_size(case: Case) -> Iterator[Finding | NotApplied]:
    """An accuracy is no whole number of right answers of the images that it is said to be of."""
    dataset, evaluated = case.context.dataset, case.context.evaluated
    if evaluated not in dataset:
        if case.accuracies:
            yield NotApplied(rule="wrong-sample-size", precision="", lacks=f"dataset: {{{evaluated}: images}}")
        return
    stated = dataset[evaluated]
    sized = sample_size(case.accuracies.values(), dataset)
    for precision, printed in case.accuracies.items():
        if printed.right_of(stated) is not None:
            continue
        near = round(printed.value * stated)
        fits = (
            f"; {printed.right_of(sized[0])}/{sized[0]} ({sized[1]}) is"
            if sized is not None
            else "; nor is any sum of the splits"
        )
        yield Finding(
            rule="wrong-sample-size",
            precision=precision.value,
            severity="error",
            arithmetic=f"{near}/{stated} = {near / stated:.6f} is not {printed.value:g}{fits}",
            says=f"The accuracy is not of the {stated} images of {evaluated}."
            + (f" It fits {sized[0]} images: {sized[1]}." if sized is not None else ""),
        )


def two_proportions(first: int, second: int, total: int) -> tuple[float, float]:
    """z and two-sided p of the pooled test of two independent proportions, each of ``total``.

    z = (p1 - p2) / sqrt(2 p (1 - p) / n) with p pooled (Fleiss, Levin, Paik, "Statistical Methods for Rates and
    Proportions", 3.2, without continuity correction). Equal counts give 0 and 1.
    """
    from scipy.stats import norm

    pooled = (first + second) / (2 * total)
    error = math.sqrt(2 * pooled * (1 - pooled) / total)
    if first == second or error == 0:
        return 0.0, 1.0
    statistic = (first - second) / total / error
    return statistic, float(2 * norm.sf(abs(statistic)))


def _claims(case: Case, metric: str) -> Iterator[Claim]:
    return (claim for claim in case.context.claims if claim.metric == metric)


def _sample(case: Case) -> tuple[int, str] | None:
    """The images that the accuracies can be of: those they are said to be of, else the fewest of any splits."""
    stated = case.context.dataset.get(case.context.evaluated)
    if stated and all(one.right_of(stated) is not None for one in case.accuracies.values()):
        return stated, case.context.evaluated
    return sample_size(case.accuracies.values(), case.context.dataset)
