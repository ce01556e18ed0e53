"""The schemas in ``docs/schemas`` are those of the models, and they refuse what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cxr_core.release.schemas import schemas, text
from tests.conftest import PROJECT
from tests.cxr_core.release.conftest import manifest_of

FOLDER = PROJECT / "docs" / "schemas"
REF = {"form": "blob", "digest": "sha256:" + "a" * 64, "size": 1, "name": "x"}
PICKLED = {"serializer": {"type": "pickle"}, "prefect_version": "3"}
SEAL = "sha256:" + "b" * 64


def test_the_files_are_generated() -> None:
    made = {f"{name}.schema.json": text(schema) for name, schema in schemas().items()}
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert there == made, "write them: python -m cxr_core.release.schemas docs/schemas"


@pytest.mark.parametrize("name", schemas())
def test_each_is_a_schema_with_a_version_and_named_in_the_documentation(name: str) -> None:
    Draft202012Validator.check_schema(schemas()[name])
    assert schemas()[name]["$id"] == f"urn:cxr:schema:{name}:1"
    pages = (PROJECT / "docs").glob("*.md")
    assert any(f"schemas/{name}.schema.json" in page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("ref", {**REF, "digest": "md5:1"}),
        ("ref", {**REF, "size": -1}),
        ("ref", {**REF, "more": 1}),
        ("pin", {"pin": "x", "refs": [], "seal": SEAL}),
        ("pin", {"pin": "x", "refs": [REF]}),
        ("tree", [{"name": "a", "digest": "sha256:1", "size": 1}]),
        ("tree", {}),
        ("run", {"run_id": "x", "seal": SEAL}),
        ("record-file", {"metadata": PICKLED, "result": "", "seal": SEAL}),
        ("lineage", {"schema_version": 2, "root": "", "nodes": [], "edges": [], "lost": []}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(name: str, wrong: Any) -> None:
    assert not Draft202012Validator(schemas()[name]).is_valid(wrong)


def test_what_is_right_is_not(packed: Path) -> None:
    right: dict[str, Any] = {
        "ref": REF, "pin": {"pin": "x", "refs": [REF], "seal": SEAL}, "tree": [], "bundle": manifest_of(packed),
        "lineage": {"schema_version": 1, "root": "", "nodes": [], "edges": [], "lost": []},
    }  # fmt: skip
    for name, content in right.items():
        Draft202012Validator(schemas()[name]).validate(json.loads(json.dumps(content)))
