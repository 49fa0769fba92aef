"""Lightning's door to the studies: loaders, sampling and augmentation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, RandomSampler, Sampler, WeightedRandomSampler

from cascade.data.cache import workers_within
from cascade.data.datasets import Batch, StudyDataset, pass_batch
from cascade.data.transforms import Augment, to_unit
from cascade.errors import InputError

BALANCES = ("none", "labels", "normal")
Draws = RandomSampler | WeightedRandomSampler | list[int]


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


class Dropout(NamedTuple):
    """Data dropout: of some studies, the normal ones, only a share takes part in each epoch.

    Shin et al. 2016 let each normal image into an epoch with probability 0.258. Here as many of
    them are drawn anew each time, without replacement, so that all epochs have one length.

    Attributes:
        rows: ``(N,)`` bool, the studies that it concerns.
        share: of them that takes part, in (0, 1].
    """

    rows: np.ndarray
    share: float

    def kept(self, generator: torch.Generator) -> np.ndarray:
        """The studies of one epoch, ``(N,)`` bool."""
        normal = np.flatnonzero(self.rows)
        count = max(round(self.share * len(normal)), 1)
        kept = ~self.rows
        kept[normal[torch.randperm(len(normal), generator=generator)[:count].numpy()]] = True
        return kept


def training_sampler(
    count: int, weights: np.ndarray | None, seed: int, dropout: Dropout | None = None
) -> Draws:
    """Shuffled, or drawn with replacement by weight ``(count,)``; of those that take part.

    Where studies are drawn by weight, ``dropout`` changes which normal studies an epoch sees, not
    how often normal ones are drawn: those that take part have the weight of all.
    """
    generator = torch.Generator().manual_seed(seed)
    if dropout is None or not dropout.rows.any():
        if weights is None:
            return RandomSampler(range(count), generator=generator)
        return WeightedRandomSampler(weights.tolist(), count, generator=generator)
    kept = dropout.kept(generator)
    if weights is None:
        rows = np.flatnonzero(kept)
        return rows[torch.randperm(len(rows), generator=generator).numpy()].tolist()
    normal = kept & dropout.rows
    lifted = np.where(
        normal, weights * weights[dropout.rows].sum() / weights[normal].sum(), weights
    )
    drawn = np.where(kept, lifted, 0.0)
    return WeightedRandomSampler(drawn.tolist(), int(kept.sum()), generator=generator)


class Share(NamedTuple):
    """Which part of each batch a process takes: ``rank`` of ``world``, as DDP counts them."""

    rank: int = 0
    world: int = 1

    @staticmethod
    def of(trainer: pl.Trainer | None) -> Share:
        """This process's."""
        return Share() if trainer is None else Share(trainer.global_rank, trainer.world_size)

    def seed(self, seed: int) -> int:
        """A seed of this process's own; the given one in the first."""
        return seed + 7_919 * self.rank


class TrainingBatches(Sampler[list[int]]):
    """The batches of an epoch, of each of which a process takes its part.

    Each batch as a whole is that of one process alone, so several take the same steps. Of a last
    batch that they cannot share evenly, fewer studies than there are processes are left out.

    >>> draws = [5, 3, 1, 0, 2, 4, 6]
    >>> list(TrainingBatches(draws, 4, False)), list(TrainingBatches(draws, 4, True))
    ([[5, 3, 1, 0], [2, 4, 6]], [[5, 3, 1, 0]])
    >>> [list(TrainingBatches(draws, 4, False, Share(rank, 2))) for rank in (0, 1)]
    [[[5, 1], [2]], [[3, 0], [4]]]
    """

    def __init__(
        self, draws: Draws, size: int, drop_last: bool, share: Share | None = None
    ) -> None:
        """Take the draws of the epoch, the same in all processes.

        Args:
            draws: the studies in the order of the epoch.
            size: studies of a batch of all processes together.
            drop_last: leave the last batch out where it is smaller.
            share: this process's.

        Raises:
            InputError: the processes cannot share a batch evenly.
        """
        self.draws, self.size, self.drop_last, self.share = draws, size, drop_last, share or Share()
        if size % self.share.world:
            raise InputError(f"batch_size={size}: no multiple of {self.share.world} processes")

    def __len__(self) -> int:
        """Number of batches."""
        count, (_, world) = len(self.draws), self.share
        rest = count % self.size
        return count // self.size + (not self.drop_last and rest >= world)

    def __iter__(self) -> Iterator[list[int]]:
        """This process's part of each."""
        rank, world = self.share
        batch: list[int] = []
        for draw in self.draws:
            batch.append(draw)
            if len(batch) == self.size:
                yield batch[rank::world]
                batch = []
        even = len(batch) // world * world
        if even and not self.drop_last:
            yield batch[:even][rank::world]


def validation_batches(count: int, size: int, share: Share) -> list[list[int]]:
    """Every study in one process's batches and in one only; as many batches in each process.

    DDP joins its processes at each batch, so one that had fewer would leave the others waiting; the
    usual remedy, to repeat studies, would count them twice.

    >>> [validation_batches(7, 2, Share(rank, 2)) for rank in (0, 1)]
    [[[0, 2], [4, 6]], [[1], [3, 5]]]
    >>> validation_batches(5, 2, Share())
    [[0, 1], [2, 3], [4]]

    Args:
        count: studies.
        size: most of a batch of one process, about.
        share: this process's.

    Raises:
        InputError: fewer studies than processes.
    """
    rank, world = share
    if count < world:
        raise InputError(f"{count} validation studies are too few for {world} processes")
    own = range(rank, count, world)
    if world == 1:
        return [list(own[start : start + size]) for start in range(0, count, size)]
    batches = min(math.ceil(math.ceil(count / world) / size), count // world)
    cuts = [len(own) * index // batches for index in range(batches + 1)]
    return [list(own[low:high]) for low, high in itertools.pairwise(cuts)]


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
        dropout: Dropout | None = None,
    ) -> None:
        """Hold the datasets; nothing is read yet."""
        super().__init__()
        self.train, self.val = train, val
        self.batch_size, self.workers = batch_size, workers
        self.weights, self.augment, self.seed = weights, augment, seed
        self.dropout = dropout

    def _loader(self, dataset: StudyDataset, batches: Iterable[list[int]]) -> DataLoader:
        workers = workers_within(self.workers)
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=pass_batch,
            persistent_workers=workers > 0,
        )

    def train_dataloader(self) -> DataLoader:
        """Shuffled, or drawn by weight, from the seed and the epoch."""
        seed, share = epoch_seed(self.seed, self.trainer), Share.of(self.trainer)
        if self.augment is not None:
            self.augment.generator.manual_seed(share.seed(seed + 1))
        draws = training_sampler(len(self.train), self.weights, seed, self.dropout)
        drop_last = len(draws) >= 2 * self.batch_size
        return self._loader(self.train, TrainingBatches(draws, self.batch_size, drop_last, share))

    def val_dataloader(self) -> DataLoader:
        """Every study once."""
        share = Share.of(self.trainer)
        size = self.batch_size // share.world
        return self._loader(self.val, validation_batches(len(self.val), size, share))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Floats in [0, 1]; augmented while training."""
        images = to_unit(batch.images)
        if self.augment is not None and self.trainer is not None and self.trainer.training:
            images = self.augment(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return batch._replace(images=images)
