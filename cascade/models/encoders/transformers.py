"""Vision transformers of torchvision; their tokens leave as a feature map."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade.models.encoders.base import Encoder

PATCH = 16


def resize_positions(positions: Tensor, height: int, width: int) -> Tensor:
    """Position embeddings of a square grid for another grid, as torchvision interpolates them.

    Shape:
        - positions: ``(1, 1 + S * S, D)``, the class token's first
        - output: ``(1, 1 + height * width, D)``

    Raises:
        ValueError: their number is not that of a square grid.
    """
    side = math.isqrt(positions.shape[1] - 1)
    if side * side != positions.shape[1] - 1:
        raise ValueError(f"{positions.shape[1] - 1} position embeddings are no square grid")
    if (height, width) == (side, side):
        return positions
    grid = positions[:, 1:].permute(0, 2, 1).unflatten(2, (side, side))
    grid = F.interpolate(grid, (height, width), mode="bicubic", align_corners=True)
    return torch.cat([positions[:, :1], grid.flatten(2).permute(0, 2, 1)], dim=1)


class PatchTokens(nn.Module):
    """A picture's patches as tokens behind the class token, with their positions.

    The grid of positions stays that of the training size and is interpolated for other pictures.

    Shape:
        - images: ``(B, 3, H, W)``; what is over a multiple of the patch is cut off
        - output: ``(B, 1 + H' * W', D)``
    """

    def __init__(self, conv_proj: nn.Module, class_token: nn.Parameter, pos: nn.Parameter) -> None:
        """Torchvision's parts under torchvision's names."""
        super().__init__()
        self.conv_proj, self.class_token, self.pos_embedding = conv_proj, class_token, pos

    def forward(self, images: Tensor) -> Tensor:
        """Tokens of a batch."""
        patches = self.conv_proj(images)
        tokens = patches.flatten(2).permute(0, 2, 1)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), tokens], dim=1)
        return tokens + resize_positions(self.pos_embedding, *patches.shape[2:])


class VisionTransformer(Encoder):
    """ViT: the tokens of the patches as a map, each a weighing of the whole picture.

    The class token takes part and is then left out: the map's mean stands for the picture.
    """

    def forward(self, images: Tensor) -> Tensor:
        """The feature map of a batch, one cell a patch.

        Raises:
            ValueError: the picture is smaller than a patch.
        """
        height, width = images.shape[2] // PATCH, images.shape[3] // PATCH
        if not height or not width:
            raise ValueError(f"a ViT needs pictures of {PATCH} pixels or more")
        tokens = super().forward(images)
        return tokens[:, 1:].permute(0, 2, 1).unflatten(2, (height, width))

    def adapt(self, name: str, value: Tensor) -> Tensor:
        """Position embeddings of another picture size are interpolated."""
        own = self.state_dict()["stages.0.pos_embedding"]
        if name.endswith("pos_embedding") and value.ndim == 3 and value.shape != own.shape:
            side = math.isqrt(own.shape[1] - 1)
            return resize_positions(value, side, side)
        return value


def vit_b_16(image_size: int = 224) -> Encoder:
    """ViT-B/16; the patch embedding and twelve layers, a stage each.

    Args:
        image_size: whose grid of positions is learnt; other pictures are read by interpolation.

    Raises:
        ValueError: less than a patch.
    """
    if image_size < PATCH:
        raise ValueError(f"encoder.image_size={image_size}: expected {PATCH} or more")
    from torchvision.models import vit_b_16

    net = vit_b_16(weights=None, image_size=image_size // PATCH * PATCH)
    stages: list[nn.Module] = [
        PatchTokens(net.conv_proj, net.class_token, net.encoder.pos_embedding)
    ]
    stages += [
        nn.Sequential(OrderedDict([(name, layer)]))
        for name, layer in net.encoder.layers.named_children()
    ]
    stages[-1].add_module("ln", net.encoder.ln)
    return VisionTransformer(stages, 768, rgb=True, torchvision="vit_b_16")


def swin_t() -> Encoder:
    """Swin-T; the patch embedding and four stages, each after its own merging of patches."""
    from torchvision.models import swin_t

    net = swin_t(weights=None)
    cuts = [0, 1, 2, 4, 6, 8]
    stages = [net.features[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    stages[-1].add_module("norm", net.norm)
    stages[-1].add_module("permute", net.permute)
    return Encoder(stages, 768, rgb=True, torchvision="swin_t")
