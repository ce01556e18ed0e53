"""A small DAG in a real store: who left what, also where records are gone, alike or brought."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from cxr_core.lineage import Account, Graph, accounts, document, lineage
from cxr_core.lineage.page import html
from cxr_core.lineage.parameters import changed
from cxr_core.lineage.picture import svg
from cxr_core.lineage.places import places
from cxr_core.lineage.tree import tree
from cxr_core.refs import Record, Ref
from cxr_core.store import Store
from cxr_core.store.seals import digest_of
from tests.cxr_core.store.conftest import content_of

FOLDER = "sha256:" + "f" * 64


class House:
    """Stages that leave what they are told to, written as a run writes them."""

    def __init__(self, root: Path) -> None:
        self.store = Store.open(root)
        self.made: list[Record] = []

    def stage(self, name: str, inputs: dict[str, Ref], out: bytes, seconds: float = 1.0, **parameters: Any) -> Record:
        parts: dict[str, Any] = {
            "stage": name,
            "code": {f"cxr_core/{name}.py": "a" * 64},
            "inputs": {key: ref.digest for key, ref in inputs.items()},
            "parameters": parameters,
            "environment": {"numpy": "2.4.6"},
        }
        key = digest_of(json.dumps(parts, sort_keys=True).encode())[7:]
        ref = self.store.put_bytes(out, f"{name}.bin")
        environment: dict[str, Any] = {"python": "3.11.7", "machine": "x86_64"}
        record = Record(
            stage=name, key=key, parts=parts, outputs={"out": ref}, seconds=seconds, environment=environment
        )
        self.store.write_action(key, content_of(record))
        self.made.append(record)
        return record

    def whole(self) -> Record:
        """From the folder to an engine; the FP32 variant's bytes are those of the exported graph."""
        ingest = self.stage("ingest", {}, b"manifest", fingerprint=FOLDER)
        tensors = self.stage("tensors", {"manifest": ingest.output("out")}, b"tensors", config={"size": 64})
        train = self.stage("train", {"tensors": tensors.output("out")}, b"weights", config={"images": 3, "seed": 0})
        export = self.stage("export", {"checkpoint": train.output("out")}, b"graph", config={"opset": 18})
        taken = {"graph": export.output("out"), "calibration": tensors.output("out")}
        variant = self.stage("variant", taken, b"graph", precision="fp32")
        return self.stage("engine", {"graph": variant.output("out")}, b"plan", precision="fp32", backend="openvino")

    def account(self, record: Record) -> Account:
        return next(a for a in accounts(self.store) if a.record == record)

    def graph(self, record: Record) -> Graph:
        return lineage(self.account(record), accounts(self.store))

    def run(self, name: str = "one", started: str = "2026-11-01T00:00:00+00:00") -> None:
        records = {record.key: record.model_dump(mode="json") for record in self.made}
        self.store.write_run(name, {"started": started, "records": records})

    def forget(self, *stages: str) -> None:
        """Takes their records away, as a withdrawal or gc does."""
        for record in self.made:
            if record.stage in stages:
                (self.store.root / "actions" / record.key).unlink()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "store")


def _titles(graph: Graph) -> list[str]:
    return [node.title for node in graph.nodes]


def test_an_engine_is_followed_back_to_the_x_rays(house: House) -> None:
    graph = house.graph(house.whole())
    assert _titles(graph) == ["engine fp32@openvino", "variant fp32", "export", "tensors", "train", "ingest", "X-rays"]
    assert graph.nodes[-1].digest == FOLDER
    assert {node.kind for node in graph.nodes} == {"stage", "data"}


def test_the_same_bytes_come_from_the_last_stage_that_stands_before_the_taker(house: House) -> None:
    graph = house.graph(house.whole())
    joined = {(graph.node(edge.origin).title, graph.node(edge.to).title) for edge in graph.edges}
    assert ("variant fp32", "engine fp32@openvino") in joined
    assert ("export", "variant fp32") in joined
    assert ("export", "engine fp32@openvino") not in joined
    assert ("variant fp32", "variant fp32") not in joined


def test_what_a_run_embeds_is_not_lost_with_its_record(house: House) -> None:
    engine = house.whole()
    before = house.graph(engine)
    house.run("late", "2026-11-02T00:00:00+00:00")
    house.run("early", "2026-11-01T00:00:00+00:00")
    house.forget("train", "export", "engine")
    graph = house.graph(engine)
    assert [(edge.origin, edge.to) for edge in graph.edges] == [(edge.origin, edge.to) for edge in before.edges]
    train = next(node.account for node in graph.nodes if node.title == "train")
    assert train is not None
    assert (train.source, train.when) == ("run early", "2026-11-01T00:00:00+00:00")
    assert train.runs == {"early", "late"}


def test_what_nobody_tells_of_is_lost_and_ends_the_way(house: House) -> None:
    engine = house.whole()
    house.forget("train")
    graph = house.graph(engine)
    assert "lost: checkpoint" in _titles(graph)
    assert "X-rays" in _titles(graph)  # by way of the calibration
    assert "no record, run or release tells" in svg(graph)


def test_what_the_user_brought_is_not_lost(house: House) -> None:
    mine = house.store.put_bytes(b"my graph", "mine.onnx")
    graph = house.graph(house.stage("export", {"graph": mine}, b"adopted"))
    assert [(node.kind, node.digest) for node in graph.nodes[1:]] == [("brought", mine.digest)]


def test_a_stage_computed_anew_keeps_its_own_origin(house: House) -> None:
    first = house.stage("ingest", {}, b"one", fingerprint=FOLDER)
    again = first.model_copy(update={"outputs": {"out": house.store.put_bytes(b"two", "ingest.bin")}})
    house.run()
    house.store.write_action(again.key, content_of(again))
    old = house.stage("tensors", {"manifest": first.output("out")}, b"old")
    new = house.stage("tensors", {"manifest": again.output("out")}, b"new")
    assert house.graph(old).nodes[1].name != house.graph(new).nodes[1].name
    assert house.graph(old).nodes[1].account == house.account(first)


def test_digests_deep_in_the_parameters_are_inputs_and_identities_are_not(house: House) -> None:
    score = house.stage("accuracy", {}, b"scores", precision="int8", backend="openvino", test=FOLDER, weights=FOLDER)
    twin = house.stage("accuracy", {}, b"scores", precision="fp32", backend="openvino", test=FOLDER, weights=FOLDER)
    rows = [
        {"precision": "int8", "backend": "openvino", "scores": score.output("out").digest},
        {"precision": "fp32", "backend": "openvino", "scores": twin.output("out").digest, "benchmark": FOLDER},
    ]
    graph = house.graph(house.stage("compare", {}, b"table", branches=rows))
    named = {(edge.input, graph.node(edge.origin).title) for edge in graph.edges}
    assert named == {
        ("scores int8@openvino", "accuracy int8@openvino"),
        ("scores fp32@openvino", "accuracy fp32@openvino"),
        ("benchmark fp32@openvino", "lost: benchmark"),
    }


def test_only_what_is_not_the_default_is_told(house: House) -> None:
    engine = house.whole()
    train = next(record for record in house.made if record.stage == "train")
    assert changed(train) == {"images": 3}
    assert changed(engine) == {}


def test_the_document_has_every_record_whole(house: House) -> None:
    made = document(house.graph(house.whole()), lost=["sha256:" + "0" * 64])
    nodes: Any = made["nodes"]
    assert [node["record"]["stage"] for node in nodes if node["kind"] == "stage"] == [
        "engine", "variant", "export", "tensors", "train", "ingest",
    ]  # fmt: skip
    assert json.loads(json.dumps(made)) == made
    assert nodes[0]["where"] == {"python": "3.11.7", "machine": "x86_64", "numpy": "2.4.6"}


@pytest.fixture
def text() -> Callable[[Any], str]:
    def render(drawn: Any) -> str:
        console = Console(width=120)
        with console.capture() as captured:
            console.print(drawn)
        return captured.get()

    return render


def test_a_shared_ancestor_is_drawn_once(house: House, text: Callable[[Any], str]) -> None:
    graph = house.graph(house.whole())
    drawn = text(tree(graph, lost={house.made[0].output("out").digest}))
    tensors = next(record for record in house.made if record.stage == "tensors").key[:12]
    assert drawn.count(f"tensors  {tensors}") == 2
    assert drawn.count(f"tensors  {tensors}  drawn above") == 1
    assert drawn.count("lost") == 1
    assert max(map(len, drawn.splitlines())) <= 120


def test_the_picture_is_well_formed_and_no_two_boxes_touch(house: House) -> None:
    graph = house.graph(house.whole())
    drawn = ElementTree.fromstring(svg(graph))
    boxes = [element for element in drawn.iter("{http://www.w3.org/2000/svg}rect") if element.get("class") == "box"]
    assert len(boxes) == len(graph.nodes)
    centres = list(places(graph, box=(300, 90), gap=(30, 40)).nodes.values())
    for index, (x, y) in enumerate(centres):
        assert all(abs(x - a) >= 330 or abs(y - b) >= 130 for a, b in centres[index + 1 :])


def test_names_cannot_break_out_of_picture_or_page(house: House) -> None:
    root = house.stage("ingest", {}, b"x", precision="<script>alert(1)</script>", backend='"&')
    graph = house.graph(root)
    for drawn in (svg(graph), html(graph)):
        assert "<script>" not in drawn
    ElementTree.fromstring(svg(graph))


def test_the_page_needs_no_network(house: House) -> None:
    drawn = html(house.graph(house.whole()))
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
