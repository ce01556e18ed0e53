"""Signatures: a DSSE envelope (https://github.com/secure-systems-lab/dsse, protocol v1) with an Ed25519 key in PEM."""

import base64
import binascii
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from cxr_core.errors import RefusedError, UsageError
from cxr_core.release.manifest import bytes_from_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def pae(kind: str, payload: bytes) -> bytes:
    """What is signed, DSSE's pre-authentication encoding: ``"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body``."""
    named = kind.encode()
    return b" ".join([b"DSSEv1", str(len(named)).encode(), named, str(len(payload)).encode(), payload])


def signed(payload: bytes, key_file: Path) -> bytes:
    """The envelope with the payload in it. Ed25519 signatures are deterministic (RFC 8032), so this is too.

    Raises:
        UsageError: no Ed25519 private key without a password in that file.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(key_file), password=None)
    except (ValueError, TypeError) as error:
        raise _no_key(key_file, "private", str(error), "openssl genpkey -algorithm ed25519 -out key.pem") from error
    if not isinstance(key, Ed25519PrivateKey):
        found = f"it is a {type(key).__name__}"
        raise _no_key(key_file, "private", found, "openssl genpkey -algorithm ed25519 -out key.pem")
    signature = {"keyid": key_id(key.public_key()), "sig": _text(key.sign(pae(PAYLOAD_TYPE, payload)))}
    return bytes_from_json({"payload": _text(payload), "payloadType": PAYLOAD_TYPE, "signatures": [signature]})


def check(envelope: bytes, payload: bytes, key_file: Path) -> str:
    """The id of the key, if the envelope holds that payload, signed by it.

    Raises:
        UsageError: no Ed25519 public key in that file.
        RefusedError: no such signature.
    """
    from cryptography.exceptions import InvalidSignature

    key = _public(key_file)
    for signature in _signatures(envelope, payload):
        try:
            key.verify(_bytes(signature.get("sig")), pae(PAYLOAD_TYPE, payload))
        except InvalidSignature:
            continue
        return key_id(key)
    raise RefusedError(f"no signature in it is by the key {key_id(key)} in {key_file}")


def key_ids(envelope: bytes, payload: bytes) -> list[str]:
    """Who claims to have signed; nothing is checked but that it is this payload.

    Raises:
        RefusedError: no envelope of this payload.
    """
    return [str(signature.get("keyid")) for signature in _signatures(envelope, payload)]


def key_id(key: "Ed25519PublicKey") -> str:
    """The sha256 of the public key's DER (SubjectPublicKeyInfo), in hex. A hint for the reader, and no proof."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _signatures(envelope: bytes, payload: bytes) -> list[dict[str, Any]]:
    try:
        content = from_json(envelope, allow_inf_nan=False)
        canonical = bytes_from_json(content) == envelope
        kind, carried, signatures = content["payloadType"], _bytes(content["payload"]), content["signatures"]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"provenance.dsse.json is no DSSE envelope: {error}") from error
    if kind != PAYLOAD_TYPE or carried != payload:
        raise RefusedError("provenance.dsse.json signs something else than the provenance.json beside it")
    if not isinstance(signatures, list) or not all(isinstance(one, dict) for one in signatures) or not signatures:
        raise RefusedError("provenance.dsse.json holds no signature")
    if not canonical:
        raise RefusedError("provenance.dsse.json is not in the spelling that is written")
    return signatures


def _public(key_file: Path) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    mend = "openssl pkey -in key.pem -pubout -out key.pub"
    try:
        key = load_pem_public_key(_read(key_file))
    except ValueError as error:
        raise _no_key(key_file, "public", str(error), mend) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(key_file, "public", f"it is a {type(key).__name__}", mend)
    return key


def _no_key(file: Path, kind: str, found: str, mend: str) -> UsageError:
    return UsageError(f"{file} is no Ed25519 {kind} key in PEM without a password ({found}); make one: {mend}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"the key {file} cannot be read: {error.strerror}") from error


def _text(data: bytes) -> str:
    return base64.standard_b64encode(data).decode()


def _bytes(text: Any) -> bytes:
    """Base64 in one of its two alphabets, as DSSE demands of a reader."""
    if not isinstance(text, str):
        raise RefusedError("provenance.dsse.json holds something else than base64")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(f"provenance.dsse.json holds what is no base64: {error}") from error
