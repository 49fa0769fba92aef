"""How does a picture lie, and is it a chest radiograph? A linear model on gradient orientations.

Histograms of oriented gradients (Dalal and Triggs 2005) of a small standardised picture, its grey
values smaller still, and a softmax over what it may be: an upright frontal chest radiograph, one
that is inverted or turned, a lateral view, or something else. ``cascade.training.fit_view_check``
fits it to the training pictures of each bundle; this applies it. Only weights are kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

SIDE = 64
BINS, CELL, GREYS = 8, 8, 16
FEATURES = BINS * (SIDE // CELL) ** 2 + GREYS**2

_TURNS = {90: "by 90 degrees clockwise", 180: "by 180 degrees", 270: "by 90 degrees anticlockwise"}
PHRASES: dict[str, str | None] = {
    "frontal": None,
    "lateral": "looks like a lateral view",
    "inverted": "looks inverted",
    **{f"turned{by}": f"looks turned {how}" for by, how in _TURNS.items()},
    **{f"inverted_turned{by}": f"looks inverted and turned {how}" for by, how in _TURNS.items()},
    "other": "looks unlike a chest radiograph",
}
"""What a picture may be, and what is said of it. Turned clockwise: turn it back the other way."""


def gradient_features(images: Tensor) -> Tensor:
    """What the check sees of pictures: ``(B, FEATURES)``, whatever their exposure.

    Shape:
        - images: ``(B, 1, H, W)`` in [0, 1]
    """
    small = F.interpolate(images, size=(SIDE, SIDE), mode="area")
    small = small - small.mean(dim=(2, 3), keepdim=True)
    small = small / small.std(dim=(2, 3), keepdim=True).clamp_min(1e-2)
    padded = F.pad(small, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    strength = torch.sqrt(across**2 + down**2 + 1e-12)
    # each gradient is shared between the two bins beside its angle, over the whole circle:
    # of an inverted picture all point the other way
    place = torch.atan2(down, across) * (BINS / (2 * math.pi))
    apart = (place - torch.arange(BINS, device=place.device).view(1, BINS, 1, 1)).abs()
    apart = torch.minimum(apart % BINS, BINS - apart % BINS)
    cells = F.avg_pool2d(strength * (1 - apart).clamp_min(0), CELL)
    energy = F.avg_pool2d(cells.square().sum(dim=1, keepdim=True), 3, 1, 1, count_include_pad=False)
    oriented = (cells / (energy + 1e-3).sqrt()).clamp_min(0).sqrt()
    greys = F.interpolate(small, size=(GREYS, GREYS), mode="area")
    return torch.cat([oriented.flatten(1), greys.flatten(1)], dim=1)


class ViewCheck(nn.Module):
    """Doubt about how a picture lies and what it shows.

    Args:
        classes: keys of ``PHRASES``, in the order of the scores.
        accepted: those of them that the network was trained to read.
        pictures: how many frontal and lateral ones it was fitted to, for the model card.

    Attributes:
        weight: ``(K, FEATURES)``.
        bias: ``(K,)``.
        limit: a picture is doubtful where a class that is not accepted leads by more.
    """

    weight: Tensor
    bias: Tensor
    limit: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        accepted: Sequence[str] = ("frontal",),
        pictures: Mapping[str, int] | None = None,
    ) -> None:
        """Room for the weights, to be filled by a fit or a state dict.

        Raises:
            ValueError: an unknown class, or none that is accepted, or all.
        """
        super().__init__()
        unknown = [name for name in (*classes, *accepted) if name not in PHRASES]
        if unknown:
            raise ValueError(f"unknown classes {unknown}, expected some of {list(PHRASES)}")
        if not 0 < len(set(classes) & set(accepted)) < len(classes):
            raise ValueError(f"{list(accepted)} are none or all of the classes {list(classes)}")
        self.classes, self.accepted = tuple(classes), tuple(accepted)
        self.pictures = dict(pictures or {})
        self.register_buffer("weight", torch.zeros(len(classes), FEATURES))
        self.register_buffer("bias", torch.zeros(len(classes)))
        self.register_buffer("limit", torch.zeros(()))

    def leads(self, images: Tensor) -> Tensor:
        """By how much each class leads the accepted ones, in log odds; those do not lead.

        Shape:
            - images: ``(B, 1, H, W)`` in [0, 1]
            - output: ``(B, K)``
        """
        scores = F.linear(gradient_features(images), self.weight, self.bias)
        good = torch.tensor([name in self.accepted for name in self.classes], device=scores.device)
        best = scores[:, good].logsumexp(dim=1, keepdim=True)
        return (scores - best).masked_fill(good, -math.inf)

    def forward(self, images: Tensor) -> list[str | None]:
        """What is said against each picture; None where nothing is."""
        lead, index = self.leads(images).max(dim=1)
        return [
            PHRASES[self.classes[which]] if doubtful else None
            for which, doubtful in zip(index.tolist(), (lead > self.limit).tolist(), strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """What rebuilds it, without the weights."""
        return {
            "classes": list(self.classes),
            "accepted": list(self.accepted),
            "pictures": self.pictures,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> ViewCheck:
        """The inverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: it is not one's.
        """
        return cls(found["classes"], found["accepted"], found["pictures"])
