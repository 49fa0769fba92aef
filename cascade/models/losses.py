"""Losses that know what is not known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

LOSSES = ("bce", "focal", "asymmetric")
UNCERTAIN = ("ignore", "positive", "negative", "soft")
CLASS_WEIGHTS = ("none", "inverse", "effective")


class LabelLoss(nn.Module):
    """The mean loss of label scores over what is known; an unknown label (NaN) takes no part.

    Labels that do not exclude each other are scored one by one: ``bce``, binary cross entropy;
    ``focal``, each term by ``(1 - p)^gamma`` of the right answer's probability ``p`` (Lin et al.
    2017, without their alpha, for which ``weights`` stand); ``asymmetric``, a power for either
    class, and negatives below ``clip`` let go (Ridnik et al. 2021). Exclusive labels: cross entropy
    of the rows that carry one, or its focal form.

    Uncertain labels (-1), as in Irvin et al. 2019: ``ignore``, ``positive``, ``negative``; or
    ``soft``, a target drawn from ``soft_range`` each time (Pham et al. 2021: 0.55 to 0.85, or 0 to
    0.3 to lean to absent). An exclusive label is made of an uncertain one by ``positive`` alone,
    where a study has one uncertain label and no certain one.

    A batch without anything known gives 0, so that training goes on.

    Shape:
        - logits, labels: ``(B, K)``; labels 1, 0, -1, NaN
        - output: scalar
    """

    weights: Tensor | None

    def __init__(
        self,
        exclusive: bool,
        loss: str = "bce",
        *,
        uncertain: str = "ignore",
        soft_range: Sequence[float] = (0.55, 0.85),
        gamma: float = 2.0,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        clip: float = 0.05,
        weights: Tensor | None = None,
    ) -> None:
        """Choose.

        Args:
            exclusive: softmax or sigmoid.
            loss: of ``LOSSES``.
            uncertain: of ``UNCERTAIN``.
            soft_range: of ``soft``, in [0, 1].
            gamma: of ``focal``.
            gamma_positive: of ``asymmetric``, for labels that are present.
            gamma_negative: of ``asymmetric``, for labels that are absent.
            clip: of ``asymmetric``, in [0, 1).
            weights: of ``class_weights``.

        Raises:
            ValueError: an unknown name, a range that is none, or a choice that exclusive labels do
                not have.
        """
        super().__init__()
        for key, value, names in (
            ("loss", loss, LOSSES),
            ("uncertain policy", uncertain, UNCERTAIN),
        ):
            if value not in names:
                raise ValueError(f"unknown {key} {value!r}, expected one of {list(names)}")
        if len(soft_range) != 2 or not 0 <= soft_range[0] <= soft_range[1] <= 1:
            raise ValueError(f"soft_range {list(soft_range)}: expected [LOW, HIGH] within 0 and 1")
        if exclusive and loss == "asymmetric":
            raise ValueError("loss 'asymmetric' is not for exclusive labels: take bce or focal")
        if exclusive and uncertain == "soft":
            raise ValueError("uncertain 'soft' is not for exclusive labels: take another policy")
        self.exclusive, self.loss, self.uncertain = exclusive, loss, uncertain
        self.low, self.high = soft_range
        self.gamma, self.clip = gamma, clip
        self.gamma_positive, self.gamma_negative = gamma_positive, gamma_negative
        self.register_buffer("weights", weights, persistent=False)
        self.generator = torch.Generator()

    def reseed(self, seed: int) -> None:
        """Begin the soft targets anew, as each epoch does, so that a resumed run draws the same."""
        self.generator.manual_seed(seed)

    def targets(self, labels: Tensor) -> Tensor:
        """What each label ought to be, in [0, 1]; NaN takes no part; ``(B, K)``."""
        uncertain = labels == -1
        if self.exclusive and self.uncertain == "positive":
            # One class a row: an uncertain label stands for it where nothing else does.
            alone = (uncertain.sum(1, keepdim=True) == 1) & ~(labels == 1).any(1, keepdim=True)
            return labels.masked_fill(uncertain & alone, 1.0).masked_fill(uncertain & ~alone, 0.0)
        if self.uncertain == "soft":
            drawn = torch.rand(labels.shape, generator=self.generator)
            drawn = self.low + (self.high - self.low) * drawn
            return torch.where(uncertain, drawn.to(labels), labels)
        value = {"ignore": torch.nan, "positive": 1.0, "negative": 0.0}[self.uncertain]
        return labels.masked_fill(uncertain, value)

    def forward(
        self, logits: Tensor, labels: Tensor, columns: Sequence[int] | None = None
    ) -> Tensor:
        """The loss, of all labels or of some columns of them."""
        targets, weights = self.targets(labels), self.weights
        if columns is not None:
            logits, targets = logits[:, columns], targets[:, columns]
            weights = None if weights is None else weights[..., columns]
        if self.exclusive:
            return self._exclusive(logits, targets, weights)
        known = ~targets.isnan()
        if not known.any():
            return logits.sum() * 0.0
        present, absent = self._terms(logits.float())
        if weights is not None:
            absent, present = absent * weights[0], present * weights[1]
        targets = torch.where(known, targets, 0.0).to(present)
        return (targets * present + (1 - targets) * absent)[known].mean()

    def _terms(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """What each score would cost were its label present, and were it absent; ``(B, K)``."""
        present, absent = F.softplus(-logits), F.softplus(logits)
        if self.loss == "bce":
            return present, absent
        chance = logits.sigmoid()
        if self.loss == "focal":
            return (1 - chance) ** self.gamma * present, chance**self.gamma * absent
        if self.clip > 0:
            chance = (chance - self.clip).clamp(min=0)
            absent = -torch.log1p(-chance)
        return (
            torch.sigmoid(-logits) ** self.gamma_positive * present,
            chance**self.gamma_negative * absent,
        )

    def _exclusive(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        known = (targets == 1).any(dim=1)
        if not known.any():
            return logits.sum() * 0.0
        classes = targets[known].eq(1).float().argmax(dim=1)
        costs = F.cross_entropy(logits[known].float(), classes, weights, reduction="none")
        if self.loss == "focal":
            chance = logits[known].float().softmax(dim=1).gather(1, classes[:, None])[:, 0]
            costs = (1 - chance) ** self.gamma * costs
        return costs.mean()


def label_loss(logits: Tensor, labels: Tensor, exclusive: bool) -> Tensor:
    """The plain mean loss over what is known: unknown and uncertain labels take no part.

    Exclusive labels: cross entropy over the rows that carry one. Otherwise binary cross entropy
    over the entries that are 1 or 0. A batch without any gives 0, so that training goes on.

    Shape:
        - logits, labels: ``(B, K)``
        - output: scalar
    """
    return LabelLoss(exclusive)(logits, labels)


def class_weights(
    targets: Tensor, kind: str, exclusive: bool, beta: float = 0.999
) -> Tensor | None:
    """What each class weighs in the loss, from how often it occurs in training.

    ``inverse``: by 1 / n of the class's count n. ``effective``: by (1 - beta) / (1 - beta^n), the
    effective number of examples (Cui et al. 2019). The classes of a label are absent and present;
    exclusive labels are the classes of one question. Weights are scaled so that they are 1 in the
    mean over the training studies: the loss keeps its size, and the learning rate its meaning.

    Args:
        targets: ``(N, K)`` of ``LabelLoss.targets``; only 1 and 0 count.
        kind: of ``CLASS_WEIGHTS``.
        exclusive: softmax or sigmoid.
        beta: in [0, 1); 0 weighs all alike, towards 1 it comes to ``inverse``.

    Returns:
        None for ``none``; ``(K,)`` for exclusive labels, else ``(2, K)``: absent, present.

    Raises:
        ValueError: unknown name.

    >>> class_weights(torch.tensor([[1.0], [0.0], [0.0], [0.0]]), "inverse", False)
    tensor([[0.6667],
            [2.0000]])
    """
    if kind not in CLASS_WEIGHTS:
        raise ValueError(f"unknown class_weights {kind!r}, expected one of {list(CLASS_WEIGHTS)}")
    if kind == "none":
        return None
    present = (targets == 1).sum(dim=0).double()
    counts = present if exclusive else torch.stack([(targets == 0).sum(dim=0).double(), present])
    if kind == "inverse":
        raw = 1 / counts.clamp(min=1)
    else:
        raw = (1 - beta) / (1 - beta ** counts.clamp(min=1))
    mean = (raw * counts).sum(dim=0) / counts.sum(dim=0).clamp(min=1)
    return torch.where(mean > 0, raw / mean, torch.ones_like(raw)).float()


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
