"""The whole trained reader: classifier, decoder, the sense of doubt, and their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cascade.labels.table import Label, disease_owners
from cascade.models.calibration import Calibration
from cascade.models.condition import Condition
from cascade.models.decoders import Decoder
from cascade.models.decoders.base import channel_axis
from cascade.models.generation import Generated, generate, generate_diverse, sample
from cascade.models.heads import StudyClassifier, disease_probabilities
from cascade.models.suitability import Suitability
from cascade.text.vocabulary import UNK, Vocabulary

DECODINGS = ("beam", "sample")


class Reading(NamedTuple):
    """What the reader says of a batch of studies.

    Attributes:
        features: ``(B, D)`` pooled features.
        labels: ``(B, K)`` probabilities of the labels.
        diseases: ``(B, C)`` probabilities of the diseases, their contexts merged.
        drafts: B texts, or None without a decoder.
        confidences: ``(B,)`` in (0, 1], the mean probability of a draft's token; None without one.
        generated: the drafts as ids, with the log probability of each token and, of a decoder that
            looks at places, where it looked; None without one.
    """

    features: Tensor
    labels: Tensor
    diseases: Tensor
    drafts: list[str] | None
    confidences: Tensor | None
    generated: Generated | None = None


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
        no_repeat: no sequence of so many tokens stands twice in a draft; 0 allows it.
        decoding: ``beam``, or ``sample``: a draft is drawn word by word, as in Shin et al. 2016.
        temperature: of the draws.
        top_p: of the draws.
        seed: of the draws.
        condition: reads the indication for the decoder; absent where it knows the image alone.
        calibration: of the label probabilities; None leaves them as they come.
        operating_points: of the diseases, as ``cascade.training.calibrate`` writes them; None where
            none were chosen.
        abstention: when a draft is withheld, as ``cascade.training.abstain`` writes it; None of a
            reader that was not asked.
    """

    def __init__(
        self,
        classifier: StudyClassifier,
        labels: list[Label],
        exclusive: bool,
        decoder: Decoder | None = None,
        vocabulary: Vocabulary | None = None,
        suitability: Suitability | None = None,
        first_word: str = "free",
        max_length: int = 40,
        width: int = 3,
        length_penalty: float = 0.0,
        no_repeat: int = 0,
        decoding: str = "beam",
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
        condition: Condition | None = None,
        calibration: Calibration | None = None,
        operating_points: dict[str, dict[str, Any]] | None = None,
        abstention: dict[str, Any] | None = None,
    ) -> None:
        """Join the parts; nothing is copied.

        Raises:
            ValueError: unknown ``first_word`` or ``decoding``.
        """
        super().__init__()
        if decoding not in DECODINGS:
            raise ValueError(f"unknown decoding {decoding!r}, expected one of {DECODINGS}")
        if first_word not in ("free", "label"):
            raise ValueError(f"unknown first_word {first_word!r}, expected 'free' or 'label'")
        self.classifier, self.decoder, self.suitability = classifier, decoder, suitability
        self.condition = condition
        self.labels, self.exclusive, self.vocabulary = labels, exclusive, vocabulary
        self.first_word, self.max_length = first_word, max_length
        self.width, self.length_penalty, self.no_repeat = width, length_penalty, no_repeat
        self.decoding, self.temperature, self.top_p, self.seed = decoding, temperature, top_p, seed
        self.calibration = calibration or Calibration(exclusive)
        self.operating_points, self.abstention = operating_points, abstention
        self.diseases = list(dict.fromkeys(label.disease for label in labels))
        self.owners = disease_owners(labels)

    def prefixes(self, scores: Tensor) -> list[list[int]] | None:
        """The tokens that each study's draft must begin with; None where drafts begin freely."""
        if self.first_word == "free" or self.vocabulary is None:
            return None
        names = [self.labels[index].disease for index in scores.argmax(dim=1).tolist()]
        # A disease that no training text names has no word: such a draft begins freely.
        return [[i for i in self.vocabulary.encode(name)[1:-1] if i != UNK] for name in names]

    @property
    def wants_maps(self) -> bool:
        """Whether drafts need the feature maps instead of the pooled features."""
        return self.decoder is not None and self.decoder.input == "map"

    def join(self, features: Tensor, indications: Sequence[str] | None = None) -> Tensor:
        """What the decoder reads: image features, and where it is conditioned the indications.

        Args:
            features: pooled, or maps where ``wants_maps``. Joined ones come back as they are.
            indications: one a study, as written, empty where it has none; None: no study has one.
        """
        if self.condition is None or self.decoder is None:
            return features
        if features.shape[channel_axis(features)] == len(self.decoder.feature_mean):
            return features
        tokens = None if indications is None else self.condition.tokens(indications)
        return self.condition.join(features, tokens)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Label probabilities ``(B, K)`` of the classifier's scores, calibrated."""
        return self.calibration(logits)

    def draft(self, features: Tensor, scores: Tensor, width: int | None = None) -> Generated:
        """Free-running drafts of some studies.

        Args:
            features: as the decoder takes them: pooled, or maps where ``wants_maps`` (which may be
                pooled too: a map of one place). Those that ``join`` has not given an indication
                count as without one.
            scores: their label probabilities.
            width: of a beam, which is searched then, whatever the reader's own decoding.

        Raises:
            ValueError: the reader has no decoder.
        """
        decoder, _ = self._writer()
        features = self.join(features)
        if self.decoding == "sample" and width is None:
            found = sample(
                decoder,
                features,
                self.max_length,
                temperature=self.temperature,
                top_p=self.top_p,
                seed=self.seed,
                prefixes=self.prefixes(scores),
                no_repeat=self.no_repeat,
                offsets=_offsets(features),
            )
            return Generated.join(found)
        return generate(
            decoder,
            features,
            self.max_length,
            width=width or self.width,
            length_penalty=self.length_penalty,
            prefixes=self.prefixes(scores),
            no_repeat=self.no_repeat,
        )

    def alternatives(
        self,
        features: Tensor,
        scores: Tensor,
        count: int,
        method: str = "groups",
        temperature: float = 1.0,
        top_p: float = 0.9,
        seed: int = 0,
    ) -> list[Generated]:
        """Distinct drafts of each study, ``count`` at most, to choose from.

        Args:
            features: as in ``draft``.
            scores: likewise.
            count: how many.
            method: ``groups``, diverse beam search, of which the first draft is the beam's; or
                ``sample``, draws of which equal ones count once.
            temperature: of the draws.
            top_p: of the draws.
            seed: of the draws.

        Raises:
            ValueError: the reader has no decoder, or an unknown method.
        """
        decoder, vocabulary = self._writer()
        features = self.join(features)
        prefixes = self.prefixes(scores)
        length, ngrams = self.max_length, self.no_repeat
        if method == "groups":
            found = generate_diverse(
                decoder, features, length, count, self.width, self.length_penalty, prefixes, ngrams
            )
        elif method == "sample":
            found = sample(
                decoder, features, length, count, temperature, top_p, seed, prefixes, ngrams
            )
        else:
            raise ValueError(f"unknown method {method!r}, expected 'groups' or 'sample'")
        return [_distinct(generated, vocabulary) for generated in found]

    def _writer(self) -> tuple[Decoder, Vocabulary]:
        if self.decoder is None or self.vocabulary is None:
            raise ValueError("this model has no decoder: train stage=generator on top of it")
        return self.decoder, self.vocabulary

    @torch.no_grad()
    def read(
        self,
        images: Tensor,
        views: Tensor,
        drafts: bool = True,
        indications: Sequence[str] | None = None,
    ) -> Reading:
        """Features, probabilities and drafts of a batch; the module must be in evaluation mode.

        Args:
            images: of the studies.
            views: which of the places hold an image.
            drafts: False leaves the drafts out, which are most of the work.
            indications: of ``join``; not looked at by a reader that is not conditioned.

        Shape:
            - images: ``(B, V, 1, H, W)`` in [0, 1]
            - views: ``(B, V)`` bool
        """
        drafts = drafts and self.decoder is not None and self.vocabulary is not None
        features, logits, maps, _ = self.classifier.forward_all(images, views)
        labels = self.probabilities(logits)
        diseases = disease_probabilities(labels, self.owners, len(self.diseases), self.exclusive)
        if not drafts or self.vocabulary is None:
            return Reading(features, labels, diseases, None, None)
        known = self.join(maps if self.wants_maps else features, indications)
        generated = self.draft(known, labels)
        texts = [self.vocabulary.decode(ids) for ids in generated.tokens]
        return Reading(features, labels, diseases, texts, generated.confidences, generated)


def _offsets(features: Tensor) -> Tensor:
    """``(B,)`` in [0, 1), another for each study, and the same whatever stands beside it.

    Else all studies would be drawn with the same random numbers, and be odd at the same words. It
    changes little where features differ by rounding alone.
    """
    return (1000.0 * features.double().nan_to_num().flatten(1).mean(dim=1)) % 1.0


def _distinct(generated: Generated, vocabulary: Vocabulary) -> Generated:
    """Different ids may give one text; the first of them stays."""
    first = {vocabulary.decode(ids): at for at, ids in reversed(list(enumerate(generated.tokens)))}
    return generated.select(sorted(first.values()))
