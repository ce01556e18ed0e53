"""What training leaves: safetensors for weights, JSON for the rest."""

import csv
import hashlib
from pathlib import Path

from pydantic import Field, JsonValue
from safetensors.torch import load_file, save_file

from cxr_core.errors import ModelError
from cxr_core.refs import Frozen
from cxr_core.training.network import Classifier, create_backbone, weights_file
from cxr_core.training.weights import fit_weights


class Checkpoint(Frozen):
    """Everything about the weights that prediction depends on.

    ``threshold`` is on the calibrated probability softmax(logits / temperature)[PNEUMONIA].
    """

    model: str
    size: int
    filter: str
    labels: tuple[str, ...]
    temperature: float
    threshold: float
    flip_average: bool
    pretrained: str
    images_seen: int
    trained: bool
    validation: dict[str, JsonValue] = Field(default_factory=dict)
    weights_digest: str = ""


def save_checkpoint(folder: Path, model: Classifier, checkpoint: Checkpoint, history: list[dict[str, float]]) -> None:
    """Write weights.safetensors, checkpoint.json and history.csv into a new folder."""
    folder.mkdir()
    weights = weights_file(folder)
    save_file({n: v.detach().cpu().contiguous() for n, v in model.backbone.state_dict().items()}, weights)
    digest = "sha256:" + hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / "checkpoint.json").write_text(
        checkpoint.model_copy(update={"weights_digest": digest}).model_dump_json(indent=1) + "\n", encoding="utf-8"
    )
    with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["step", "images", "loss", "learning_rate"])
        writer.writeheader()
        writer.writerows(history)


def read_checkpoint(folder: Path) -> Checkpoint:
    """The description alone, without loading weights."""
    return Checkpoint.model_validate_json((folder / "checkpoint.json").read_text(encoding="utf-8"))


def load_checkpoint(folder: Path) -> tuple[Classifier, Checkpoint]:
    """The network in evaluation mode, and its description.

    Raises:
        ModelError: weights that do not fit the model they are said to be of.
    """
    checkpoint = read_checkpoint(folder)
    if not weights_file(folder).is_file():
        raise ModelError(f"checkpoint {folder} has no weights.safetensors")
    backbone = create_backbone(checkpoint.model, "none", 0.0)
    fit_weights(backbone, load_file(weights_file(folder)), str(weights_file(folder)))
    return Classifier(backbone, checkpoint.flip_average).eval(), checkpoint
