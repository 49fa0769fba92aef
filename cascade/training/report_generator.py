"""Training of the decoder on the frozen CNN's features.

As in Shin et al. 2016 the CNN is frozen, so its features are computed once (for a few augmented
copies of each training image) and the decoder trains on them in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from cascade.data.datamodule import epoch_seed, training_sampler
from cascade.metrics.nlg import corpus_bleu, exact_matches
from cascade.models.losses import sequence_loss
from cascade.models.reader import Reader
from cascade.text.vocabulary import PAD, Vocabulary
from cascade.training.optimizers import create_optimizer


class TextBatch(NamedTuple):
    """Features and words of some studies.

    Shape:
        - features: ``(B, D)``, or maps ``(B, V, D, H', W')``
        - scores: ``(B, K)`` label probabilities, for the first word
        - tokens: ``(B, T)`` BOS ... EOS, padded
    """

    features: Tensor
    scores: Tensor
    tokens: Tensor
    references: list[str]


class FeatureDataset(Dataset[TextBatch]):
    """Studies as features and words, read a batch at once.

    Args:
        features: ``(N, A, ...)``, A augmented copies; each read takes one of them at random.
        scores: ``(N, K)``.
        texts: N targets as written.
        vocabulary: of the decoder.
        max_length: training targets are cut to so many tokens.
        seed: of the choice among copies.
    """

    def __init__(
        self,
        features: Tensor,
        scores: Tensor,
        texts: list[str],
        vocabulary: Vocabulary,
        max_length: int,
        seed: int = 0,
    ) -> None:
        """Encode the texts once."""
        self.features, self.scores, self.texts = features, scores, texts
        self.tokens = [torch.tensor(vocabulary.encode(text, max_length)) for text in texts]
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        """Number of studies."""
        return len(self.texts)

    def __getitem__(self, index: int) -> TextBatch:
        """A batch of one."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> TextBatch:
        """A batch of some studies."""
        chosen = torch.as_tensor(indices)
        copies = self.features.shape[1]
        copy = torch.randint(copies, (len(chosen),), generator=self.generator)
        return TextBatch(
            self.features[chosen, copy].float(),  # maps are kept in half precision
            self.scores[chosen],
            pad_sequence([self.tokens[i] for i in indices], batch_first=True, padding_value=PAD),
            [self.texts[i] for i in indices],
        )


def _pass(batch: Any) -> TextBatch:
    return batch  # what ``__getitems__`` made is a batch already


class FeatureDataModule(pl.LightningDataModule):
    """Train and validation batches of features."""

    def __init__(
        self,
        train: FeatureDataset,
        val: FeatureDataset,
        batch_size: int,
        weights: np.ndarray | None,
        seed: int,
    ) -> None:
        """Hold the datasets."""
        super().__init__()
        self.train, self.val = train, val
        self.batch_size, self.weights, self.seed = batch_size, weights, seed

    def train_dataloader(self) -> DataLoader:
        """Shuffled, or drawn by weight, from the seed and the epoch."""
        seed = epoch_seed(self.seed, self.trainer)
        self.train.generator.manual_seed(seed + 1)
        sampler = training_sampler(len(self.train), self.weights, seed)
        return DataLoader(self.train, batch_size=self.batch_size, sampler=sampler, collate_fn=_pass)

    def val_dataloader(self) -> DataLoader:
        """In order, every study once."""
        return DataLoader(self.val, batch_size=4 * self.batch_size, collate_fn=_pass)


class ReportGeneratorModule(pl.LightningModule):
    """Trains a reader's decoder by teacher forcing and scores it by free-running generation.

    Validation reports ``val/bleu`` (mean of corpus BLEU-1 to 4 of greedy drafts against the reports
    as written), ``val/exact`` and ``val/loss``.
    """

    def __init__(
        self, reader: Reader, optimizer: dict[str, Any], smoothing: float, tokenize: Any
    ) -> None:
        """Hold the reader.

        Args:
            reader: its decoder is trained in place.
            optimizer: arguments of ``create_optimizer``.
            smoothing: label smoothing in [0, 1).
            tokenize: of the scores.
        """
        super().__init__()
        if reader.decoder is None:
            raise ValueError("the reader has no decoder to train")
        self.decoder = reader.decoder
        self.optimizer, self.smoothing, self.tokenize = dict(optimizer), smoothing, tokenize
        self._reader = [reader]  # in a list: its CNN is not part of this module or its checkpoints
        self._drafts: list[str] = []
        self._references: list[str] = []

    def _loss(self, batch: TextBatch, smoothing: float) -> Tensor:
        logits, _ = self.decoder(batch.features, batch.tokens[:, :-1])
        return sequence_loss(logits, batch.tokens[:, 1:], PAD, smoothing)

    def training_step(self, batch: TextBatch, index: int) -> Tensor:
        """Teacher forcing."""
        loss = self._loss(batch, self.smoothing)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.tokens))
        return loss

    def validation_step(self, batch: TextBatch, index: int) -> None:
        """Loss, and greedy drafts from the features alone."""
        self.log("val/loss", self._loss(batch, 0.0), batch_size=len(batch.tokens), prog_bar=True)
        reader = self._reader[0]
        generated = reader.draft(batch.features, batch.scores, width=1)
        vocabulary = reader.vocabulary
        assert vocabulary is not None
        self._drafts += [vocabulary.decode(ids) for ids in generated.tokens]
        self._references += batch.references

    def on_validation_epoch_end(self) -> None:
        """Scores of the drafts."""
        if not self._drafts:
            return
        bleu = corpus_bleu(self._drafts, self._references, self.tokenize)
        exact = exact_matches(self._drafts, self._references, self.tokenize)
        self.log("val/bleu", float(np.mean(bleu)), prog_bar=True)
        self.log("val/exact", float(np.mean(exact)))
        self._drafts.clear()
        self._references.clear()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """By name."""
        steps = int(self.trainer.estimated_stepping_batches)
        return create_optimizer(self.decoder.parameters(), steps, **self.optimizer)
