"""Augmentation of whole batches on their device, from a seeded generator.

Never a horizontal flip: "left" must stay left.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor


def to_unit(images: Tensor) -> Tensor:
    """uint8 0..255 to float32 [0, 1]; floats pass."""
    return images.float() / 255.0 if images.dtype == torch.uint8 else images


class Augment:
    """Random pose and exposure.

    Args:
        rotation: largest angle in degrees.
        shift: largest shift as a share of the side.
        scale: largest relative change of size.
        exposure: largest relative change of contrast, of gamma, and half of it of brightness.
        seed: of the generator; the same seed and calls give the same images.
    """

    def __init__(
        self,
        rotation: float = 5.0,
        shift: float = 0.05,
        scale: float = 0.1,
        exposure: float = 0.2,
        seed: int = 0,
    ) -> None:
        """Seed the generator."""
        self.rotation, self.shift, self.scale, self.exposure = rotation, shift, scale, exposure
        self.generator = torch.Generator().manual_seed(seed)

    def _uniform(self, count: int, bound: float) -> Tensor:
        return (torch.rand(count, generator=self.generator) * 2 - 1) * bound

    def __call__(self, images: Tensor) -> Tensor:
        """Change each image of a batch in its own way.

        Shape:
            - images: ``(N, 1, H, W)`` in [0, 1]
            - output: the same
        """
        count, device = len(images), images.device
        angle = self._uniform(count, math.radians(self.rotation))
        factor = 1 + self._uniform(count, self.scale)
        cos, sin = torch.cos(angle) / factor, torch.sin(angle) / factor
        shift_x = self._uniform(count, 2 * self.shift)
        shift_y = self._uniform(count, 2 * self.shift)
        theta = torch.stack(
            [torch.stack([cos, -sin, shift_x], 1), torch.stack([sin, cos, shift_y], 1)], 1
        ).to(device)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, align_corners=False)
        gamma = 1 + self._uniform(count, self.exposure)
        contrast = 1 + self._uniform(count, self.exposure)
        brightness = self._uniform(count, self.exposure / 2)
        view = (count, 1, 1, 1)
        images = images.clamp(1e-4, 1.0) ** gamma.to(device).view(view)
        images = (images - 0.5) * contrast.to(device).view(view) + 0.5
        return (images + brightness.to(device).view(view)).clamp(0.0, 1.0)
