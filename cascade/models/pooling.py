"""From the places of a view's feature map to a vector, or to a score for each label.

Multiple-instance learning: a study's label is known, the places that carry it are not. A pooling of
vectors (``mean``, ``gated_attention``) makes one vector of all places, which the head scores. A
pooling of scores (``max``, ``lse``, ``noisy_or``) lets the head score every place and pools, for
each label apart. All but ``mean`` say which places the score came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade.models.encoders import Encoder


class Pooled(NamedTuple):
    """What a pooling makes of N views.

    Attributes:
        features: ``(N, D)``, what decoders of pooled features read.
        logits: ``(N, K)``; None where the head scores the features of the study.
        evidence: ``(N, K, H', W')``, what each place says for each label: its own logit where
            scores are pooled, its share of the logit where vectors are; None of a plain mean.
    """

    features: Tensor
    logits: Tensor | None
    evidence: Tensor | None


class Pooling(nn.Module):
    """Base: pools the places of each view."""

    def forward(self, encoder: Encoder, maps: Tensor, head: nn.Linear, dropout: float) -> Pooled:
        """Pool the feature maps of some views.

        Args:
            encoder: whose maps they are.
            maps: ``(N, D, H', W')``.
            head: scores a vector of D numbers.
            dropout: share of the channels that poolings of scores drop in training, each in all
                places of a view; the head of a vector has its own.
        """
        raise NotImplementedError


class MeanPooling(Pooling):
    """The encoder's own pooled vector: the mean over the places."""

    def forward(self, encoder: Encoder, maps: Tensor, head: nn.Linear, dropout: float) -> Pooled:
        """Features alone."""
        return Pooled(encoder.pool(maps), None, None)


class GatedAttention(nn.Module):
    """Weights over a set of vectors that add up to 1 (gated attention, Ilse et al. 2018).

    Shape:
        - vectors: ``(N, P, D)``
        - present: ``(N, P)`` bool, at least one True a row; None: all are
        - output: ``(N, P)``, 0 where absent
    """

    def __init__(self, num_features: int, width: int) -> None:
        """Random weights; ``width`` numbers are kept of each vector."""
        super().__init__()
        self.content = nn.Linear(num_features, width)
        self.gate = nn.Linear(num_features, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, vectors: Tensor, present: Tensor | None = None) -> Tensor:
        """The weight of each vector."""
        gated = self.content(vectors).tanh() * self.gate(vectors).sigmoid()
        scores = self.score(gated).squeeze(-1).float()
        if present is not None:
            scores = scores.masked_fill(~present, -math.inf)
        return scores.softmax(dim=1)


class AttentionPooling(Pooling):
    """The places' mean, weighed by gated attention that all labels share (Ilse et al. 2018).

    The features are that mean. The evidence of the places and the head's bias add up to the logit.
    """

    def __init__(self, num_features: int, width: int) -> None:
        """Random attention."""
        super().__init__()
        self.attention = GatedAttention(num_features, width)

    def forward(self, encoder: Encoder, maps: Tensor, head: nn.Linear, dropout: float) -> Pooled:
        """Features, and each place's share of the logits."""
        places = encoder.places(maps)
        weighed = self.attention(places).to(places.dtype).unsqueeze(2) * places
        shares = F.linear(weighed, head.weight).transpose(1, 2)
        return Pooled(weighed.sum(dim=1), None, shares.unflatten(2, maps.shape[2:]))


class ScorePooling(Pooling):
    """The head scores every place; the scores are pooled for each label; the features are the mean.

    Of one place all poolings give its score.
    """

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        """``pool`` makes ``(N, K)`` of ``(N, K, P)``."""
        super().__init__()
        self.pool = pool

    def forward(self, encoder: Encoder, maps: Tensor, head: nn.Linear, dropout: float) -> Pooled:
        """Features, logits, and the logits of the places."""
        places = encoder.places(maps).transpose(1, 2)
        places = F.dropout1d(places, dropout, self.training)
        scores = F.linear(places.transpose(1, 2), head.weight, head.bias).transpose(1, 2).float()
        return Pooled(
            encoder.pool(maps), self.pool(scores), scores.unflatten(2, tuple(maps.shape[2:]))
        )


def max_score(scores: Tensor) -> Tensor:
    """The highest place alone.

    >>> max_score(torch.tensor([[[0.0, 2.0, -1.0]]]))
    tensor([[2.]])
    """
    return scores.amax(dim=2)


def log_sum_exp(scores: Tensor, r: float) -> Tensor:
    """Between the mean (``r`` near 0) and the maximum (``r`` large) of the places.

    ``log(mean(exp(r * s))) / r``, Pinheiro and Collobert 2015; Wang et al. 2017 found 10 good.

    >>> log_sum_exp(torch.tensor([[[0.0, 0.0]]]), 10.0)
    tensor([[0.]])
    """
    return (torch.logsumexp(r * scores, dim=2) - math.log(scores.shape[2])) / r


def noisy_or(scores: Tensor) -> Tensor:
    """The logit of ``1 - prod(1 - p)``: the label is absent if it is absent at every place.

    Each place's probability is ``sigmoid(s - log P)`` of P places, so that a head that knows
    nothing yet does not say "present" with certainty, and one head fits maps of any size. With the
    places' ``u = sum(softplus(s - log P))`` the logit is ``log(exp(u) - 1)``, taken without ever
    forming a probability: neither many sure places nor none at all overflow.

    >>> noisy_or(torch.tensor([[[1.5]]]))
    tensor([[1.5000]])
    """
    shifted = scores - math.log(scores.shape[2])
    # softplus(s) is exp(s) to all digits of a float below -15, where its logarithm would end.
    low = shifted < -15
    inside = F.softplus(shifted.masked_fill(low, 0.0)).log()
    log_u = torch.logsumexp(torch.where(low, shifted, inside), dim=2)
    small = log_u < math.log(1e-3)
    u = log_u.masked_fill(small, 0.0).exp()
    # log(exp(u) - 1) = log(u) + u / 2 + u ** 2 / 24 - ...
    series = log_u + log_u.clamp(max=math.log(1e-3)).exp() / 2
    return torch.where(small, series, u + log1mexp(u))


def log1mexp(u: Tensor) -> Tensor:
    """``log(1 - exp(-u))`` of ``u > 0`` without loss of digits (Maechler 2012)."""
    half = math.log(2)
    near, far = u.clamp(max=half), u.clamp(min=half)
    return torch.where(u < half, (-torch.expm1(-near)).log(), torch.log1p(-(-far).exp()))


POOLINGS: dict[str, Callable[[int, float, int], Pooling]] = {
    "mean": lambda num_features, lse_r, attention: MeanPooling(),
    "max": lambda num_features, lse_r, attention: ScorePooling(max_score),
    "lse": lambda num_features, lse_r, attention: ScorePooling(partial(log_sum_exp, r=lse_r)),
    "noisy_or": lambda num_features, lse_r, attention: ScorePooling(noisy_or),
    "gated_attention": lambda num_features, lse_r, attention: AttentionPooling(
        num_features, attention
    ),
}


def create_pooling(name: str, num_features: int, lse_r: float, attention: int) -> Pooling:
    """A pooling by name.

    Args:
        name: of ``POOLINGS``.
        num_features: D of the encoder.
        lse_r: sharpness of ``lse``.
        attention: width of ``gated_attention``.

    Raises:
        ValueError: unknown name.
    """
    if name not in POOLINGS:
        raise ValueError(f"unknown pooling {name!r}, expected one of {', '.join(POOLINGS)}")
    return POOLINGS[name](num_features, lse_r, attention)
