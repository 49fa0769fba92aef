"""Optimizers by name, with a schedule that steps once a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from cascade.errors import InputError

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


def create_optimizer(
    parameters: Iterable[nn.Parameter],
    steps: int,
    name: str,
    schedule: str,
    warmup: float,
    **kwargs: Any,
) -> OptimizerLRSchedulerConfig:
    """Lightning's optimizer dictionary.

    Args:
        parameters: those that require a gradient are trained.
        steps: optimizer steps of the whole training.
        name: ``adamw``, ``sgd``, ``rmsprop``.
        schedule: a name of ``transformers.get_scheduler``: ``cosine``, ``linear``, ``constant``...
        warmup: share of the steps during which the rate rises.
        **kwargs: ``lr``, ``weight_decay``, ``momentum`` as the optimizer takes them.

    Raises:
        InputError: unknown optimizer or schedule, an argument that it does not take, or nothing to
            train.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"unknown optimizer {name!r}, expected one of {sorted(OPTIMIZERS)}")
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise InputError("nothing to train: every parameter is frozen")
    try:
        optimizer = OPTIMIZERS[name](trained, **kwargs)
    except (TypeError, ValueError) as error:
        raise InputError(f"optimizer {name}: {error}") from error
    scheduler = create_schedule(optimizer, schedule, int(warmup * steps), steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def create_schedule(
    optimizer: torch.optim.Optimizer, name: str, warmup_steps: int, steps: int
) -> LambdaLR:
    """A learning rate schedule by the names of ``transformers``.

    Raises:
        InputError: unknown name.
    """
    from transformers.optimization import get_scheduler
    from transformers.trainer_utils import SchedulerType

    known = [kind.value for kind in SchedulerType]
    if name not in known:
        raise InputError(f"unknown schedule {name!r}, expected one of {sorted(known)}")
    return get_scheduler(name, optimizer, num_warmup_steps=warmup_steps, num_training_steps=steps)
