"""Optimizers by name, with a schedule that steps once a batch and rates that differ by depth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from cascade.errors import InputError
from cascade.models.heads import StudyClassifier

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


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
    **kwargs: Any,
) -> OptimizerLRSchedulerConfig:
    """Lightning's optimizer dictionary.

    Args:
        parameters: those that require a gradient are trained; in groups where their rates differ.
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
