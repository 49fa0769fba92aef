"""Lightning's door to the studies: loaders, sampling and augmentation."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import (
    DataLoader,
    RandomSampler,
    Sampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from cascade.data.datasets import Batch, StudyDataset, pass_batch
from cascade.data.transforms import Augment, to_unit

BALANCES = ("none", "labels", "normal")


def sampling_weights(labels: np.ndarray, balance: str, normal: int | None = None) -> np.ndarray:
    """How often each study is drawn, relative to the others.

    Args:
        labels: ``(N, K)`` 1, 0, -1, NaN.
        balance: ``none``; ``labels``: a study counts as 1 / sqrt(n) of its rarest label, n being
            the studies that carry it; ``normal``: normal studies together are drawn as often as all
            others together (Shin et al. 2016 balance normal against diseased).
        normal: the column of the normal label, needed by ``normal``.

    Returns:
        ``(N,)`` float64 with mean 1.

    Raises:
        ValueError: unknown name, or no normal column.
    """
    if balance not in BALANCES:
        raise ValueError(f"unknown balance {balance!r}, expected one of {list(BALANCES)}")
    present = labels == 1
    weights = np.ones(len(labels))
    if balance == "labels":
        per_label = 1 / np.sqrt(np.maximum(present.sum(axis=0), 1))
        rarest = (present * per_label).max(axis=1)
        weights = np.where(present.any(axis=1), rarest, per_label.min())
    elif balance == "normal":
        if normal is None:
            raise ValueError("balance 'normal' needs a label named normal")
        is_normal = present[:, normal]
        share = is_normal.mean()
        if 0 < share < 1:
            weights = np.where(is_normal, 0.5 / share, 0.5 / (1 - share))
    return weights / weights.mean()


def epoch_seed(seed: int, trainer: pl.Trainer | None) -> int:
    """A seed for each epoch, so that a resumed run draws what an uninterrupted one would."""
    return seed * 1_000_003 + (trainer.current_epoch if trainer is not None else 0)


def training_sampler(count: int, weights: np.ndarray | None, seed: int) -> Sampler[int]:
    """Shuffled, or drawn with replacement by weight ``(count,)``."""
    generator = torch.Generator().manual_seed(seed)
    if weights is None:
        return RandomSampler(range(count), generator=generator)
    return WeightedRandomSampler(weights.tolist(), count, generator=generator)


class StudyDataModule(pl.LightningDataModule):
    """Train and validation batches; images reach the device as floats, augmented in training."""

    def __init__(
        self,
        train: StudyDataset,
        val: StudyDataset,
        batch_size: int = 32,
        workers: int = 0,
        weights: np.ndarray | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        """Hold the datasets; nothing is read yet."""
        super().__init__()
        self.train, self.val = train, val
        self.batch_size, self.workers = batch_size, workers
        self.weights, self.augment, self.seed = weights, augment, seed

    def _loader(self, dataset: StudyDataset, sampler: Sampler[int], drop_last: bool) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.workers,
            collate_fn=pass_batch,
            persistent_workers=self.workers > 0,
        )

    def train_dataloader(self) -> DataLoader:
        """Shuffled, or drawn by weight, from the seed and the epoch."""
        seed = epoch_seed(self.seed, self.trainer)
        if self.augment is not None:
            self.augment.generator.manual_seed(seed + 1)
        sampler = training_sampler(len(self.train), self.weights, seed)
        return self._loader(self.train, sampler, drop_last=len(self.train) >= 2 * self.batch_size)

    def val_dataloader(self) -> DataLoader:
        """In order, every study once."""
        return self._loader(self.val, SequentialSampler(self.val), drop_last=False)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Floats in [0, 1]; augmented while training."""
        images = to_unit(batch.images)
        if self.augment is not None and self.trainer is not None and self.trainer.training:
            images = self.augment(images.flatten(0, 1)).view_as(images)
        return batch._replace(images=images)
