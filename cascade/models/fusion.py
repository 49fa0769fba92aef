"""From the views of a study to the study: any of the views may be absent, their order says nothing.

What is fused is what the pooling gave of each view: features, and logits where scores are pooled.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn

from cascade.models.pooling import GatedAttention


def spread(values: Tensor, views: Tensor, absent: float) -> Tensor:
    """Put what belongs to the views that are there in their places.

    Shape:
        - values: ``(N, ...)`` of the N views that are there, study by study
        - views: ``(B, V)`` bool
        - output: ``(B, V, ...)``, ``absent`` elsewhere
    """
    if len(values) == views.numel():
        return values.view(*views.shape, *values.shape[1:])
    out = values.new_full((views.numel(), *values.shape[1:]), absent)
    out[views.flatten()] = values
    return out.view(*views.shape, *values.shape[1:])


class Fusion(nn.Module):
    """Base: one row a study of one row a view.

    Shape:
        - features: ``(N, D)`` of the N views that are there
        - logits: ``(N, K)`` or None
        - views: ``(B, V)`` bool, at least one True a row
        - output: ``(B, D)``, and ``(B, K)`` or None
    """

    def forward(
        self, features: Tensor, logits: Tensor | None, views: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Fuse."""
        if views.shape[1] == 1:
            return features, logits
        return self.fuse(features, views), None if logits is None else self.fuse(logits, views)

    def fuse(self, values: Tensor, views: Tensor) -> Tensor:
        """``(N, X)`` to ``(B, X)``."""
        raise NotImplementedError


class MeanFusion(Fusion):
    """The mean over the views that are there."""

    def fuse(self, values: Tensor, views: Tensor) -> Tensor:
        """``(N, X)`` to ``(B, X)``."""
        return spread(values, views, 0.0).sum(1) / views.sum(1, keepdim=True)


class MaxFusion(Fusion):
    """The highest of the views, number by number (MRNet, Bien et al. 2018)."""

    def fuse(self, values: Tensor, views: Tensor) -> Tensor:
        """``(N, X)`` to ``(B, X)``."""
        return spread(values, views, -math.inf).amax(1)


class AttentionFusion(Fusion):
    """The mean weighed by gated attention over the views' features (Ilse et al. 2018)."""

    def __init__(self, num_features: int, width: int) -> None:
        """Random attention."""
        super().__init__()
        self.attention = GatedAttention(num_features, width)

    def forward(
        self, features: Tensor, logits: Tensor | None, views: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Fuse; one view alone has the weight 1."""
        placed = spread(features, views, 0.0)
        weights = self.attention(placed, views).to(features.dtype).unsqueeze(2)
        fused = (weights * placed).sum(1)
        if logits is None:
            return fused, None
        return fused, (weights.to(logits.dtype) * spread(logits, views, 0.0)).sum(1)


FUSIONS: dict[str, Callable[[int, int], Fusion]] = {
    "mean": lambda num_features, attention: MeanFusion(),
    "max": lambda num_features, attention: MaxFusion(),
    "attention": AttentionFusion,
}


def create_fusion(name: str, num_features: int, attention: int) -> Fusion:
    """A fusion by name.

    Args:
        name: of ``FUSIONS``.
        num_features: D of the encoder.
        attention: width of ``attention``.

    Raises:
        ValueError: unknown name.
    """
    if name not in FUSIONS:
        raise ValueError(f"unknown fusion {name!r}, expected one of {', '.join(FUSIONS)}")
    return FUSIONS[name](num_features, attention)
