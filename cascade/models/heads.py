"""From feature maps to a study's label scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cascade.models.encoders import Encoder


class StudyClassifier(nn.Module):
    """Encoder, its pooled vector averaged over the study's views, linear scores.

    Attributes:
        encoder: the network without its head.
        head: linear, ``D -> K``.

    Shape:
        - images: ``(B, V, 1, H, W)`` in [0, 1]
        - views: ``(B, V)`` bool, at least one True a row
        - features: ``(B, D)``
        - logits: ``(B, K)``
    """

    def __init__(self, encoder: Encoder, num_labels: int, dropout: float = 0.0) -> None:
        """A random head on ``encoder`` as it stands; ``dropout`` is on the pooled features."""
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.num_features, num_labels)

    def features(self, images: Tensor, views: Tensor) -> Tensor:
        """Pooled features of each study, the mean over its views."""
        return self._pool(self.encoder(images.flatten(0, 1)[views.flatten()]), views)

    def features_and_maps(self, images: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features, and the feature maps ``(B, V, D, H', W')``, NaN where a view is absent.

        For decoders that look at places (``MapDecoder``); the encoder runs once for both.
        """
        flat = views.flatten()
        maps = self.encoder(images.flatten(0, 1)[flat])
        spread = maps.new_full((len(flat), *maps.shape[1:]), torch.nan)
        spread[flat] = maps
        return self._pool(maps, views), spread.view(*views.shape, *maps.shape[1:])

    def _pool(self, maps: Tensor, views: Tensor) -> Tensor:
        """The mean of the pooled maps of each study's views; ``maps`` are of those there are."""
        batch, places = views.shape
        pooled = self.encoder.pool(maps)
        if places == 1:
            return pooled
        spread = pooled.new_zeros(batch * places, pooled.shape[1])
        spread[views.flatten()] = pooled
        return spread.view(batch, places, -1).sum(1) / views.sum(1, keepdim=True)

    def classify(self, features: Tensor) -> Tensor:
        """Logits of pooled features."""
        return self.head(self.dropout(features))

    def forward(self, images: Tensor, views: Tensor) -> Tensor:
        """Logits of a batch of studies."""
        return self.classify(self.features(images, views))

    def replace_head(self, num_labels: int) -> None:
        """A fresh head for another label set; the encoder keeps its weights."""
        self.head = nn.Linear(self.encoder.num_features, num_labels)


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
