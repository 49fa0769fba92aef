"""The learning rate range test: a hundred steps at a rising rate, and where the loss falls best.

Smith 2017, "Cyclical learning rates for training neural networks". Lightning has one; its smoothed
losses begin too low and its suggestion divides by the rate, which favours the smallest.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl

from cascade.errors import CascadeError, InputError
from cascade.training.together import Settings, count_processes
from cascade.training.trainer import Task, create_trainer, quiet_lightning

STEPS = 100
LOWEST, HIGHEST = 1e-7, 1.0
SMOOTHING = 0.9
DIVERGED = 4.0
"""A loss so many times the least ends the test."""


class RateTest(NamedTuple):
    """What the test found.

    Attributes:
        rates: of each step, rising by equal factors.
        losses: of training at each, smoothed.
        suggested: the rate where the loss falls most steeply.
    """

    rates: list[float]
    losses: list[float]
    suggested: float


class _RisingRate(pl.Callback):
    """Sets the rate of each step and notes its loss."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._scales: list[float] = []
        self._mean = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        groups = trainer.optimizers[0].param_groups
        full = max(group["initial_lr"] for group in groups)
        self._scales = [group["initial_lr"] / full for group in groups]  # of ``layer_decay``

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._rate = LOWEST * (HIGHEST / LOWEST) ** (trainer.global_step / (STEPS - 1))
        for group, scale in zip(trainer.optimizers[0].param_groups, self._scales, strict=True):
            group["lr"] = self._rate * scale

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * loss
        smooth = self._mean / (1 - SMOOTHING ** (len(self.losses) + 1))
        self.rates.append(self._rate)
        self.losses.append(smooth)
        if not math.isfinite(smooth) or smooth > DIVERGED * min(self.losses):
            trainer.should_stop = True


def find_rate(task: Task, directory: Path, settings: Settings) -> RateTest:
    """Try rates from 1e-7 to 1 on a training that is then forgotten.

    Raises:
        InputError: several processes.
        CascadeError: the loss never fell.
    """
    if count_processes(settings) > 1:
        raise InputError("find_lr=true takes one process: give trainer=cpu, gpu or auto")
    rising = _RisingRate()
    before = copy.deepcopy(task.module.state_dict())
    with quiet_lightning():
        trainer = create_trainer(
            {**settings, "callbacks": None, "logger": None},
            directory,
            task.monitor,
            [rising],
            max_epochs=STEPS,  # of a step or more each
            max_steps=STEPS,
            limit_val_batches=0,
            enable_checkpointing=False,
        )
        trainer.fit(task.module, datamodule=task.data)
    task.module.load_state_dict(before)
    return RateTest(rising.rates, rising.losses, suggest(rising.rates, rising.losses))


def suggest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate where the loss falls most steeply, seen on a logarithmic axis of rates.

    The first tenth is left out: the loss is smoothed and has not settled there.

    >>> suggest([1e-4, 1e-3, 1e-2, 1e-1], [3.0, 2.9, 1.0, 2.0])
    0.001

    Raises:
        CascadeError: the loss fell at no rate.
    """
    first = len(rates) // 10
    tried, seen = np.array(rates)[first:], np.array(losses)[first:]
    tried, seen = tried[np.isfinite(seen)], seen[np.isfinite(seen)]
    slopes = np.gradient(seen, np.log10(tried)) if len(seen) > 1 else np.zeros(1)
    if slopes.min() >= 0:
        raise CascadeError("the loss fell at no rate: look at the data, or at trainer.precision")
    return float(tried[int(slopes.argmin())])
