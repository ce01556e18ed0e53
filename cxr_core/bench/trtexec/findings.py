"""What logs do not show, though they seem to: all rules over one case.

A rule looks at all measurements and yields a finding for each precision that it concerns, and for no other. Where it
lacks what it needs, it says what.
"""

from collections.abc import Callable, Iterator

from cxr_core.bench.trtexec import claims, rates
from cxr_core.bench.trtexec.case import Case, Finding, NotApplied

RULES: tuple[Callable[[Case], Iterator[Finding | NotApplied]], ...] = (
    rates.batch_multiplied,
    rates.throughput_contradicted,
    rates.above_roofline,
    rates.weights_not_lowered,
    rates.precision_not_run,
    rates.precision_unsupported,
    rates.too_few_queries,
    claims.claim_contradicted,
    claims.noise_exceeds_difference,
    claims.accuracy_within_noise,
    claims.wrong_sample_size,
)


def findings(case: Case) -> tuple[list[Finding], list[NotApplied]]:
    """Everything that the rules find, and what they could not judge, in the order of the rules."""
    said = [one for rule in RULES for one in rule(case)]
    return [one for one in said if isinstance(one, Finding)], [one for one in said if isinstance(one, NotApplied)]
