"""Signatures and statements, against the texts of DSSE, in-toto and SLSA."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key
from google.protobuf.json_format import ParseError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from cxr_core.errors import RefusedError, UsageError
from cxr_core.refs import Ref
from cxr_core.release.envelope import check, pae, signed
from cxr_core.release.licences import licence_of, notes, weights_note
from cxr_core.release.manifest import bytes_from_json
from cxr_core.release.packing import pack
from cxr_core.release.proof import prove
from cxr_core.release.statement import Provenance, packages_of, problems, statement
from cxr_core.store import Store
from tests.cxr_core.release.conftest import MADE, bundle_of, read_by_in_toto, write_keys

Keys = tuple[Path, Path]


def test_what_is_signed_is_as_the_protocol_says() -> None:
    """The example in DSSE's protocol.md."""
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_signed_bundle_is_proven_by_its_key_and_no_other(store: Store, tree: Ref, keys: Keys, tmp_path: Path) -> None:
    private, public = keys
    one = pack(store, bundle_of(store, tree), MADE, tmp_path / "one.tar", private).file
    two = pack(store, bundle_of(store, tree), MADE, tmp_path / "two.tar", private).file
    assert one.read_bytes() == two.read_bytes()
    assert prove(one, public).key_id is not None
    assert "NOT CHECKED" in prove(one).signature
    with pytest.raises(RefusedError, match="no signature in it is by the key"):
        prove(one, write_keys(tmp_path, "other")[1])


def test_no_signature_where_a_key_is_given_is_refused(packed: Path, keys: Keys) -> None:
    assert "not signed" in prove(packed).signature
    with pytest.raises(RefusedError, match="not signed"):
        prove(packed, keys[1])


def test_an_envelope_of_another_payload_proves_nothing(keys: Keys) -> None:
    private, public = keys
    envelope = signed(b"this", private)
    check(envelope, b"this", public)
    with pytest.raises(RefusedError, match="something else"):
        check(envelope, b"that", public)
    content = json.loads(envelope)
    content["payload"] = base64.b64encode(b"that").decode()
    with pytest.raises(RefusedError, match="no signature"):
        check(bytes_from_json(content), b"that", public)
    content = json.loads(envelope)
    content["signatures"] = []
    with pytest.raises(RefusedError, match="no signature"):
        check(bytes_from_json(content), b"this", public)
    content = {**json.loads(envelope), "payloadType": "application/x"}
    with pytest.raises(RefusedError, match="something else"):
        check(bytes_from_json(content), b"this", public)


@pytest.mark.parametrize(
    "envelope", [b"", b"[]", b"{}", b"[" * 5000, b'{"payload": 1, "payloadType": 2, "signatures": 3}']
)
def test_what_is_no_envelope_is_refused(envelope: bytes, keys: Keys) -> None:
    with pytest.raises(RefusedError):
        check(envelope, b"this", keys[1])


def test_a_wrong_key_file_is_the_users_to_mend(keys: Keys, tmp_path: Path) -> None:
    private, public = keys
    other = tmp_path / "rsa.pem"
    key = rsa.generate_private_key(65537, 2048)
    other.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for wrong in (public, other, tmp_path / "none.pem", __file__):
        with pytest.raises(UsageError):
            signed(b"this", Path(wrong))
    for wrong in (private, other, tmp_path / "none.pem"):
        with pytest.raises(UsageError):
            check(signed(b"this", private), b"this", Path(wrong))


LINEAGE = {
    "nodes": [
        {
            "id": "k1", "kind": "stage", "title": "engine int8@openvino", "branch": "int8@openvino", "key": "a" * 64,
            "code": {"digest": "sha256:" + "c" * 64},
            "where": {"python": "3.11.7", "numpy": "2.4.6", "version": "2026.4.1", "torch": "2.14.1+cpu", "cpus": 2,
                      "system": "Linux-6.1-x", "machine": "x86_64", "pydicom": "not installed"},
        },
        {"id": "d", "kind": "data", "title": "X-rays"},
        {"id": "l", "kind": "lost", "title": "lost: graph"},
    ],
    "edges": [
        {"from": "d", "to": "k1", "input": "fingerprint", "output": None, "digest": "sha256:" + "d" * 64},
        {"from": "l", "to": "k1", "input": "graph", "output": None, "digest": "sha256:" + "e" * 64},
    ],
}  # fmt: skip


def test_the_statement_is_in_toto_with_slsa() -> None:
    made = Provenance("release", "0.1.0", {"settings": {"seed": 0}}, LINEAGE, "run-1", "2026-11-24T02:00:00.5+01:00")
    found = json.loads(statement([("b", "sha256:" + "b" * 64), ("a", "sha256:" + "a" * 64)], made))
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found["subject"][0] == {"name": "a", "digest": {"sha256": "a" * 64}}
    build, run = found["predicate"]["buildDefinition"], found["predicate"]["runDetails"]
    assert set(build) == {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}
    assert build["buildType"].startswith("urn:cxr:build-type:release:v")
    assert run["builder"] == {"id": "urn:cxr:builder:store-export", "version": {"cxr": "0.1.0"}}
    assert run["metadata"] == {"invocationId": "run-1", "startedOn": "2026-11-24T01:00:00Z"}
    dependencies = build["resolvedDependencies"]
    assert all({"uri", "digest"} & set(one) for one in dependencies)
    assert {"cxrFingerprint": "d" * 64} in [one.get("digest") for one in dependencies]
    assert [one["uri"] for one in dependencies if "uri" in one] == [
        "pkg:pypi/numpy@2.4.6", "pkg:pypi/openvino@2026.4.1", "pkg:generic/python@3.11.7",
        "pkg:pypi/torch@2.14.1%2Bcpu",
    ]  # fmt: skip


def test_in_totos_own_readers_take_the_statement() -> None:
    made = Provenance("release", "0.1.0", {"settings": {"seed": 0}}, LINEAGE, "run-1", "2026-11-24T02:00:00.5+01:00")
    good = statement([("b", "sha256:" + "b" * 64), ("a", "sha256:" + "a" * 64)], made)
    read_by_in_toto(good)
    for right, wrong in (
        (b"invocationId", b"invocationID"),
        (b"01:00:00Z", b"01:00:00"),
        (b'"subject"', b'"subjects"'),
        (b'"sha256": "aaaa', b'"sha1": [0], "sha256": "aaaa'),
    ):
        assert right in good
        with pytest.raises((ParseError, ValueError)):
            read_by_in_toto(good.replace(right, wrong))


def test_dsses_own_reader_takes_the_signature(keys: Keys, tmp_path: Path) -> None:
    private, public = keys
    envelope = Envelope.from_dict(json.loads(signed(b"this", private)))
    (keyid,) = envelope.signatures
    known = SSlibKey.from_crypto(load_pem_public_key(public.read_bytes()), keyid)
    assert envelope.verify([known], 1) and envelope.payload == b"this"
    envelope.payload = b"that"
    with pytest.raises(VerificationError):
        envelope.verify([known], 1)


@pytest.mark.parametrize("data", [b"", b"[]", b"[" * 5000, b"{}", b'{"_type": 1, "predicateType": 2, "subject": [{}]}'])
def test_what_is_no_statement_has_a_problem(data: bytes) -> None:
    assert problems(data, {})


def test_a_statement_of_another_type_or_spelling_has_a_problem() -> None:
    good = statement([("a", "sha256:" + "a" * 64)], MADE)
    subjects = {"a": "sha256:" + "a" * 64}
    assert problems(good, subjects) == []
    assert "of type" in problems(good.replace(b"Statement/v1", b"Statement/v9"), subjects)[0]
    assert "spelling" in problems(good + b"\n", subjects)[0]
    twice = json.loads(good)
    twice["subject"] *= 2
    assert "twice" in problems(bytes_from_json(twice), subjects)[0]


def test_licences_are_looked_up_only_for_the_version_that_took_part() -> None:
    from importlib.metadata import version

    assert "BSD" in licence_of("numpy", version("numpy"))
    assert "not looked up" in licence_of("numpy", "0.0.1")
    assert licence_of("no-such-package-anywhere", "1") == "not installed where this was written"
    assert packages_of(LINEAGE["nodes"][:1]) == {  # type: ignore[arg-type]
        "numpy": {"2.4.6"}, "openvino": {"2026.4.1"}, "python": {"3.11.7"}, "torch": {"2.14.1+cpu"},
    }  # fmt: skip


def test_licence_notes_say_whose_data_and_weights_they_are() -> None:
    assert "no patient" in notes("phantom", "", {})
    assert "CC BY 4.0" in notes("published", "", {})
    scratch = {"parameters": {"config": {"model": "cxr_small", "pretrained": "none"}}}
    hub = {"parameters": {"config": {"model": "resnet18", "pretrained": "hub"}}}
    assert "trained from scratch" in weights_note(scratch, {})
    assert "licence is on the model's card" in weights_note(hub, {})
    assert "brought by the user" in weights_note({"inputs": {"weights": "sha256:1"}}, {})
    assert "graph was brought" in weights_note(None, {"inputs": {"graph": "sha256:1"}})
