"""The network as it ships: preprocessing, any timm backbone, and flip averaging in one module."""

from pathlib import Path

import timm
import torch
from timm.models import register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from torch import Tensor, nn

from cxr_core.errors import MachineError, ModelError

LABELS = ("NORMAL", "PNEUMONIA")
_STD_FLOOR = 0.02  # keeps a blank image from being blown up to noise


@register_model  # type: ignore[untyped-decorator]
def cxr_small(pretrained: bool = False, **kwargs: object) -> ByobNet:
    """A 0.3 M parameter residual network from timm's own blocks, sized for two CPU cores at 96 px."""
    if pretrained:
        raise ModelError("cxr_small has no published weights; use pretrained: none, or FILE@sha256:DIGEST")
    kwargs.pop("pretrained_cfg", None)
    kwargs.pop("pretrained_cfg_overlay", None)
    kwargs.pop("cache_dir", None)
    stages = tuple(
        (ByoBlockCfg(type="basic", d=1, c=width, s=stride, br=1.0),) for width, stride in ((32, 1), (64, 2), (128, 2))
    )
    config = ByoModelCfg(blocks=stages, stem_type="", stem_chs=(16, 32), stem_pool="", downsample="avg")
    return ByobNet(config, **kwargs)


class Classifier(nn.Module):
    """float32 grey levels 0..255 ``[batch, 1, H, W]`` to logits ``[batch, 2]`` (NORMAL, PNEUMONIA).

    Each image is standardised by mean and standard deviation of its central three quarters, so that
    borders and burnt-in markers weigh less. With ``flip_average`` the logits of the image and of
    its mirror image are averaged.
    """

    def __init__(self, backbone: nn.Module, flip_average: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.flip_average = flip_average

    def forward(self, images: Tensor) -> Tensor:
        standard = standardise(images / 255.0)
        if not self.flip_average:
            alone: Tensor = self.backbone(standard)
            return alone
        both: Tensor = self.backbone(torch.cat([standard, standard.flip(-1)]))
        return both.reshape(2, -1, both.shape[-1]).mean(0)


def standardise(images: Tensor) -> Tensor:
    """Zero mean and unit deviation over the central three quarters of each image ``[batch, 1, H, W]``."""
    height, width = images.shape[-2:]
    top, left = height // 8, width // 8
    centre = images[..., top : height - top, left : width - left]
    mean = centre.mean((-2, -1), keepdim=True)
    # Written out: the biased deviation exports to plain ReduceMean nodes.
    deviation = ((centre - mean) ** 2).mean((-2, -1), keepdim=True).sqrt()
    return (images - mean) / (deviation + _STD_FLOOR)


def create_backbone(model: str, pretrained: str, drop_rate: float) -> nn.Module:
    """A timm model with one input channel and two outputs.

    ``pretrained`` is ``none``, ``hub`` or ``FILE@sha256:DIGEST``.

    Raises:
        ModelError: unknown model name, or a weights file that does not fit or has another digest.
        MachineError: hub weights asked for and the hub cannot be reached.
    """
    if not timm.is_model(model):
        near = timm.list_models(f"*{model.split('.')[0][:12]}*")[:3] or ["cxr_small", "tf_efficientnet_b0"]
        raise ModelError(f"unknown timm model {model!r}; near it: {', '.join(near)} (timm.list_models() has all)")
    options = {"in_chans": 1, "num_classes": len(LABELS), "drop_rate": drop_rate}
    if pretrained == "hub":
        try:
            ready: nn.Module = timm.create_model(model, pretrained=True, **options)
            return ready
        except (OSError, RuntimeError) as error:
            raise MachineError(
                f"pretrained weights of {model} cannot be had from the hub ({error}); "
                "name a local file as FILE@sha256:DIGEST, or train with pretrained: none"
            ) from error
    backbone: nn.Module = timm.create_model(model, pretrained=False, **options)
    if pretrained != "none":
        from cxr_core.training.weights import load_pretrained

        load_pretrained(backbone, pretrained)
    return backbone


def parameters_in(module: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in module.parameters())


def weights_file(folder: Path) -> Path:
    """Where a checkpoint folder keeps its weights."""
    return folder / "weights.safetensors"
