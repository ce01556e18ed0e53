"""``bundle.json``: what a bundle holds, and where in it."""

import json
from typing import Annotated, Any, Literal

from pydantic import FailFast, StringConstraints, ValidationError, model_validator

from cxr_core.refs import Frozen, Ref
from cxr_core.store.seals import digest_of
from cxr_core.store.trees import Entry, bytes_from_entries

FILES = "files/"
"""Where a bundle's content lies, so that no file of it can stand for one of the manifest."""

RUN_FILE = "run.json"

BundleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Held(Frozen):
    """An artifact, and the file or the folder (empty: the whole) under ``files/`` that it is."""

    ref: Ref
    path: str


class Bundle(Frozen):
    """``files`` are all members under ``files/``, sorted, by their names there. ``lost`` was not in the store."""

    schema_version: Literal[1] = 1
    kind: Literal["release", "artifact", "run"]
    name: BundleName
    artifacts: Annotated[tuple[Held, ...], FailFast()]
    files: Annotated[tuple[Entry, ...], FailFast()]
    lost: Annotated[tuple[Ref, ...], FailFast()] = ()

    @model_validator(mode="after")
    def _names_may_be_kept(self) -> "Bundle":
        bytes_from_entries(self.files)
        if list(self.files) != sorted(self.files, key=lambda entry: entry.name):
            raise ValueError("files are not sorted by name")
        return self

    def inside(self, held: Held) -> tuple[Entry, ...]:
        """The files of an artifact, named as in it."""
        if held.ref.form == "blob":
            found = (entry for entry in self.files if entry.name == held.path)
            return tuple(entry.model_copy(update={"name": held.ref.name}) for entry in found)
        prefix = f"{held.path}/" if held.path else ""
        found = (entry for entry in self.files if entry.name.startswith(prefix))
        return tuple(entry.model_copy(update={"name": entry.name.removeprefix(prefix)}) for entry in found)

    def problems(self) -> list[str]:
        """Artifacts that the files do not make up, and files of no artifact."""
        found, spoken_for = [], {RUN_FILE} if self.kind == "run" else set()
        for held in self.artifacts:
            entries = self.inside(held)
            prefix = f"{held.path}/" if held.path else ""
            tree = held.ref.form == "tree"
            spoken_for |= {prefix + entry.name for entry in entries} if tree else {held.path}
            digest = digest_of(bytes_from_entries(entries)) if tree else "".join(entry.digest for entry in entries)
            if (digest, sum(entry.size for entry in entries)) != (held.ref.digest, held.ref.size):
                found.append(f"artifact {held.ref.name}: its files make {digest or 'nothing'}, not {held.ref.digest}")
        surplus = sorted({entry.name for entry in self.files} - spoken_for)
        return found + [f"{FILES}{name} is no part of any artifact" for name in surplus]


def bytes_from_json(content: Any) -> bytes:
    """JSON as everything in a bundle is written: sorted, indented, no NaN, one newline at the end."""
    return (json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def bundle_from_bytes(data: bytes) -> Bundle:
    """The bundle in a ``bundle.json``.

    Raises:
        ValueError: not one, of a newer version, or not in the one spelling that it has.
    """
    try:
        bundle = Bundle.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'bundle'}: {first['msg']}") from None
    if bytes_from_json(bundle.model_dump(mode="json")) != data:
        raise ValueError("not in the spelling that is written: spaces, order or a repeated field differ")
    return bundle
