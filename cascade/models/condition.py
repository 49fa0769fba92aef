"""What a decoder knows of a study beside its image: the words of the indication.

The referring physician's question is read by a small GRU over a vocabulary of its own, made of
training studies alone. Its last state stands beside the image features: behind the pooled vector,
or behind the features of every place of a map, so that attention stays a matter of places. A study
without an indication has a learned vector in its stead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from cascade.errors import InputError
from cascade.models.decoders.base import channel_axis
from cascade.text.preparation import Preparation
from cascade.text.vocabulary import PAD, Vocabulary

CONDITIONS = ("none", "indication")
MAX_LENGTH = 40
"""Words of an indication that are read."""
_RARE = 2  # a word of one training study is unknown, so that unknown words are learnt too


class Condition(nn.Module):
    """The words of an indication as a vector.

    Args:
        vocabulary: of the indications.
        size: ``C``, of the word vectors and of the state.
        dropout: on the word vectors.

    Shape:
        - tokens: ``(B, L)``, padded; a row of padding alone is a study without an indication
        - output: ``(B, C)`` in (-1, 1), but for the learned vector
    """

    def __init__(self, vocabulary: Vocabulary, size: int = 64, dropout: float = 0.0) -> None:
        """Random weights."""
        super().__init__()
        self.vocabulary, self.size = vocabulary, size
        self.embedding = nn.Embedding(len(vocabulary), size, padding_idx=PAD)
        self.dropout = nn.Dropout(dropout)
        self.rnn = nn.GRU(size, size, batch_first=True)
        self.missing = nn.Parameter(torch.zeros(size))

    @staticmethod
    def learn_vocabulary(indications: Sequence[str]) -> Vocabulary:
        """The words of training indications; marks of de-identification are one token.

        Raises:
            InputError: not one of them has a word.
        """
        prepare = Preparation(normalise=True, marks="predict")
        texts = [text for text in indications if text.strip()]
        if not texts:
            raise InputError(
                "no training study has an indication: give generator.condition=none, or a "
                "collection that has them"
            )
        try:
            return Vocabulary.build(texts, "words", _RARE, prepare=prepare)
        except InputError:  # so few texts that every word is rare
            return Vocabulary.build(texts, "words", prepare=prepare)

    def tokens(self, indications: Sequence[str]) -> Tensor:
        """``(B, L)`` ids of indications as written; an empty one is a row of padding."""
        rows = [self.vocabulary.encode(text, MAX_LENGTH)[1:-1] for text in indications]
        return pad_sequence(
            [torch.tensor(row or [PAD]) for row in rows], batch_first=True, padding_value=PAD
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """One vector a study."""
        lengths = (tokens != PAD).sum(dim=1)
        states, _ = self.rnn(self.dropout(self.embedding(tokens)))
        last = (lengths - 1).clamp_min(0).view(-1, 1, 1).expand(-1, 1, self.size)
        read = states.gather(1, last).squeeze(1)
        return torch.where((lengths > 0).unsqueeze(1), read, self.missing)

    def join(self, features: Tensor, tokens: Tensor | None) -> Tensor:
        """Features with ``C`` channels more.

        Args:
            features: ``(B, D)`` or maps ``(B, [V,] D, H', W')``.
            tokens: None for studies without an indication.
        """
        if tokens is None:
            beside = self.missing.expand(len(features), -1)
        else:
            beside = self(tokens.to(features.device))
        axis = channel_axis(features)
        shape = [1] * features.dim()
        shape[0], shape[axis] = beside.shape
        size = list(features.shape)
        size[axis] = self.size
        return torch.cat([features.float(), beside.view(shape).expand(size)], dim=axis)

    def to_json(self) -> dict[str, Any]:
        """What rebuilds it, but for its weights."""
        return {"size": self.size, "vocabulary": self.vocabulary.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Condition:
        """The inverse of ``to_json``, with random weights.

        Raises:
            InputError, KeyError, TypeError, ValueError: another file's content.
        """
        return cls(Vocabulary.from_json(value["vocabulary"]), int(value["size"]))
