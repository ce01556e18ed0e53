"""A batch that does not fit into memory is computed in equal micro-batches; their gradients add up to the batch's.

The loss is a mean over images, and the mean of equal parts' means is the mean of all: gradients differ from those of
the whole batch by rounding alone. BatchNorm is the exception. It normalises each micro-batch by that part's own mean
and variance ("ghost" batch normalisation, Hoffer et al. 2017, arXiv:1705.08741), so such a network is trained a
little differently, and the smaller the part the noisier. Its running statistics see several parts a step, so their
momentum is lowered until a step forgets as much as it would with the whole batch.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.amp import GradScaler

Loss = Callable[[Tensor, Tensor], Tensor]


def sizes(batch: int) -> list[int]:
    """Micro-batches of a batch, largest first: even, for each holds as many images of one class as of the other."""
    return [size for size in range(batch, 1, -1) if batch % size == 0 and size % 2 == 0]


def largest(batch: int, fits: Callable[[int], bool]) -> int:
    """The largest micro-batch that fits; the smallest one untried, for there is nothing below it."""
    *tried, smallest = sizes(batch)
    return next((size for size in tried if fits(size)), smallest)


def accumulate(loss_of: Loss, pixels: Tensor, wanted: Tensor, parts: int, scaler: GradScaler) -> Tensor:
    """The batch's mean loss, detached; gradients are added to what the parameters have.

    A part takes every ``parts``-th image: a batch holds one class after the other, and so each part holds half of both.
    """
    shares = []
    for part in range(parts):
        share = loss_of(pixels[part::parts], wanted[part::parts]) / parts
        scaler.scale(share).backward()  # type: ignore[no-untyped-call]
        shares.append(share.detach())
    return sum(shares[1:], start=shares[0])


def slow_running_statistics(model: nn.Module, parts: int) -> None:
    """Make ``parts`` updates of BatchNorm's running statistics forget what one forgot: 1 - (1 - m)^(1/parts)."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.momentum is not None:
            layer.momentum = 1 - (1 - layer.momentum) ** (1 / parts)
