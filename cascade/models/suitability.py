"""Does a picture look like the training radiographs at all?

Distance from the space that the training pictures span (eigenpictures, Turk and Pentland 1991):
small pictures are standardised, projected on their leading principal components, and what the
projection cannot explain is the distance. A test pattern is far; the label probabilities of such a
picture mean nothing. How a picture lies and what it shows is another question, which a check that
was trained for it answers (``view_check.py``). Only means and components are kept, no picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from cascade.models.view_check import ViewCheck

SIDE = 32
COMPONENTS = 40
UNLIKE = "unlike the training radiographs: {:.2f} times the accepted distance"


class Suitability(nn.Module):
    """Distance of a picture from the training pictures, in units of the accepted limit.

    Attributes:
        check: of view and orientation, beside the distance; None of a bundle without.

    Shape:
        - images: ``(B, 1, H, W)`` in [0, 1]
        - output: ``(B,)``; above 1 is doubtful
    """

    mean: Tensor
    components: Tensor
    limit: Tensor

    def __init__(self, components: int = COMPONENTS, check: ViewCheck | None = None) -> None:
        """Room for ``components`` directions, to be filled by ``fit`` or a state dict."""
        super().__init__()
        self.check = check
        self.register_buffer("mean", torch.zeros(SIDE * SIDE))
        self.register_buffer("components", torch.zeros(components, SIDE * SIDE))
        self.register_buffer("limit", torch.ones(()))

    @staticmethod
    def standardise(images: Tensor) -> Tensor:
        """Small pictures of mean 0 and deviation 1, flattened: ``(B, SIDE * SIDE)``."""
        small = F.interpolate(images, size=(SIDE, SIDE), mode="area").flatten(1)
        small = small - small.mean(dim=1, keepdim=True)
        return small / small.std(dim=1, keepdim=True).clamp_min(1e-4)

    def _residual(self, images: Tensor) -> Tensor:
        centred = self.standardise(images) - self.mean
        explained = centred @ self.components.T @ self.components
        return (centred - explained).square().mean(dim=1).sqrt()

    def forward(self, images: Tensor) -> Tensor:
        """Distance over limit."""
        return self._residual(images) / self.limit

    def doubts(self, images: Tensor, views: Tensor) -> list[tuple[str, ...]]:
        """What is said against some studies: of view and orientation, and of the oddest image.

        Shape:
            - images: ``(B, V, 1, H, W)`` in [0, 1]
            - views: ``(B, V)`` bool, which of the places hold an image
        """
        flat = images[views]
        seen = [None] * len(flat) if self.check is None else self.check(flat)
        apart = self(flat).tolist()
        found, start = [], 0
        for count in views.sum(dim=1).tolist():
            end = start + count
            said = list(dict.fromkeys(phrase for phrase in seen[start:end] if phrase))
            far = max(apart[start:end], default=0.0)
            found.append(tuple(said + ([UNLIKE.format(far)] if far > 1.0 else [])))
            start = end
        return found

    @classmethod
    def fit(
        cls, train: Tensor, val: Tensor, quantile: float = 0.995, margin: float = 1.1
    ) -> Suitability:
        """Span the space by training pictures; set the limit by validation pictures.

        Args:
            train: ``(N, 1, H, W)`` in [0, 1].
            val: ``(M, 1, H, W)``, not among ``train``: the space has not been fitted to them.
            quantile: this share of the validation pictures is accepted ...
            margin: ... and all up to this factor beyond.
        """
        flat = cls.standardise(train)
        count = min(COMPONENTS, max(1, len(train) // 4), SIDE * SIDE)
        model = cls(count)
        model.mean.copy_(flat.mean(dim=0))
        _, _, directions = torch.linalg.svd(flat - model.mean, full_matrices=False)
        model.components.copy_(directions[:count])
        limit = torch.quantile(model._residual(val), quantile) * margin
        model.limit.copy_(limit.clamp_min(1e-6))  # 0 where the pictures are all alike
        return model
