"""From timed layers to shares and a label: effective precision is what ran, not what was asked for."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cxr_core.engines.contract import Effective, Layer
from cxr_core.refs import Precision

_NAMED = 0.05
_ALONE = 0.95


class TimedLayer(NamedTuple):
    """A layer with its time in any unit; only proportions are used. The rest as in ``Layer``."""

    name: str
    kind: str
    precision: str
    time: float
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    tactic: str = ""


def effective_from_layers(layers: Iterable[TimedLayer]) -> Effective:
    """Shares weighted by time. A layer faster than the clock's tick counts as a layer with no share.

    Nothing timed at all gives no shares and the label ``unknown``.
    """
    timed = list(layers)
    total = sum(layer.time for layer in timed) or float("inf")
    weights: Counter[str] = Counter()
    for layer in timed:
        weights[layer.precision] += layer.time / total  # type: ignore[assignment]  # Counter sums floats as well
    shares = {name: min(1.0, round(share, 6)) for name, share in weights.most_common() if share > 0}
    counts = {
        name: round(count / len(timed), 6) for name, count in Counter(one.precision for one in timed).most_common()
    }
    kept = []
    for layer in timed:
        about = layer._asdict()
        kept.append(Layer(share=about.pop("time") / total, **about))
    return Effective(
        shares=shares, weighted_by="time", layers=tuple(kept), label=precision_label(shares), counts=counts
    )


def precision_label(shares: Mapping[str, float]) -> str:
    """One name where it holds 95 % of the weight, else all above 5 %, largest first, joined by ``+``."""
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    if not ranked:
        return "unknown"
    if ranked[0][1] >= _ALONE:
        return ranked[0][0]
    return "+".join(name for name, share in ranked if share >= _NAMED)


def disagreement(requested: Precision, effective: Effective) -> str:
    """A sentence where the requested precision is not what mostly runs; empty where it is.

    TF32 is FP32 storage with rounded products: an inspector that reads storage types reports fp32 for it.
    """
    if not effective.shares or set(effective.shares) == {"unknown"}:
        return f"what {requested} really runs in could not be read back"
    asked = effective.shares.get(requested.value, 0.0)
    if requested is Precision.TF32 or asked >= 0.5:
        return ""
    others = {name: share for name, share in effective.shares.items() if name != requested.value}
    most = max(others, key=others.__getitem__)
    rest = f" and {asked:.0%} in {requested}" if asked >= 0.005 else ""
    return f"{requested} was asked for, {others[most]:.0%} of the time runs in {most}{rest}"
