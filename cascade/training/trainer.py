"""What both stages that train share: Lightning, its checkpoints, the best epoch.

A killed fit resumes from its last finished epoch: call it again with the same directory.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import nn

from cascade.errors import CascadeError
from cascade.training.callbacks import MetricsFile

log = logging.getLogger(__name__)

Settings = Mapping[str, Any]


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch without Lightning's announcement."""
    pl.seed_everything(seed, workers=True, verbose=False)


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide Lightning's tips and device lists; warnings that concern the user stay."""
    names = ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Batches are read whole from a memory map: more workers would only copy them.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated.*")
        # Frozen stages stay in evaluation mode on purpose (``Encoder.train``).
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def train_module(
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    directory: Path,
    settings: Settings,
    epochs: int,
    monitor: str,
    callbacks: Sequence[Callback] = (),
) -> float:
    """Run Lightning, resume where a checkpoint lies, load the best epoch; returns its score."""
    checkpoints = directory / "checkpoints"
    keep = ModelCheckpoint(
        dirpath=checkpoints,
        filename="best",
        monitor=monitor,
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    extra: list[Callback] = [
        instantiate(callback) for callback in (settings.get("callbacks") or {}).values() if callback
    ]
    logger = settings.get("logger")
    trainer: pl.Trainer = instantiate(
        dict(settings["trainer"]),
        max_epochs=epochs,
        default_root_dir=str(directory),
        callbacks=[*extra, *callbacks, MetricsFile(directory / "metrics.csv"), keep],
        logger=instantiate(logger, save_dir=str(directory)) if logger else False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
    )
    last = checkpoints / "last.ckpt"
    resume = str(last) if last.is_file() else None
    if resume is not None:
        log.info("resuming %s from its last finished epoch", directory.name)
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except SystemExit as stop:  # Lightning leaves the program at Ctrl-C, deaf to the next one
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None
    best = checkpoints / "best.ckpt"
    score = keep.best_model_score
    if not best.is_file() or score is None or not math.isfinite(float(score)):
        raise CascadeError(
            f"training gave no usable epoch ({monitor} undefined): lower the learning rate, or "
            f"look at {directory / 'metrics.csv'}"
        )
    state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
    broken = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if broken:  # a score may look well over numbers that are none: drafts of NaN have a BLEU of 0
        raise CascadeError(
            f"training diverged ({broken[0]} is not finite): lower the learning rate, or look at "
            f"{directory / 'metrics.csv'}"
        )
    module.load_state_dict(state)
    return float(score)


def wants_gpu(settings: Settings) -> bool:
    """Whether the settings let features be computed on a GPU, where there is one."""
    return settings["trainer"].get("accelerator", "auto") not in ("cpu",)


def count_parameters(network: nn.Module) -> int:
    """Number of parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in network.parameters())
