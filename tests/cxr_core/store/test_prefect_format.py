"""What Prefect itself persists is what the store reads. Prefect is a guest of this test, never of the store."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import pathlib, sys
from prefect.results import ResultRecord, ResultRecordMetadata
from prefect.serializers import JSONSerializer
from cxr_core.refs import Record
from cxr_core.store import Store
store = Store.open(pathlib.Path(sys.argv[1]))
ref = store.put_bytes(b"weights", "w", {"epochs": 3, "auc": 0.97})
record = Record(stage="train", key="ab" * 32, parts={"stage": "train", "code": {"a.py": ref.digest}},
                outputs={"weights": ref}, seconds=1.5, facts={"note": "é"})
metadata = ResultRecordMetadata(storage_key=record.key, serializer=JSONSerializer())
content = ResultRecord(metadata=metadata, result=record).serialize()
store.write_action(record.key, content)
assert store.record(record.key) == record
read = store.read_action(record.key)
assert read == content
assert ResultRecord.deserialize(read).result == record
assert ResultRecord.deserialize((store.root / "actions" / record.key).read_bytes()).result == record
"""


def test_the_store_reads_what_prefect_writes(tmp_path: Path) -> None:
    try:
        importlib.metadata.version("prefect")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("prefect is not installed")
    environment = {"PREFECT_HOME": str(tmp_path / "prefect"), "DO_NOT_TRACK": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "store")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
