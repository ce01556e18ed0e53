import json

import onnx
import pytest

from cxr_core.config import TensorsConfig
from cxr_core.errors import ModelError
from cxr_core.graphs.metadata import GraphMetadata, agree, read_metadata, write_metadata

WHOLE = GraphMetadata(
    labels=("NORMAL", "PNEUMONIA"),
    size=96,
    filter="bicubic",
    temperature=0.7,
    threshold=0.4,
    model="cxr_small",
    weights_digest="sha256:" + "a" * 64,
)


def model_with(**changed: str | None) -> onnx.ModelProto:
    model = onnx.ModelProto()
    write_metadata(model, WHOLE)
    properties = {p.key: p.value for p in model.metadata_props} | {f"cxr.{k}": v for k, v in changed.items()}
    onnx.helper.set_model_props(model, {k: v for k, v in properties.items() if v is not None})
    return model


def test_what_is_written_is_read() -> None:
    assert read_metadata(model_with()) == WHOLE


def test_each_value_is_json() -> None:
    properties = {p.key: json.loads(p.value) for p in model_with().metadata_props}
    assert properties["cxr.labels"] == ["NORMAL", "PNEUMONIA"]
    assert properties["cxr.size"] == 96
    assert properties["cxr.filter"] == "bicubic"


def test_origin_may_be_unknown() -> None:
    assert read_metadata(model_with(model=None, weights_digest=None, version=None)).weights_digest == ""


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"threshold": None}, "cxr.threshold: missing"),
        ({"labels": '["PNEUMONIA", "NORMAL"]'}, r"cxr\.labels\.0: .*found 'PNEUMONIA'"),
        ({"filter": "bilinear"}, "cxr.filter: expected JSON, found 'bilinear'"),
        ({"filter": '"sinc"'}, "cxr.filter: .*found 'sinc'"),
        ({"threshold": "1.5"}, "cxr.threshold: .*found 1.5"),
        ({"temperature": "-1"}, "cxr.temperature"),
        ({"size": '"96"'}, "cxr.size"),
        ({"version": "2"}, "cxr.version"),
        ({"shades": "3"}, "cxr.shades"),
    ],
)
def test_refuses_what_cannot_be_used_and_says_how_to_mend_it(changed: dict[str, str | None], told: str) -> None:
    with pytest.raises(ModelError, match=told) as refused:
        read_metadata(model_with(**changed))
    assert "set_model_props" in str(refused.value)


def test_names_everything_that_is_missing() -> None:
    with pytest.raises(ModelError) as refused:
        read_metadata(onnx.ModelProto())
    for name in ("labels", "size", "filter", "temperature", "threshold"):
        assert f"cxr.{name}: missing" in str(refused.value)


def test_a_graph_for_other_images_is_refused() -> None:
    agree(WHOLE, TensorsConfig(size=96, filter="bicubic"))
    with pytest.raises(ModelError, match=r"size 96.*224.*tensors\.size=96"):
        agree(WHOLE, TensorsConfig(size=224, filter="bicubic"))
    with pytest.raises(ModelError, match="filter"):
        agree(WHOLE, TensorsConfig(size=96, filter="box"))
