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
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from cascade.data.datamodule import (
    Share,
    TrainingBatches,
    epoch_seed,
    training_sampler,
    validation_batches,
)
from cascade.metrics.nlg import corpus_bleu, exact_matches
from cascade.models.generation import NEVER
from cascade.models.losses import label_loss, sequence_loss
from cascade.models.reader import Reader
from cascade.text.vocabulary import BOS, EOS, PAD, Vocabulary
from cascade.training.optimizers import create_optimizer
from cascade.training.rewards import Reward
from cascade.training.self_critical import SelfCritical, self_critical_loss
from cascade.training.together import EPOCH, StudyMean, gather


class TextBatch(NamedTuple):
    """Features and words of some studies.

    Shape:
        - features: ``(B, D)``, or maps ``(B, V, D, H', W')``
        - scores: ``(B, K)`` label probabilities, for the first word
        - tokens: ``(B, T)`` BOS ... EOS, padded
        - labels: ``(B, K)`` 1, 0, -1 uncertain, NaN unknown; None where nobody learns them
        - indications: ``(B, L)`` of ``Condition.tokens``; None where nobody reads them
    """

    features: Tensor
    scores: Tensor
    tokens: Tensor
    references: list[str]
    labels: Tensor | None = None
    indications: Tensor | None = None


class FeatureDataset(Dataset[TextBatch]):
    """Studies as features and words, read a batch at once.

    Args:
        features: ``(N, A, ...)``, A augmented copies; each read takes one of them at random.
        scores: ``(N, K)``.
        texts: N targets as written.
        vocabulary: of the decoder.
        max_length: training targets are cut to so many tokens.
        seed: of the choice among copies.
        labels: ``(N, K)``, for the auxiliary loss.
        indications: ``(N, L)`` of ``Condition.tokens``.
    """

    def __init__(
        self,
        features: Tensor,
        scores: Tensor,
        texts: list[str],
        vocabulary: Vocabulary,
        max_length: int,
        seed: int = 0,
        labels: Tensor | None = None,
        indications: Tensor | None = None,
    ) -> None:
        """Encode the texts once."""
        self.labels, self.indications = labels, indications
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
            None if self.labels is None else self.labels[chosen],
            None if self.indications is None else self.indications[chosen],
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
        seed, share = epoch_seed(self.seed, self.trainer), Share.of(self.trainer)
        self.train.generator.manual_seed(share.seed(seed + 1))
        draws = training_sampler(len(self.train), self.weights, seed)
        batches = TrainingBatches(draws, self.batch_size, False, share)
        return DataLoader(self.train, batch_sampler=batches, collate_fn=_pass)

    def val_dataloader(self) -> DataLoader:
        """Every study once."""
        share = Share.of(self.trainer)
        batches = validation_batches(len(self.val), 4 * self.batch_size // share.world, share)
        return DataLoader(self.val, batch_sampler=batches, collate_fn=_pass)


class ReportGeneratorModule(pl.LightningModule):
    """Trains a reader's decoder by teacher forcing and scores it by free-running generation.

    Validation reports ``val/bleu`` (mean of corpus BLEU-1 to 4 of greedy drafts against the reports
    as written), ``val/exact``, ``val/loss`` and, where one is given, ``val/reward``.
    """

    def __init__(
        self,
        reader: Reader,
        optimizer: dict[str, Any],
        smoothing: float,
        tokenize: Any,
        scheduled_sampling: float = 0.0,
        auxiliary: float = 0.0,
        hidden: float = 0.0,
        epochs: int | None = None,
        critical: SelfCritical | None = None,
        reward: Reward | None = None,
        seed: int = 0,
    ) -> None:
        """Hold the reader.

        Args:
            reader: its decoder is trained in place.
            optimizer: arguments of ``create_optimizer``.
            smoothing: label smoothing in [0, 1).
            tokenize: of the scores.
            scheduled_sampling: probability, in the last epoch, that a word that is read is the
                decoder's own instead of the true one; it rises from 0 by equal steps (Bengio et al.
                2015).
            auxiliary: weight of the label loss of a linear layer on the mean state; the layer is
                not part of the reader.
            hidden: how often, in training, an indication is hidden, as if the study had none.
            epochs: of cross entropy, after which those of ``critical`` come; None: all are.
            critical: how those are trained; None for none.
            reward: of validation's drafts, logged as ``val/reward``; None for none.
            seed: of the draws of ``critical``.
        """
        super().__init__()
        if reader.decoder is None:
            raise ValueError("the reader has no decoder to train")
        self.decoder = reader.decoder
        self.optimizer, self.smoothing, self.tokenize = dict(optimizer), smoothing, tokenize
        self.scheduled_sampling, self.auxiliary = scheduled_sampling, auxiliary
        self.condition, self.hidden = reader.condition, hidden
        self.epochs, self.critical, self.reward, self.seed = epochs, critical, reward, seed
        self.label_head = (
            nn.Linear(reader.decoder.hidden, len(reader.labels)) if auxiliary > 0 else None
        )
        self._reader = [reader]  # in a list: its CNN is not part of this module or its checkpoints
        self._losses = StudyMean()
        self._drafts: list[str] = []
        self._references: list[str] = []

    def own_word_probability(self) -> float:
        """How often, in this epoch, a word that is read is the decoder's own."""
        if self.scheduled_sampling == 0:
            return 0.0
        last = (self.epochs or self.trainer.max_epochs or 1) - 1
        return self.scheduled_sampling * (min(1.0, self.current_epoch / last) if last > 0 else 1.0)

    @property
    def is_critical(self) -> bool:
        """Whether this epoch is one of self-critical training."""
        return (
            self.critical is not None
            and self.epochs is not None
            and self.current_epoch >= self.epochs
        )

    def on_train_epoch_start(self) -> None:
        """The rate of self-critical training, in its epochs."""
        if self.critical is not None and self.is_critical:
            for optimizer in self.trainer.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = self.critical.lr

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """The schedule is that of cross entropy."""
        if not self.is_critical:
            super().lr_scheduler_step(scheduler, metric)

    @torch.no_grad()
    def own_words(self, features: Tensor, tokens: Tensor, probability: float) -> Tensor:
        """The words to read, ``(B, T)`` as ``tokens``, some of them drawn by the decoder itself.

        Each is drawn from what the decoder, having read the words so far, thinks comes next. BOS
        and what stands from the end on are as they were.
        """
        was_training = self.decoder.training
        self.decoder.eval()
        normalised = self.decoder.normalise(features)
        state = self.decoder.start(normalised)
        read = tokens.clone()
        for place in range(tokens.shape[1] - 1):
            logits, state = self.decoder.step(normalised, read[:, place], state)
            logits[:, NEVER] = -torch.inf
            logits[:, EOS] = -torch.inf  # the true text goes on
            own = torch.multinomial(logits.softmax(dim=1), 1).squeeze(1)
            true = tokens[:, place + 1]
            chance = torch.rand(len(true), device=true.device) < probability
            read[:, place + 1] = torch.where(chance & (true != PAD) & (true != EOS), own, true)
        self.decoder.train(was_training)
        return read

    def known(self, batch: TextBatch) -> Tensor:
        """What the decoder reads of a batch: image features and, where it is asked, indications."""
        if self.condition is None:
            return batch.features
        tokens = batch.indications
        if tokens is not None and self.training and self.hidden > 0:
            shown = torch.rand(len(tokens), 1, device=tokens.device) >= self.hidden
            tokens = tokens * shown  # PAD is 0
        return self.condition.join(batch.features, tokens)

    def _loss(self, batch: TextBatch, features: Tensor, smoothing: float) -> Tensor:
        logits, _ = self.decoder(features, batch.tokens[:, :-1])
        return sequence_loss(logits, batch.tokens[:, 1:], PAD, smoothing)

    def _label_loss(self, states: Tensor, words: Tensor, labels: Tensor) -> Tensor:
        """Of the mean state over the words, BOS and the end left out."""
        assert self.label_head is not None
        named = ((words != PAD) & (words != EOS) & (words != BOS)).unsqueeze(2)
        mean = (states * named).sum(dim=1) / named.sum(dim=1).clamp_min(1)
        return label_loss(self.label_head(mean), labels, self._reader[0].exclusive)

    def training_step(self, batch: TextBatch, index: int) -> Tensor:
        """Teacher forcing, and what the settings add to it; then self-critical, where asked to."""
        features = self.known(batch)
        if self.critical is None or not self.is_critical:
            return self._taught(batch, features)
        critique = self_critical_loss(
            self._reader[0],
            features,
            batch.scores,
            batch.references,
            self.critical.reward,
            # Of what a resumed run knows too.
            (self.seed * 1009 + self.current_epoch) * 100_003 + index,
        )
        size = len(batch.tokens)
        for name in ("drawn", "greedy"):
            value = getattr(critique, name)
            self.log(f"train/reward_{name}", value, batch_size=size, **EPOCH)
        loss = (1.0 - self.critical.weight) * critique.loss
        if self.critical.weight > 0 or self.label_head is not None:  # which needs a gradient
            loss = loss + self.critical.weight * self._taught(batch, features)
        return loss

    def _taught(self, batch: TextBatch, features: Tensor) -> Tensor:
        targets, words = batch.tokens[:, 1:], batch.tokens[:, :-1]
        probability = self.own_word_probability()
        if probability > 0:
            words = self.own_words(features, words, probability)
        taught = self.decoder.teach(features, words)
        loss = sequence_loss(taught.logits, targets, PAD, self.smoothing)
        extra = self.decoder.extra_loss(taught, targets)
        if extra is not None:
            loss = loss + extra
        if self.label_head is not None and batch.labels is not None:
            named = self._label_loss(taught.states, batch.tokens[:, :-1], batch.labels)
            self.log("train/labels", named, batch_size=len(words), **EPOCH)
            loss = loss + self.auxiliary * named
        self.log("train/loss", loss, batch_size=len(batch.tokens), **EPOCH)
        return loss

    def validation_step(self, batch: TextBatch, index: int) -> None:
        """Loss, and greedy drafts from the features alone."""
        features = self.known(batch)
        self._losses.add(self._loss(batch, features, 0.0), len(batch.tokens))
        reader = self._reader[0]
        generated = reader.draft(features, batch.scores, width=1)
        vocabulary = reader.vocabulary
        assert vocabulary is not None
        self._drafts += [vocabulary.decode(ids) for ids in generated.tokens]
        self._references += batch.references

    def on_validation_epoch_end(self) -> None:
        """Scores of the drafts."""
        if not self._drafts:
            return
        self.log("val/loss", self._losses.take(), prog_bar=True)
        parts = gather((self._drafts, self._references))
        drafts = [draft for part, _ in parts for draft in part]
        references = [reference for _, part in parts for reference in part]
        bleu = corpus_bleu(drafts, references, self.tokenize)
        exact = exact_matches(drafts, references, self.tokenize)
        self.log("val/bleu", float(np.mean(bleu)), prog_bar=True)
        self.log("val/exact", float(np.mean(exact)))
        if self.reward is not None:
            reward = self.reward(drafts, references)
            self.log("val/reward", float(np.mean(reward)), prog_bar=True)
        self._drafts.clear()
        self._references.clear()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """By name."""
        total = self.trainer.max_epochs or 1
        epochs = self.epochs or total
        steps = int(self.trainer.estimated_stepping_batches) * epochs // total
        made = create_optimizer(
            self.parameters(), steps, epochs=epochs, monitor="val/bleu", **self.optimizer
        )
        return made.for_lightning()
