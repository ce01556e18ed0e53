"""What a test split of this size can show at all."""

import math

from cxr_core.config import CompareConfig
from cxr_core.evaluation.differences import Z_95, null_variance
from cxr_core.evaluation.metrics import Rate
from cxr_core.evaluation.paired import mcnemar_exact
from cxr_core.evaluation.scores import Scores
from cxr_core.refs import Frozen

POWER = 0.80
_Z_POWER = 0.8416212335729143  # normal quantile of POWER


class Resolution(Frozen):
    """What one figure's images can show against a ``margin``.

    ``smallest_bound``: the loss that stays possible even when no decision changes (one-sided 95 %).
    ``smallest_difference``: the smallest true loss that a test at 5 % finds with 80 % power, if nothing is
    gained and images of one patient change independently; ``smallest_difference_patients``: if they change together.
    ``images_needed``: the fewest images on which ``smallest_bound`` is inside the margin.
    ``needed``: images on which an engine without a loss, whose flips use up their budget, is shown not to be inferior
    with 80 % power; as many patients, if images of one patient change together.
    """

    figure: str
    images: int
    patients: int
    margin: float
    smallest_bound: Rate
    smallest_difference: Rate | None
    smallest_difference_patients: Rate | None
    images_needed: int
    needed: int


class Power(Frozen):
    """Of accuracy, and in ``by_figure`` of sensitivity and specificity too, whose images are fewer.

    ``significant_from``: the fewest one-sided changes that McNemar's exact test calls significant at 5 %.
    """

    images: int
    patients: int
    one_image: Rate
    smallest_bound: Rate
    images_needed: int
    significant_from: int
    by_figure: tuple[Resolution, ...]
    sentence: str


def power(scores: Scores, config: CompareConfig) -> Power:
    """Resolution of a paired comparison on these images against the stated margins."""
    sensitivity = config.sensitivity_margin or config.accuracy_margin
    ill = scores.label == 1
    found = [
        resolution("accuracy", len(scores), len(scores.patients), config.accuracy_margin, config.flips_share),
        *(
            resolution(name, int(chosen.sum()), len(set(scores.patient[chosen].tolist())), margin, config.flips_share)
            for name, chosen, margin in (
                ("sensitivity", ill, sensitivity),
                ("specificity", ~ill, config.accuracy_margin),
            )
        ),
    ]
    first, changes = found[0], significant_from()
    return Power(
        images=first.images,
        patients=first.patients,
        one_image=1 / first.images,
        smallest_bound=first.smallest_bound,
        images_needed=first.images_needed,
        significant_from=changes,
        by_figure=tuple(found),
        sentence=_sentence(first, changes, config),
    )


def resolution(figure: str, images: int, patients: int, margin: float, flips: float) -> Resolution:
    """With no changed decision Tango's score bound is z^2 / (n + z^2) (Tango 1998, Stat. Med. 17:891).

    ``needed`` is ((z_0.95 s_0 + z_0.80 s_1) / margin)^2 with the deviation of one image at the margin and at no
    difference (Liu, Hsueh, Hsieh and Chen 2002, Stat. Med. 21:231), but not fewer than ``images_needed``.
    """
    deviations = Z_95 * math.sqrt(null_variance(flips / 2, flips / 2, 1, -margin)) + _Z_POWER * math.sqrt(flips)
    floor = math.floor(Z_95**2 * (1 - margin) / margin) + 1
    return Resolution(
        figure=figure,
        images=images,
        patients=patients,
        margin=margin,
        smallest_bound=Z_95**2 / (images + Z_95**2),
        smallest_difference=_smallest_difference(images),
        smallest_difference_patients=_smallest_difference(patients),
        images_needed=floor,
        needed=max(floor, math.ceil((deviations / margin) ** 2)),
    )


def significant_from() -> int:
    """The fewest changes, all in one direction, that the exact test calls significant at 5 %."""
    return next(n for n in range(1, 64) if mcnemar_exact(n, 0) < 0.05)


def _smallest_difference(count: int) -> float | None:
    """The share of losses at which ``significant_from`` of them occur among ``count`` with the stated power."""
    from scipy.optimize import brentq
    from scipy.special import bdtrc

    fewest = significant_from() - 1  # bdtrc is the chance of more than so many
    if count <= fewest:
        return None
    return float(brentq(lambda share: bdtrc(fewest, count, share) - POWER, 1e-9, 1 - 1e-9))


def _sentence(found: Resolution, changes: int, config: CompareConfig) -> str:
    images, margin = found.images, found.margin
    largest = found.smallest_difference_patients
    shown = (
        "No loss is large enough to be found with 80 % power"
        if found.smallest_difference is None
        else f"The smallest loss that is found with 80 % power is {100 * found.smallest_difference:.2f} points"
        + (f" ({100 * largest:.2f} if images of a patient change together)" if largest is not None else "")
    )
    return (
        f"{images} test images of {found.patients} patients: one image is {100 / images:.2f} points of accuracy. Even "
        f"if no decision changes, a loss of up to {100 * found.smallest_bound:.2f} points stays possible (margin "
        f"{100 * margin:.2f}, which takes at least {found.images_needed} images, and {found.needed} if "
        f"{100 * config.flips_share:.2g} % of the decisions change without a loss, or as many patients if the images "
        f"of each change together). {shown}. Fewer than {changes} changed decisions ({100 * changes / images:.2f} "
        "points) are never a significant difference."
    )
