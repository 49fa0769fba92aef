"""Augmentation of whole batches on their device, from a seeded generator.

Never a horizontal flip: "left" must stay left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from cascade.errors import InputError


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
        crop: side in pixels of a square cut out at a random place (Shin et al. 2016: 224 of 256);
            None keeps the whole. Who reads pictures whole then looks at their centre
            (``Encoder.crop``).
        seed: of the generator; the same seed and calls give the same images.
    """

    def __init__(
        self,
        rotation: float = 5.0,
        shift: float = 0.05,
        scale: float = 0.1,
        exposure: float = 0.2,
        crop: int | None = None,
        seed: int = 0,
    ) -> None:
        """Seed the generator."""
        self.rotation, self.shift, self.scale, self.exposure = rotation, shift, scale, exposure
        self.crop = crop
        self.generator = torch.Generator().manual_seed(seed)

    def _uniform(self, count: int, bound: float) -> Tensor:
        return (torch.rand(count, generator=self.generator) * 2 - 1) * bound

    def __call__(self, images: Tensor) -> Tensor:
        """Change each image of a batch in its own way.

        Shape:
            - images: ``(N, 1, H, W)`` in [0, 1], no smaller than the crop
            - output: the same, or ``(N, 1, crop, crop)``
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
        if self.rotation or self.shift or self.scale:  # else nothing moves: no pixel is mixed
            grid = F.affine_grid(theta, list(images.shape), align_corners=False)
            images = F.grid_sample(images, grid, align_corners=False)
        images = self._cut(images)
        gamma = 1 + self._uniform(count, self.exposure)
        contrast = 1 + self._uniform(count, self.exposure)
        brightness = self._uniform(count, self.exposure / 2)
        view = (count, 1, 1, 1)
        images = images.clamp(1e-4, 1.0) ** gamma.to(device).view(view)
        images = (images - 0.5) * contrast.to(device).view(view) + 0.5
        return (images + brightness.to(device).view(view)).clamp(0.0, 1.0)

    def _cut(self, images: Tensor) -> Tensor:
        """A square of each image at its own random place."""
        if self.crop is None:
            return images
        side, rows = self.crop, torch.arange(len(images))
        top, left = (
            torch.randint(free - side + 1, (len(images),), generator=self.generator)
            for free in images.shape[2:]
        )
        squares = images.unfold(2, side, 1).unfold(3, side, 1)
        return squares[rows, :, top, left]


def crop_of(augment: Mapping[str, Any] | None, image_size: int, stage: str) -> int | None:
    """The crop of a stage's ``augment``, None for none.

    Raises:
        InputError: it is larger than the images.
    """
    crop = (augment or {}).get("crop")
    if crop is None:
        return None
    if int(crop) > image_size:
        raise InputError(
            f"{stage}.augment.crop={crop}: the images have data.image_size={image_size}; give a "
            "crop of at most that, or null"
        )
    return int(crop)


def check_crops(settings: Mapping[str, Any]) -> None:
    """That both stages cut their pictures alike: the decoder reads what the detector learned on.

    Raises:
        InputError: they do not, or a crop is larger than the images.
    """
    size = int(settings["data"]["image_size"])
    first, second = (
        crop_of(settings[stage]["augment"], size, stage) for stage in ("classifier", "generator")
    )
    if settings["generator"]["augment"] and first != second:
        raise InputError(
            f"generator.augment.crop={second}: the classifier has classifier.augment.crop={first}, "
            "and both read the same pictures; give one for both, or generator.augment=null"
        )
