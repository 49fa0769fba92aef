"""What every encoder is: stages, a feature map, its pooled vector, and how deep it is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """A network without its head, cut into stages.

    Args:
        stages: run in order; the unit of ``unfreeze``.
        num_features: channels of the last stage.
        rgb: the trunk takes ImageNet-normalised RGB; grey images are repeated over the channels,
            which gives exactly what the trunk would give for the same picture stored as RGB.
        mean: of the trunk's input, where it is not ImageNet's; one value a channel.
        std: likewise.
        pool_norm: normalises the pooled vector, in nets whose head does; part of the last stage.
        torchvision: the trunk's name in torchvision, by which its published weights are known.

    Shape:
        - images: ``(B, 1, H, W)`` in [0, 1]
        - output: ``(B, D, H', W')`` with ``D = self.num_features``
        - ``pool`` of it: ``(B, D)``

    Attributes:
        crop: larger pictures are read within a square of this side at their centre, as one does
            after training on random crops; None reads them whole.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        stages: Iterable[nn.Module],
        num_features: int,
        rgb: bool,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        pool_norm: nn.Module | None = None,
        torchvision: str | None = None,
    ) -> None:
        """All stages open."""
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.num_features = num_features
        self.rgb = rgb
        self.torchvision = torchvision
        self.pool_norm = pool_norm
        usual = (IMAGENET_MEAN, IMAGENET_STD) if rgb else ((0.5,), (0.25,))
        for name, values in zip(("mean", "std"), (mean or usual[0], std or usual[1]), strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        self.crop: int | None = None
        self.open_stages = len(self.stages)
        self.origin = "random"
        """Where the weights come from, in words; the bundle keeps it."""

    @property
    def num_stages(self) -> int:
        """How many stages ``unfreeze`` can open."""
        return len(self.stages)

    def forward(self, images: Tensor) -> Tensor:
        """The feature map of a batch."""
        top, left, height, width = self.window(images.shape[2], images.shape[3])
        images = images[:, :, top : top + height, left : left + width]
        maps = (images - self.mean) / self.std
        for stage in self.stages:
            maps = stage(maps)
        return maps

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """What is read of a picture: top, left, height and width in pixels.

        >>> encoder = Encoder([nn.Identity()], 1, rgb=False)
        >>> encoder.crop = 224
        >>> encoder.window(256, 200)
        (16, 0, 224, 200)
        """
        sides = [side if self.crop is None else min(side, self.crop) for side in (height, width)]
        return (height - sides[0]) // 2, (width - sides[1]) // 2, sides[0], sides[1]

    def pool(self, maps: Tensor) -> Tensor:
        """The pooled vector of feature maps: their mean, normalised where the net's own head does.

        >>> Encoder([nn.Identity()], 1, rgb=False).pool(torch.tensor([[[[1.0, 3.0]]]]))
        tensor([[2.]])
        """
        pooled = maps.mean(dim=(2, 3))
        return pooled if self.pool_norm is None else self.pool_norm(pooled)

    def places(self, maps: Tensor) -> Tensor:
        """The vector of every place, ``(B, H' * W', D)``: what ``pool`` gives of the place alone.

        >>> Encoder([nn.Identity()], 1, rgb=False).places(torch.tensor([[[[1.0, 3.0]]]]))
        tensor([[[1.],
                 [3.]]])
        """
        places = maps.flatten(2).transpose(1, 2)
        return places if self.pool_norm is None else self.pool_norm(places)

    def stage_parameters(self, index: int) -> list[nn.Parameter]:
        """The parameters of one stage; all stages together hold each parameter once."""
        parameters = list(self.stages[index].parameters())
        if self.pool_norm is not None and index == self.num_stages - 1:
            parameters += self.pool_norm.parameters()
        return parameters

    def frozen_modules(self) -> list[nn.Module]:
        """What belongs to closed stages alone."""
        return list(self.stages[: self.num_stages - self.open_stages])

    def unfreeze(self, count: int | None) -> None:
        """Train the last ``count`` stages only; None trains all.

        Raises:
            ValueError: there are not so many stages.
        """
        total = self.num_stages
        count = total if count is None else count
        if not 0 <= count <= total:
            raise ValueError(f"encoder.unfreeze={count}: this encoder has 0 to {total} stages")
        self.open_stages = count
        for index in range(total):
            for parameter in self.stage_parameters(index):
                parameter.requires_grad_(index >= total - count)
        self.train(self.training)

    def train(self, mode: bool = True) -> Encoder:
        """Training mode; frozen stages stay in evaluation mode, their batch statistics fixed."""
        super().train(mode)
        for module in self.frozen_modules():
            module.eval()
        return self

    def adapt(self, name: str, value: Tensor) -> Tensor:
        """A tensor of a weight file as this encoder needs it; ``name`` is the encoder's own."""
        return value
