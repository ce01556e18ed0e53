"""What a log cannot hold: the card, the model, engine sizes, the data set, and what was claimed. A YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from cxr_core.bench.trtexec.cards import Card, card_named
from cxr_core.bench.trtexec.files import read_file
from cxr_core.config import parse_yaml
from cxr_core.errors import UsageError
from cxr_core.refs import Frozen, Precision

# Far above anything real, and far below where arithmetic overflows.
Count = Annotated[int, Field(gt=0, le=10**15)]
Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FileName = Annotated[str, Field(pattern=r"^[^\x00]+$")]
Splits = Annotated[Mapping[str, Count], Field(max_length=12)]  # all of their sums are tried


class KnownLog(Frozen):
    """One log: whose precision it is, the size of its engine file in bytes, and the files exported beside it:
    ``--exportTimes``, ``--exportLayerInfo`` and ``--exportProfile``."""

    precision: Precision
    log: FileName
    engine_bytes: Count | None = None
    times: FileName | None = None
    layers: FileName | None = None
    profile: FileName | None = None


class Claim(Frozen):
    """A statement to be judged: ``percent`` more throughput, or ``points`` (of 100) more accuracy, over a precision."""

    precision: Precision
    over: Precision
    metric: Literal["throughput", "accuracy"]
    percent: Size | None = None
    points: Size | None = None

    @model_validator(mode="after")
    def _measured(self) -> "Claim":
        wanted = "percent" if self.metric == "throughput" else "points"
        other = "points" if wanted == "percent" else "percent"
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"a claim of {self.metric} is stated in {wanted}")
        if self.precision == self.over:
            raise ValueError("a claim compares two precisions")
        return self


class Context(Frozen):
    """``device`` is a known card's name or a card stated in full. ``gflop_per_image`` counts a multiply-add as two.

    ``input`` is the engine's input without its batch. ``dataset`` gives images by split; accuracies are said to be of
    ``evaluated``. File names are relative to the context file.
    """

    device: str | Card | None = None
    model: str | None = None
    input: tuple[Count, ...] | None = None
    gflop_per_image: Size | None = None
    parameters: Count | None = None
    dataset: Splits = Field(default_factory=dict)
    evaluated: str = "test"
    accuracy_log: FileName | None = None
    logs: tuple[KnownLog, ...] = ()
    claims: tuple[Claim, ...] = ()

    @property
    def card(self) -> Card | None:
        """The card, if it is known or stated."""
        return card_named(self.device) if isinstance(self.device, str) else self.device

    @property
    def other_files(self) -> tuple[str, ...]:
        """Names of files that are no logs of trtexec."""
        beside = (name for one in self.logs for name in (one.times, one.layers, one.profile))
        return tuple(filter(None, (self.accuracy_log, *beside)))


def read_context(path: Path) -> Context:
    """The context in a YAML file.

    Raises:
        UsageError: it cannot be read, is no YAML, or has a field that there is not; the message names the field.
    """
    try:
        found = parse_yaml(read_file(path).decode())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); name a YAML file with --context") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML: {error}") from error
    try:
        return Context.model_validate(found if found is not None else {})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        fields = ", ".join(Context.model_fields)
        raise UsageError(f"{path}: {place}: {first['msg']}; a context may say {fields}") from error
