"""Callbacks of our own, unbroken by a resume.

The run's ``metrics.csv``, the draws of each epoch, gradual unfreezing, and how fast it went.
"""

from __future__ import annotations

import csv
import io
import logging
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from cascade.io.files import write_text
from cascade.models.encoders import Encoder

log = logging.getLogger(__name__)


class MetricsFile(pl.Callback):
    """Writes every epoch's metrics to one CSV file.

    The rows are part of the checkpoint: a resumed run continues the file from the epoch that it
    resumed at.
    """

    def __init__(self, path: str | Path) -> None:
        """Name the file; it is written after the first epoch."""
        self.path = Path(path)
        self.rows: list[dict[str, float]] = []
        self._rates: dict[str, float] = {}
        self._start = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint's rows."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock, and note its first learning rate: the head's, the full one."""
        self._start = time.monotonic()
        rates = [float(one.param_groups[-1]["lr"]) for one in trainer.optimizers]
        self._rates = dict(zip(["lr"], rates, strict=False))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row before the checkpoint of the epoch is written."""
        if trainer.sanity_checking:
            return
        row: dict[str, float] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        for name, value in trainer.callback_metrics.items():
            row[name] = float(value) if isinstance(value, torch.Tensor) else value
        row["seconds"] = round(time.monotonic() - self._start, 3)
        self.rows = [old for old in self.rows if old["epoch"] < row["epoch"]] + [row]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add what training itself logged, and write."""
        if not self.rows:
            return
        for name, value in trainer.callback_metrics.items():
            self.rows[-1][name] = float(value)
        self.rows[-1].update(self._rates)
        if trainer.is_global_zero:
            write_text(self.path, self._csv())

    def _csv(self) -> str:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return buffer.getvalue()


class EpochDraws(pl.Callback):
    """Makes what an epoch draws (dropout, a decoder's own words) follow from its number alone.

    So a resumed run repeats the epoch that it was killed in bit by bit, on as many processes as
    before; no generator's state has to be kept. Each process draws its own.
    """

    def __init__(self, seed: int) -> None:
        """Take the run's seed."""
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed python, numpy and torch on every device, before the first batch of an epoch.

        Not before: what Lightning draws at the beginning of an epoch depends on whether it resumes.
        """
        if batch_idx:
            return
        parts = [self.seed, trainer.current_epoch, trainer.global_rank]
        value = int(np.random.SeedSequence(parts).generate_state(1)[0])
        random.seed(value)
        np.random.seed(value)  # noqa: NPY002 - for libraries that draw from it
        torch.manual_seed(value)


class Pace(pl.Callback):
    """Counts the studies that were trained on, and the seconds that it took, validation apart."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.studies, self.seconds, self.epochs = 0, 0.0, 0
        self._start = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count a batch, of all processes, and the time since the last one: reading included."""
        now = time.monotonic()
        self.seconds, self._start = self.seconds + now - self._start, now
        self.studies += len(batch[0]) * trainer.world_size

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count an epoch."""
        self.epochs += 1

    def summary(self, epochs: int, best: int, monitor: str, score: float, device: str) -> str:
        """One line about a training.

        Args:
            epochs: done in all, those before a resume as well.
            best: the epoch that was kept, from 0.
            monitor: the score that chose it.
            score: its value.
            device: in words.
        """
        pace = f"{self.studies / self.seconds:.4g} studies/s" if self.seconds else "nothing to do"
        done = f"{self.epochs} of them now, " if self.epochs != epochs else ""
        return (
            f"{epochs} epochs, {done}epoch {best} is best ({monitor} {score:.4f}); {pace}, "
            f"{self.seconds:.0f} s of training steps on {device}"
        )


class GradualUnfreezing(pl.Callback):
    """Opens the encoder stage by stage, the last one first.

    The head trains alone for ``every`` epochs, then one more stage opens every ``every`` epochs,
    down to the stages that were open when training began. What is open depends on the epoch alone,
    so a resumed run goes on as if it had not stopped.
    """

    def __init__(self, encoder: Encoder, every: int) -> None:
        """Take the depth to reach from the encoder as it stands.

        Args:
            encoder: of the module that is trained; its optimizer is made before any stage closes.
            every: epochs, 1 or more.
        """
        self.encoder, self.every, self.depth = encoder, every, encoder.open_stages

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open what this epoch trains."""
        count = min(self.depth, trainer.current_epoch // self.every)
        if count != self.encoder.open_stages or not trainer.current_epoch:
            log.info("epoch %d trains the head and %d stages", trainer.current_epoch, count)
        self.encoder.unfreeze(count)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the encoder as open as it came, and say so if its depth was never reached."""
        reached = max(trainer.current_epoch - 1, 0) // self.every
        if reached < self.depth:
            log.warning(
                "encoder.gradual=%d opened %d of %d stages in %d epochs",
                self.every,
                reached,
                self.depth,
                trainer.current_epoch,
            )
        self.encoder.unfreeze(self.depth)
