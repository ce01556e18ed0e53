"""Sealed JSON documents that name artifacts: run accounts and pins."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from cxr_core.errors import UsageError
from cxr_core.refs import Ref
from cxr_core.store.disk import read_file, translated, write_atomic
from cxr_core.store.layout import Layout
from cxr_core.store.seals import sealed, unsealed

_ANY_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")


def write_document(layout: Layout, path: Path, content: Mapping[str, Any], doing: str) -> None:
    """Writes a document whole or not at all.

    Raises:
        UsageError: the content is not plain JSON.
        StoreError: the store cannot be written.
    """
    try:
        data = sealed(json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path.name} must be plain JSON without NaN: {error}") from error
    with translated(layout.root, doing, len(data)):
        write_atomic(path, data, layout.tmp)


def read_document(path: Path) -> dict[str, Any]:
    """The content of a document.

    Raises:
        OSError: it cannot be read.
        ValueError: torn, damaged or foreign.
    """
    return document_from_bytes(read_file(path))


def document_from_bytes(data: bytes) -> dict[str, Any]:
    """The content in the bytes of a document.

    Raises:
        ValueError: torn, damaged or foreign.
    """
    content = from_json(unsealed(data))
    if not isinstance(content, dict):
        raise ValueError(f"expected a mapping, found {type(content).__name__}")
    return content


def refs_in(content: Any) -> Iterator[Ref]:
    """Every ref anywhere in a document, in the order in which they stand."""
    if isinstance(content, dict):
        if {"form", "digest", "size", "name"} <= content.keys():
            try:
                yield Ref.model_validate(content)
            except ValidationError:
                pass
            else:
                return
        for value in content.values():
            yield from refs_in(value)
    elif isinstance(content, list):
        for value in content:
            yield from refs_in(value)


def digests_in(data: bytes) -> set[str]:
    """Everything in the bytes that looks like a digest: what can be saved of a damaged document."""
    return {found.decode() for found in _ANY_DIGEST.findall(data)}
