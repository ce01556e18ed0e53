"""What is judged, and what a rule may say of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cxr_core.bench.trtexec.accuracy import Printed
from cxr_core.bench.trtexec.cards import CARDS, Card, card_named, card_of
from cxr_core.bench.trtexec.context import Context
from cxr_core.bench.trtexec.measured import Measured
from cxr_core.refs import Frozen, Precision


class Finding(Frozen):
    """``error``: the figure is not what it says. ``warning``: it does not carry what is read into it."""

    rule: str
    precision: str
    severity: Literal["error", "warning"]
    arithmetic: str
    says: str


class NotApplied(Frozen):
    """A rule that could not judge a precision ("" where it judges none of them alone), and what it lacked."""

    rule: str
    precision: str
    lacks: str


@dataclass(frozen=True)
class Case:
    """All that is known: the measurements, the context, and accuracies by precision."""

    measurements: Sequence[Measured]
    context: Context = field(default_factory=Context)
    accuracies: Mapping[Precision, Printed] = field(default_factory=dict)

    def card(self, one: Measured) -> Card | None:
        """The card that a log ran on: by the log's own words, except where only the context states such a card."""
        named, stated = one.log.device, self.context.device
        if named is None:
            return self.context.card
        alike = isinstance(stated, Card) and stated.capability == named.capability
        return self.context.card if alike and card_named(named.name) is None else card_of(named)

    def without_card(self) -> str:
        """What is lacking where there is no card."""
        device = self.context.device
        if device is None:
            return "the card: no log names it, nor does the context's device"
        return (
            f"the card: {device} is none of the {len(CARDS)} known ones; state it in the context, "
            "device: {name, capability, peak}"
        )

    def of(self, precision: Precision) -> list[Measured]:
        """The measurements of a precision."""
        return [one for one in self.measurements if one.precision is precision]
