"""Artifact references and stage records: the only values that travel between tasks."""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, field_validator

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Precision(StrEnum):
    """The numeric precisions that a branch can be asked for."""

    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"


class Frozen(BaseModel):
    """A frozen value: its invariants are checked at birth, an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Ref(Frozen):
    """Names one artifact in the store.

    ``form`` is ``blob`` for a file and ``tree`` for a folder (the digest is then that of its
    canonical listing). ``size`` is in bytes; for a tree it is the sum over its files. ``name`` is
    the file name under which a stage finds the artifact. ``facts`` are a few small values worth
    having without opening the artifact; they are no part of its identity.
    """

    form: Literal["blob", "tree"]
    digest: Digest
    size: Annotated[int, Field(ge=0)]
    name: str
    facts: dict[str, JsonValue] = {}

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"artifact name {value!r} is not a plain file name ([A-Za-z0-9._-], at most 200)")
        return value


class Record(Frozen):
    """What a finished stage leaves: the only account of it. Prefect persists it as JSON.

    ``parts`` are the readable parts that the content key was made of, so that a later miss can be
    explained field by field. ``environment`` describes where it ran and is no part of the key.
    """

    schema_version: Literal[1] = 1
    stage: str
    key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    parts: dict[str, JsonValue]
    outputs: dict[str, Ref]
    facts: dict[str, JsonValue] = {}
    seconds: float
    environment: dict[str, JsonValue] = {}

    def output(self, name: str) -> Ref:
        """The output of that name.

        Raises:
            KeyError: the stage left no such output; the message lists what it left.
        """
        try:
            return self.outputs[name]
        except KeyError:
            raise KeyError(f"stage {self.stage} left {sorted(self.outputs)}, not {name!r}") from None
