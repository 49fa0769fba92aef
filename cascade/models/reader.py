"""The whole trained reader: classifier, decoder, the sense of doubt, and their words."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cascade.labels.table import Label, disease_owners
from cascade.models.decoders import RecurrentDecoder
from cascade.models.generation import Generated, generate
from cascade.models.heads import StudyClassifier, disease_probabilities, probabilities
from cascade.models.suitability import Suitability
from cascade.text.vocabulary import UNK, Vocabulary


class Reading(NamedTuple):
    """What the reader says of a batch of studies.

    Attributes:
        features: ``(B, D)`` pooled features.
        labels: ``(B, K)`` probabilities of the labels.
        diseases: ``(B, C)`` probabilities of the diseases, their contexts merged.
        drafts: B texts, or None without a decoder.
        confidences: ``(B,)`` in (0, 1], the mean probability of a draft's token; None without one.
    """

    features: Tensor
    labels: Tensor
    diseases: Tensor
    drafts: list[str] | None
    confidences: Tensor | None


class Reader(nn.Module):
    """Networks and names together; a model knows its labels.

    Args:
        classifier: encoder and head.
        labels: of the head, in order.
        exclusive: softmax or sigmoid.
        decoder: absent after the classifier stage alone.
        vocabulary: of the decoder.
        suitability: absent where there was nothing to fit it on.
        first_word: ``free``, or ``label``: the draft begins with the likeliest label's disease.
        max_length: most tokens of a draft.
        width: of the beam.
        length_penalty: of the beam.
    """

    def __init__(
        self,
        classifier: StudyClassifier,
        labels: list[Label],
        exclusive: bool,
        decoder: RecurrentDecoder | None = None,
        vocabulary: Vocabulary | None = None,
        suitability: Suitability | None = None,
        first_word: str = "free",
        max_length: int = 40,
        width: int = 3,
        length_penalty: float = 0.0,
    ) -> None:
        """Join the parts; nothing is copied.

        Raises:
            ValueError: unknown ``first_word``.
        """
        super().__init__()
        if first_word not in ("free", "label"):
            raise ValueError(f"unknown first_word {first_word!r}, expected 'free' or 'label'")
        self.classifier, self.decoder, self.suitability = classifier, decoder, suitability
        self.labels, self.exclusive, self.vocabulary = labels, exclusive, vocabulary
        self.first_word, self.max_length = first_word, max_length
        self.width, self.length_penalty = width, length_penalty
        self.diseases = list(dict.fromkeys(label.disease for label in labels))
        self.owners = disease_owners(labels)

    def _prefixes(self, scores: Tensor) -> list[list[int]] | None:
        if self.first_word == "free" or self.vocabulary is None:
            return None
        names = [self.labels[index].disease for index in scores.argmax(dim=1).tolist()]
        # A disease that no training text names has no word: such a draft begins freely.
        return [[i for i in self.vocabulary.encode(name)[1:-1] if i != UNK] for name in names]

    def draft(self, features: Tensor, scores: Tensor, width: int | None = None) -> Generated:
        """Free-running drafts of some studies; ``scores`` are their label probabilities.

        Raises:
            ValueError: the reader has no decoder.
        """
        if self.decoder is None or self.vocabulary is None:
            raise ValueError("this model has no decoder: train stage=generator on top of it")
        return generate(
            self.decoder,
            features,
            self.max_length,
            width=width or self.width,
            length_penalty=self.length_penalty,
            prefixes=self._prefixes(scores),
        )

    @torch.no_grad()
    def read(self, images: Tensor, views: Tensor) -> Reading:
        """Features, probabilities and drafts of a batch; the module must be in evaluation mode.

        Shape:
            - images: ``(B, V, 1, H, W)`` in [0, 1]
            - views: ``(B, V)`` bool
        """
        features = self.classifier.features(images, views)
        labels = probabilities(self.classifier.classify(features), self.exclusive)
        diseases = disease_probabilities(labels, self.owners, len(self.diseases), self.exclusive)
        if self.decoder is None or self.vocabulary is None:
            return Reading(features, labels, diseases, None, None)
        generated = self.draft(features, labels)
        drafts = [self.vocabulary.decode(ids) for ids in generated.tokens]
        return Reading(features, labels, diseases, drafts, generated.confidences)
