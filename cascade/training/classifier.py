"""Training of the label detector."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from cascade.data.datamodule import Share, epoch_seed
from cascade.data.datasets import Batch
from cascade.metrics.classification import auroc, macro
from cascade.models.heads import StudyClassifier, disease_probabilities, probabilities
from cascade.models.losses import LabelLoss
from cascade.training.optimizers import create_optimizer, layer_groups
from cascade.training.together import EPOCH, StudyMean, gather


class ClassifierModule(pl.LightningModule):
    """Trains a ``StudyClassifier``.

    Validation reports ``val/auroc``, the mean over diseases whose contexts are merged, so that
    rounds with different label sets compare; and ``val/loss``, which is plain cross entropy over
    what is certain, so that trainings with different losses compare.
    """

    def __init__(
        self,
        network: StudyClassifier,
        exclusive: bool,
        owners: list[int],
        optimizer: dict[str, Any],
        loss: LabelLoss | None = None,
        seed: int = 0,
    ) -> None:
        """Hold the network.

        Args:
            network: trained in place.
            exclusive: softmax or sigmoid.
            owners: of ``disease_owners``.
            optimizer: arguments of ``create_optimizer``, and ``layer_decay`` of
                ``layer_groups``.
            loss: of training; by default the plain one.
            seed: of the loss's soft targets.
        """
        super().__init__()
        self.save_hyperparameters(ignore=["network", "loss"])
        self.network, self.exclusive, self.owners = network, exclusive, owners
        self.optimizer = dict(optimizer)
        self._losses = StudyMean()
        self.plain = LabelLoss(exclusive)
        self.loss, self.seed = loss or self.plain, seed
        self._scores: list[Tensor] = []
        self._truth: list[Tensor] = []

    def _loss(self, logits: Tensor, labels: Tensor, loss: LabelLoss) -> Tensor:
        """Diseases, and beside them their contexts with as much weight in all."""
        beside = [column for column, owner in enumerate(self.owners) if owner < 0]
        if not beside:
            return loss(logits, labels)
        speaking = [column for column, owner in enumerate(self.owners) if owner >= 0]
        return loss(logits, labels, speaking) + loss(logits, labels, beside)

    def on_train_epoch_start(self) -> None:
        """Soft targets are drawn anew in each epoch, the same in a run that was resumed."""
        self.loss.reseed(Share.of(self.trainer).seed(epoch_seed(self.seed, self.trainer)))

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The label loss of a batch."""
        loss = self._loss(self.network(batch.images, batch.views), batch.labels, self.loss)
        self.log("train/loss", loss, batch_size=len(batch.study_ids), **EPOCH)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Collect scores."""
        logits = self.network(batch.images, batch.views)
        loss = self._loss(logits, batch.labels, self.plain)
        self._losses.add(loss, len(batch.study_ids))
        self._scores.append(probabilities(logits.float(), self.exclusive).cpu())
        self._truth.append(batch.labels.cpu())

    def on_validation_epoch_end(self) -> None:
        """Mean AUROC over the diseases that validation can tell."""
        if not self._scores:
            return
        count = max(self.owners) + 1
        self.log("val/loss", self._losses.take(), prog_bar=True)
        parts = gather((torch.cat(self._scores), torch.cat(self._truth)))
        found, known = (torch.cat(part) for part in zip(*parts, strict=True))
        scores = disease_probabilities(found, self.owners, count, self.exclusive)
        truth = disease_truth(known, self.owners, count)
        self._scores.clear()
        self._truth.clear()
        if not bool(scores.isfinite().all()):  # diverged: no score, so the epoch is never the best
            self.log("val/auroc", math.nan, prog_bar=True)
            return
        columns = zip(truth.numpy().T, scores.numpy().T, strict=True)
        value, _ = macro([auroc(known, score) for known, score in columns])
        # Where no disease is both present and absent in validation, chance: the loss still decides.
        self.log("val/auroc", 0.5 if math.isnan(value) else value, prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """By name, over the parameters that are open."""
        steps = int(self.trainer.estimated_stepping_batches)
        epochs = self.trainer.max_epochs or 1
        arguments = dict(self.optimizer)
        groups = layer_groups(self.network, float(arguments.pop("layer_decay", 1.0)))
        made = create_optimizer(groups, steps, epochs=epochs, monitor="val/auroc", **arguments)
        return made.for_lightning()


def disease_truth(labels: Tensor, owners: list[int], num_diseases: int) -> Tensor:
    """Merge contexts into diseases: present if any is, unknown if none is known.

    Shape:
        - labels: ``(N, K)`` 1, 0, -1, NaN
        - output: ``(N, C)`` 1, 0, -1, NaN

    >>> disease_truth(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, torch.nan]]), [0, 1, 1], 2)
    tensor([[0., 1.],
            [0., 0.]])
    """
    out = torch.full((len(labels), num_diseases), torch.nan)
    for index in range(num_diseases):
        columns = labels[:, [k for k, owner in enumerate(owners) if owner == index]]
        present, absent = (columns == 1).any(1), (columns == 0).any(1)
        uncertain = (columns == -1).any(1)
        out[absent, index] = 0.0
        out[uncertain, index] = -1.0
        out[present, index] = 1.0
    return out
