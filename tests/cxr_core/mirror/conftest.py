"""Two stores, and a mirror between them: a folder, or a bucket of an S3-compatible server (moto's) on loopback."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cxr_core.mirror import Mirror
from cxr_core.refs import Record, Ref
from cxr_core.store import Store

Filled = Callable[[Store], dict[str, Any]]


def content_of(record: Record) -> bytes:
    """A record as the workflow engine persists it."""
    inner = json.dumps({"__class__": "cxr_core.refs.Record", "data": record.model_dump(mode="json")})
    metadata = {"storage_key": record.key, "serializer": {"type": "json"}, "prefect_version": "3.8.8"}
    return json.dumps({"metadata": metadata, "result": inner}).encode()


def recorded(store: Store, stage: str, outputs: dict[str, Ref], seconds: float = 1.0) -> Record:
    """Writes a record of that stage; its key depends on the stage alone."""
    parts = {"stage": stage}
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    record = Record(stage=stage, key=key, parts=parts, outputs=outputs, seconds=seconds)
    store.write_action(key, content_of(record))
    return record


def fill(store: Store, folder: Path) -> dict[str, Any]:
    """A small store: two records, one of a tree; a run that names both; a pin of the tree."""
    tree = folder / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "a.bin").write_bytes(b"alpha")
    (tree / "deep" / "b.bin").write_bytes(b"beta" * 100_000)
    (tree / "empty").write_bytes(b"")
    weights = store.put_bytes(b"weights" * 1000, "weights")
    data = store.put(tree, "data")
    train, ingest = recorded(store, "train", {"weights": weights}), recorded(store, "ingest", {"data": data})
    records = {one.key: one.model_dump(mode="json") for one in (train, ingest)}
    store.write_run("r1", {"started": "2026-11-24T00:00:00Z", "finished": "2026-11-24T01:00:00Z", "records": records})
    store.pin("releases/first", [data])
    return {"weights": weights, "data": data, "train": train, "ingest": ingest}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """The store of a second machine."""
    return Store.open(tmp_path / "other")


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> dict[str, Any]:
    return fill(store, tmp_path / "source")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of an S3-compatible server."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


def credentials(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new bucket; this process has the credentials."""
    for name, value in credentials(server).items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid4().hex[:12]}"
    Mirror.at(f"s3://{name}/x").files.mkdir(name)
    return name


def _place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"s3://{request.getfixturevalue('bucket')}/mirrors/first"
    return f"file://{tmp_path}/mirror"


@pytest.fixture(params=["file", "s3"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a mirror may be made: in a folder, and in a bucket."""
    return _place(request, tmp_path)


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same, the bucket in the slow tests only."""
    return _place(request, tmp_path)


def objects(url: str) -> dict[str, bytes]:
    """Everything in a mirror, by path, read without the code under test."""
    if url.startswith("file://"):
        root = Path(url.removeprefix("file://"))
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    bucket, _, prefix = f"{url.removeprefix('s3://')}/".partition("/")
    client = _client()
    found = [item["Key"] for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
             for item in page.get("Contents", [])]  # fmt: skip
    return {key.removeprefix(prefix): client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in found}


def change(url: str, path: str, data: bytes | None) -> None:
    """Puts something into a mirror, or takes it away, behind the back of the code under test."""
    if url.startswith("file://"):
        file = Path(url.removeprefix("file://")) / path
        file.unlink(missing_ok=True)
        if data is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if data is None:
        _client().delete_object(Bucket=bucket, Key=f"{prefix}/{path}".lstrip("/"))
    else:
        _client().put_object(Bucket=bucket, Key=f"{prefix}/{path}".lstrip("/"), Body=data)


def _client() -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
