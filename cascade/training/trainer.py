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
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from torch import nn

from cascade.errors import CascadeError
from cascade.training.callbacks import EpochDraws, GradualUnfreezing, MetricsFile, Pace
from cascade.training.together import count_processes, trainer_settings

log = logging.getLogger(__name__)

Settings = Mapping[str, Any]


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch without Lightning's announcement."""
    pl.seed_everything(seed, workers=True, verbose=False)


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide Lightning's tips and device lists; warnings that concern the user stay."""
    names = [
        f"pytorch_lightning.{name}"
        for name in (
            "utilities.rank_zero",
            "accelerators.cuda",
            "trainer.connectors.checkpoint_connector",
        )
    ]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Batches are read whole from a memory map: more workers would only copy them.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated.*")
        # What the processes gathered is the same in each: no mean of it is needed.
        warnings.filterwarnings("ignore", message=".*recommended to use .*sync_dist.*")
        # Frozen stages stay in evaluation mode on purpose (``Encoder.train``).
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


class Task(NamedTuple):
    """What a stage trains, on what, and by which score it chooses its epoch."""

    module: pl.LightningModule
    data: pl.LightningDataModule
    epochs: int
    monitor: str
    callbacks: Sequence[Callback] = ()


def train_module(task: Task, directory: Path, settings: Settings) -> float:
    """Run Lightning, resume where a checkpoint lies, load the best epoch; returns its score.

    Raises:
        CascadeError: training diverged.
    """
    module, data, epochs, monitor, callbacks = task
    checkpoints = directory / "checkpoints"
    last, best = checkpoints / "last.ckpt", checkpoints / "best.ckpt"
    pace = Pace()
    if not (last.is_file() and _stopped_early(last)):
        trainer = create_trainer(
            settings,
            directory,
            monitor,
            [*callbacks, EpochDraws(int(settings["seed"])), MetricsFile(directory / "metrics.csv")],
            [pace, *_keep(checkpoints, monitor)],
            max_epochs=epochs,
        )
        if last.is_file():
            log.info("resuming %s from its last finished epoch", directory.name)
        with _interruptible():
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=last if last.is_file() else None,
                weights_only=True,
            )
    if not best.is_file():
        raise CascadeError(_unusable(monitor, directory))
    checkpoint = _read(best)
    score = _best_score(checkpoint, monitor)
    if not math.isfinite(score):
        raise CascadeError(_unusable(monitor, directory))
    state = checkpoint["state_dict"]
    broken = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if broken:  # a score may look well over numbers that are none: drafts of NaN have a BLEU of 0
        raise CascadeError(
            f"training diverged ({broken[0]} is not finite): lower the learning rate, or look at "
            f"{directory / 'metrics.csv'}"
        )
    module.load_state_dict(state)
    done = _read(last)["epoch"] + 1
    told = pace.summary(done, checkpoint["epoch"], monitor, score, _device_name(settings))
    log.info("%s: %s", directory.name, told)
    return score


def create_trainer(
    settings: Settings,
    directory: Path,
    monitor: str,
    first: Sequence[Callback] = (),
    last: Sequence[Callback] = (),
    **arguments: Any,
) -> pl.Trainer:
    """Lightning's Trainer as the settings have it.

    Args:
        settings: ``trainer``, ``callbacks``, ``logger``.
        directory: of the run.
        monitor: what the settings' ``monitor: auto`` stands for.
        first: callbacks that come before those of the settings.
        last: callbacks that come after them.
        **arguments: more of the Trainer's.
    """
    given = [dict(one) for one in (settings.get("callbacks") or {}).values() if one]
    for one in given:
        if one.get("monitor") == "auto":
            one["monitor"] = monitor
    chosen: list[Callback] = [instantiate(one) for one in given]
    logger = settings.get("logger")
    if logger:
        chosen.append(LearningRateMonitor("step"))
    trainer = trainer_settings(settings)
    if trainer.get("strategy") == "ddp" and any(
        isinstance(one, GradualUnfreezing) for one in first
    ):
        trainer["strategy"] = "ddp_find_unused_parameters_true"  # closed stages have no gradient
    made: pl.Trainer = instantiate(
        trainer,
        default_root_dir=str(directory),
        callbacks=[*first, *chosen, *last],
        logger=instantiate(logger, save_dir=str(directory)) if logger else False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,  # the data modules share their batches out themselves
        **arguments,
    )
    return made


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:  # Lightning leaves the program at Ctrl-C, deaf to the next one
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


def _keep(checkpoints: Path, monitor: str) -> list[Callback]:
    """Two files, ``best.ckpt`` and ``last.ckpt``, the second after every epoch.

    Lightning's own ``save_last`` writes only when the epoch is the best so far.
    """
    kept: dict[str, Any] = {"dirpath": checkpoints, "enable_version_counter": False}
    best = ModelCheckpoint(filename="best", monitor=monitor, mode="max", **kept)
    return [best, ModelCheckpoint(filename="last", every_n_epochs=1, **kept)]


def _read(path: Path) -> dict[str, Any]:
    """A checkpoint; its weights are mapped, not read, where one number of it is wanted."""
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return found


def _states(checkpoint: Mapping[str, Any], callback: str) -> list[Any]:
    """What a checkpoint holds of callbacks of one kind."""
    found = checkpoint["callbacks"].items()
    return [state for key, state in found if key.startswith(callback)]


def _stopped_early(last: Path) -> bool:
    """Whether a fit had ended before its last epoch: one more epoch would be one too many."""
    return any(state["stopped_epoch"] > 0 for state in _states(_read(last), "EarlyStopping"))


def _best_score(checkpoint: Mapping[str, Any], monitor: str) -> float:
    states = _states(checkpoint, "ModelCheckpoint")
    scores = [state["best_model_score"] for state in states if state["monitor"] == monitor]
    return float(scores[0]) if scores and scores[0] is not None else math.nan


def _unusable(monitor: str, directory: Path) -> str:
    return (
        f"training gave no usable epoch ({monitor} undefined): lower the learning rate, or "
        f"look at {directory / 'metrics.csv'}"
    )


def _device_name(settings: Settings) -> str:
    count = count_processes(settings)
    gpu = device_of(settings) == "cuda"
    name = torch.cuda.get_device_name() if gpu else "the CPU"
    return name if count == 1 else f"{count} processes of {name}"


def device_of(settings: Settings) -> str:
    """Where what is not trained is computed: ``cuda`` where there is one, but for the CPU alone."""
    wanted = settings["trainer"].get("accelerator", "auto") != "cpu"
    return "cuda" if wanted and torch.cuda.is_available() else "cpu"


def count_parameters(network: nn.Module) -> int:
    """Number of parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in network.parameters())
