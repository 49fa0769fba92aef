"""From feature maps to a study's label scores."""

from __future__ import annotations

from math import nan
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cascade.models.encoders import Encoder
from cascade.models.fusion import create_fusion, spread
from cascade.models.pooling import create_pooling

HEAD_OPTIONS = ("pooling", "fusion", "lse_r", "attention")
"""Settings that say how places and views are pooled."""


class StudyOutput(NamedTuple):
    """All that a classifier says of B studies with V places for views.

    Attributes:
        features: ``(B, D)`` pooled over places and views; what decoders of features read.
        logits: ``(B, K)``.
        maps: ``(B, V, D, H', W')`` feature maps, NaN where a view is absent; what decoders that
            look at places read.
        evidence: ``(B, V, K, H', W')`` what each place says for each label, NaN where a view is
            absent: a localisation map. None of the pooling ``mean``, which knows no places.
    """

    features: Tensor
    logits: Tensor
    maps: Tensor
    evidence: Tensor | None


class StudyClassifier(nn.Module):
    """Encoder, its map pooled over the places, the views fused, linear scores.

    Poolings of vectors (``mean``, ``gated_attention``): the views' vectors are fused and the head
    scores the study's. Poolings of scores (``max``, ``lse``, ``noisy_or``): the head scores the
    places, and the views' logits are fused. Either way each view is a bag of places of its own, so
    that a study of more views is no larger bag.

    Attributes:
        encoder: the network without its head.
        head: linear, ``D -> K``.
        pooling: of the places of a view.
        fusion: of the views of a study.

    Shape:
        - images: ``(B, V, 1, H, W)`` in [0, 1]
        - views: ``(B, V)`` bool, at least one True a row
        - features: ``(B, D)``
        - logits: ``(B, K)``
    """

    def __init__(
        self,
        encoder: Encoder,
        num_labels: int,
        dropout: float = 0.0,
        *,
        pooling: str = "mean",
        fusion: str = "mean",
        lse_r: float = 10.0,
        attention: int = 128,
    ) -> None:
        """A random head on ``encoder`` as it stands.

        Args:
            encoder: random or trained.
            num_labels: ``K``.
            dropout: of the pooled features' channels.
            pooling: of ``POOLINGS``.
            fusion: of ``FUSIONS``.
            lse_r: sharpness of the pooling ``lse``.
            attention: width of gated attention, of either.

        Raises:
            ValueError: unknown pooling or fusion.
        """
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.num_features, num_labels)
        self.pooling = create_pooling(pooling, encoder.num_features, lse_r, attention)
        self.fusion = create_fusion(fusion, encoder.num_features, attention)
        self._options = (pooling, fusion, lse_r, attention)

    def resolved(self) -> dict[str, Any]:
        """The settings of ``HEAD_OPTIONS`` that rebuild pooling and fusion."""
        return dict(zip(HEAD_OPTIONS, self._options, strict=True))

    def forward_all(self, images: Tensor, views: Tensor) -> StudyOutput:
        """Features, logits and maps of a batch of studies; the encoder runs once."""
        return self.read_maps(self._encode(images, views), views)

    def read_maps(self, maps: Tensor, views: Tensor) -> StudyOutput:
        """The same of the feature maps ``(N, D, H', W')`` of the N views that are there."""
        features, logits, evidence = self._score(maps, views)
        placed = None if evidence is None else spread(evidence, views, nan)
        return StudyOutput(features, logits, spread(maps, views, nan), placed)

    def forward(self, images: Tensor, views: Tensor) -> Tensor:
        """Logits of a batch of studies."""
        return self._score(self._encode(images, views), views)[1]

    def _encode(self, images: Tensor, views: Tensor) -> Tensor:
        return self.encoder(images.flatten(0, 1)[views.flatten()])

    def _score(self, maps: Tensor, views: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        pooled = self.pooling(self.encoder, maps, self.head, self.dropout.p)
        features, logits = self.fusion(pooled.features, pooled.logits, views)
        return features, self.classify(features) if logits is None else logits, pooled.evidence

    def classify(self, features: Tensor) -> Tensor:
        """Logits of studies that are one place with these features, such as a mean feature.

        What ``forward_all`` says of its own features where vectors are pooled; where scores are
        pooled its logits are of places that the features no longer tell apart.
        """
        return self.head(self.dropout(features))

    def replace_head(self, num_labels: int, **options: Any) -> None:
        """A fresh head for another label set; the encoder keeps its weights.

        So does attention, which knows no labels, unless ``options`` (of ``HEAD_OPTIONS``) ask for
        another pooling or fusion than there is.

        Raises:
            ValueError: unknown pooling or fusion.
        """
        width = self.encoder.num_features
        self.head = nn.Linear(width, num_labels)
        before, wanted = self.resolved(), self.resolved() | options
        pooling, fusion, lse_r, attention = (wanted[name] for name in HEAD_OPTIONS)
        changed = {name for name in HEAD_OPTIONS if wanted[name] != before[name]}
        if changed & {"pooling", "lse_r", "attention"}:
            self.pooling = create_pooling(pooling, width, lse_r, attention)
        if changed & {"fusion", "attention"}:
            self.fusion = create_fusion(fusion, width, attention)
        self._options = (pooling, fusion, lse_r, attention)


def probabilities(logits: Tensor, exclusive: bool) -> Tensor:
    """Softmax over exclusive labels, sigmoid of each label otherwise; ``(B, K)``."""
    return logits.softmax(dim=1) if exclusive else logits.sigmoid()


def disease_probabilities(
    label_probabilities: Tensor, owners: list[int], num_diseases: int, exclusive: bool
) -> Tensor:
    """Merge the labels of each disease (its contexts) into the disease's probability.

    Exclusive labels add up. Otherwise the largest context stands for the disease: the contexts are
    parts of one finding, not independent events. A label without an owner takes no part.

    Args:
        label_probabilities: ``(B, K)``.
        owners: for each label the index of the disease it speaks for, -1 for none.
        num_diseases: number of diseases ``C``.
        exclusive: whether the labels exclude each other.

    Returns:
        ``(B, C)`` in [0, 1].

    >>> disease_probabilities(torch.tensor([[0.2, 0.5, 0.3]]), [0, 1, 1], 2, True)
    tensor([[0.2000, 0.8000]])
    >>> disease_probabilities(torch.tensor([[0.2, 0.5, 0.3]]), [0, 1, 1], 2, False)
    tensor([[0.2000, 0.5000]])
    """
    speaking = [column for column, owner in enumerate(owners) if owner >= 0]
    label_probabilities = label_probabilities[:, speaking]
    chosen = torch.tensor(
        [owners[column] for column in speaking], device=label_probabilities.device
    )
    index = chosen.expand_as(label_probabilities)
    out = label_probabilities.new_zeros(len(label_probabilities), num_diseases)
    reduce = "sum" if exclusive else "amax"
    return out.scatter_reduce(1, index, label_probabilities, reduce, include_self=True)
