"""Weights that the user brings enter the DAG here, after training and before export."""

from pathlib import Path

import torch
from pydantic import JsonValue

from cxr_core.config import TrainConfig
from cxr_core.data.tensors import open_tensors
from cxr_core.training import machine
from cxr_core.training.checkpoint import Checkpoint, save_checkpoint
from cxr_core.training.network import LABELS, Classifier, create_backbone, parameters_in
from cxr_core.training.operating_point import choose_operating_point
from cxr_core.training.weights import fit_weights, read_weights


def adopt_weights(
    *, weights: Path, tensors: Path, out: Path, config: TrainConfig, filter: str = "bilinear"
) -> dict[str, JsonValue]:
    """Take a state dict of ``config.model`` as it is; temperature and threshold follow the same rule as ours.

    Raises:
        ModelError: not weights, of another model, or a network that answers the same for every image.
    """
    machine.set_threads(config.threads)
    data = open_tensors(tensors)
    backbone = create_backbone(config.model, "none", 0.0)
    fit_weights(backbone, read_weights(weights), str(weights.name))
    model = Classifier(backbone, config.flip_average).eval()
    point = choose_operating_point(model, data, config, torch.device("cpu"))
    save_checkpoint(
        out / "checkpoint",
        model,
        Checkpoint(
            model=config.model,
            size=data.images.shape[-1],
            filter=filter,
            labels=LABELS,
            temperature=point.temperature,
            threshold=point.threshold,
            flip_average=config.flip_average,
            pretrained="brought",
            images_seen=0,
            trained=True,
            validation=point.validation,
        ),
        history=[],
    )
    return {
        "parameters": parameters_in(model),
        "images_seen": 0,
        **point.validation,
        "threshold": point.threshold,
        "temperature": point.temperature,
    }
