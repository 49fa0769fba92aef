"""Losses that know what is not known."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor


def label_loss(logits: Tensor, labels: Tensor, exclusive: bool) -> Tensor:
    """Mean loss over what is known: unknown (NaN) and uncertain (-1) labels take no part.

    Exclusive labels: cross entropy over the rows that carry one. Otherwise binary cross entropy
    over the entries that are 1 or 0. A batch without any gives 0, so that training goes on.

    Shape:
        - logits, labels: ``(B, K)``
        - output: scalar
    """
    if exclusive:
        known = (labels == 1).any(dim=1)
        if not known.any():
            return logits.sum() * 0.0
        return F.cross_entropy(logits[known], labels[known].eq(1).float().argmax(dim=1))
    known = labels >= 0  # NaN compares False
    if not known.any():
        return logits.sum() * 0.0
    return F.binary_cross_entropy_with_logits(logits[known], labels[known])


def sequence_loss(logits: Tensor, targets: Tensor, padding: int, smoothing: float = 0.0) -> Tensor:
    """Cross entropy a token, padding left out.

    Shape:
        - logits: ``(B, T, V)``
        - targets: ``(B, T)``
        - output: scalar
    """
    return F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=padding, label_smoothing=smoothing
    )
