"""Callbacks of our own: the run's ``metrics.csv``, whole at any moment and unbroken by a resume."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from cascade.io.files import write_text


class MetricsFile(pl.Callback):
    """Writes every epoch's metrics to one CSV file.

    The rows are part of the checkpoint: a resumed run continues the file from the epoch that it
    resumed at.
    """

    def __init__(self, path: str | Path) -> None:
        """Name the file; it is written after the first epoch."""
        self.path = Path(path)
        self.rows: list[dict[str, float]] = []
        self._start = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint's rows."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self._start = time.monotonic()

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
        if trainer.is_global_zero:
            write_text(self.path, self._csv())

    def _csv(self) -> str:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return buffer.getvalue()
