"""A JSON document that proves its own bytes: its digest is spliced in as a last member, ``seal``.

The file stays one JSON document for every other reader, and any flipped bit, cut or merge shows.
"""

import hashlib
import re

_TAIL = re.compile(rb',"seal":"(sha256:[0-9a-f]{64})"\}\n')
_TAIL_LENGTH = len(',"seal":"sha256:"}\n') + 64


def digest_of(data: bytes) -> str:
    """``sha256:<64 hex>`` of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def sealed(document: bytes) -> bytes:
    """The document with its seal. Blanks around it are dropped.

    Raises:
        ValueError: not a JSON object with at least one member (only its outside is looked at).
    """
    body = document.strip()
    if not (body.startswith(b"{") and body.endswith(b"}") and body[1:-1].strip()):
        raise ValueError("expected a JSON object with at least one member")
    return body[:-1] + f',"seal":"{digest_of(body)}"}}\n'.encode()


def unsealed(data: bytes) -> bytes:
    """The document that was sealed, byte for byte.

    Raises:
        ValueError: no seal, or not the seal of these bytes.
    """
    found = _TAIL.fullmatch(data[-_TAIL_LENGTH:])
    if found is None:
        raise ValueError("torn or foreign: it does not end with a seal")
    body = data[:-_TAIL_LENGTH] + b"}"
    if digest_of(body).encode() != found[1]:
        raise ValueError("damaged: its bytes do not have the digest in its seal")
    return body
