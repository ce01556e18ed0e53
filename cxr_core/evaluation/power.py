"""What a test split of this size can show at all."""

import math

from cxr_core.evaluation.metrics import Rate
from cxr_core.evaluation.paired import Z_95, mcnemar_exact
from cxr_core.refs import Frozen


class Power(Frozen):
    """``smallest_bound``: the loss that stays possible even when no decision changes (one-sided 95 %).

    ``images_needed``: the fewest images on which that bound is inside the margin.
    ``significant_from``: the fewest one-sided changes that McNemar's exact test calls significant at 5 %.
    """

    images: int
    patients: int
    one_image: Rate
    smallest_bound: Rate
    images_needed: int
    significant_from: int
    sentence: str


def power(images: int, patients: int, margin: float) -> Power:
    """Resolution of a paired comparison on ``images`` images against an accuracy ``margin`` (a share).

    With no changed decision Tango's score bound is z^2 / (n + z^2) (Tango 1998, Stat. Med. 17:891).
    """
    bound = Z_95**2 / (images + Z_95**2)
    needed = math.floor(Z_95**2 * (1 - margin) / margin) + 1
    changes = next(n for n in range(1, 64) if mcnemar_exact(n, 0) < 0.05)
    sentence = (
        f"{images} test images of {patients} patients: one image is {100 / images:.2f} points of accuracy. Even if no "
        f"decision changes, a loss of up to {100 * bound:.2f} points stays possible (margin {100 * margin:.2f}, "
        f"which takes at least {needed} images). Fewer than {changes} changed decisions "
        f"({100 * changes / images:.2f} points) are never a significant difference."
    )
    return Power(
        images=images,
        patients=patients,
        one_image=1 / images,
        smallest_bound=bound,
        images_needed=needed,
        significant_from=changes,
        sentence=sentence,
    )
