"""Optimizers by name, schedules by name, and rates that differ by depth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from pytorch_lightning.utilities.types import LRSchedulerConfigType
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau

from cascade.errors import InputError
from cascade.models.heads import StudyClassifier

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


SCHEDULES = (
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "step",
    "plateau",
)
"""The last two are ours, the others those of ``transformers.get_scheduler``."""


class Optimization(NamedTuple):
    """An optimizer and what moves its rates, as Lightning takes them."""

    optimizer: torch.optim.Optimizer
    schedules: list[LRSchedulerConfigType]

    def for_lightning(self) -> tuple[list[torch.optim.Optimizer], list[Any]]:
        """What ``configure_optimizers`` returns."""
        return [self.optimizer], [*self.schedules]


class LayerGroup(NamedTuple):
    """Parameters that are trained at one share of the learning rate."""

    parameters: list[nn.Parameter]
    scale: float


def layer_groups(network: StudyClassifier, decay: float) -> list[LayerGroup]:
    """A group a stage of the encoder, whose rate falls with its distance from the head.

    The head learns at the full rate, the last stage at ``decay`` of it, the one before at its
    square, and so on; 1 is one rate for all, in one group.

    Raises:
        InputError: a decay outside (0, 1].
    """
    if not 0 < decay <= 1:
        raise InputError(f"layer_decay={decay:g}: expected more than 0, at most 1")
    if decay == 1:
        return [LayerGroup(list(network.parameters()), 1.0)]
    encoder = network.encoder
    total = encoder.num_stages
    groups = [
        LayerGroup(encoder.stage_parameters(index), decay ** (total - index))
        for index in range(total)
    ]
    staged = {id(parameter) for group in groups for parameter in group.parameters}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in staged]
    return [*groups, LayerGroup(rest, 1.0)]


def create_optimizer(
    parameters: Iterable[nn.Parameter] | Iterable[LayerGroup],
    steps: int,
    name: str,
    schedule: str,
    warmup: float,
    *,
    epochs: int = 1,
    monitor: str = "val/loss",
    every: int = 33,
    drop: float = 1 / 3,
    patience: int = 5,
    **kwargs: Any,
) -> Optimization:
    """An optimizer with its schedule.

    ``step`` multiplies the rate by ``drop`` each ``every`` epochs (Shin et al. 2016 train their CNN
    so, a third each 33 epochs); ``plateau`` does after ``patience`` epochs without a better
    validation. The others are a curve over the steps of the whole training.

    Args:
        parameters: those that require a gradient are trained; in groups where their rates differ.
        steps: optimizer steps of the whole training.
        name: ``adamw``, ``sgd``, ``rmsprop``.
        schedule: a name of ``SCHEDULES``.
        warmup: share of the steps during which the rate rises; in [0, 1].
        epochs: of the whole training.
        monitor: the validation score of ``plateau``, the higher the better; less is better where
            its name ends in ``loss``.
        every: epochs, of ``step``.
        drop: in (0, 1), of ``step`` and ``plateau``.
        patience: epochs, of ``plateau``.
        **kwargs: ``lr``, ``weight_decay``, ``momentum`` as the optimizer takes them.

    Raises:
        InputError: unknown optimizer or schedule, an argument that it does not take, or nothing to
            train.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"unknown optimizer {name!r}, expected one of {sorted(OPTIMIZERS)}")
    if schedule not in SCHEDULES:
        raise InputError(f"unknown schedule {schedule!r}, expected one of {sorted(SCHEDULES)}")
    given = list(parameters)
    groups = [item for item in given if isinstance(item, LayerGroup)]
    if not groups:
        groups = [LayerGroup([p for p in given if isinstance(p, nn.Parameter)], 1.0)]
    trained = [
        LayerGroup([p for p in group.parameters if p.requires_grad], group.scale)
        for group in groups
    ]
    trained = [group for group in trained if group.parameters]
    if not trained:
        raise InputError("nothing to train: every parameter is frozen")
    try:
        optimizer = OPTIMIZERS[name]([{"params": g.parameters} for g in trained], **kwargs)
        for made, group in zip(optimizer.param_groups, trained, strict=True):
            made["lr"] = made["lr"] * group.scale
    except (TypeError, ValueError) as error:
        raise InputError(f"optimizer {name}: {error}") from error
    rising = int(warmup * steps)
    if schedule == "plateau":
        return Optimization(optimizer, _plateau(optimizer, rising, monitor, drop, patience))
    if schedule == "step":
        curve = _steps(optimizer, rising, max(1, round(steps * every / max(epochs, 1))), drop)
    else:
        curve = create_schedule(optimizer, schedule, rising, steps)
    return Optimization(optimizer, [{"scheduler": curve, "interval": "step"}])


def create_schedule(
    optimizer: torch.optim.Optimizer, name: str, warmup_steps: int, steps: int
) -> LambdaLR:
    """A curve over the whole training by the names of ``transformers``.

    Raises:
        InputError: unknown name.
    """
    from transformers.optimization import get_scheduler
    from transformers.trainer_utils import SchedulerType

    known = [kind.value for kind in SchedulerType]
    if name not in known:
        raise InputError(f"unknown schedule {name!r}, expected one of {sorted(known)}")
    if name == "constant" and warmup_steps:
        name = "constant_with_warmup"
    return get_scheduler(name, optimizer, num_warmup_steps=warmup_steps, num_training_steps=steps)


def _steps(
    optimizer: torch.optim.Optimizer, warmup_steps: int, every: int, drop: float
) -> LambdaLR:
    def factor(step: int) -> float:
        rising = min(1.0, step / warmup_steps) if warmup_steps else 1.0
        return float(rising * drop ** (step // every))

    return LambdaLR(optimizer, factor)


def _plateau(
    optimizer: torch.optim.Optimizer, warmup_steps: int, monitor: str, drop: float, patience: int
) -> list[LRSchedulerConfigType]:
    mode: Literal["min", "max"] = "min" if monitor.endswith("loss") else "max"
    falling = ReduceLROnPlateau(optimizer, mode, factor=drop, patience=patience, eps=0.0)
    schedules: list[LRSchedulerConfigType] = [
        {"scheduler": falling, "interval": "epoch", "monitor": monitor}
    ]
    if warmup_steps > 1:
        # Multiplies the rate step by step, so what the plateau took off stays off.
        rising = LinearLR(optimizer, 1 / warmup_steps, total_iters=warmup_steps - 1)
        schedules.append({"scheduler": rising, "interval": "step"})
    return schedules
