"""Encoders by name with one contract: one-channel images in, a feature map out.

``__init__`` builds random weights; ``load_weights`` reads a local file. Nothing is downloaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from cascade.models.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Encoder
from cascade.models.encoders.convolutional import (
    convnext_tiny,
    densenet121,
    efficientnet_b0,
    googlenet_bn,
    nin,
    resnet18,
    resnet50,
    squeezenet1_1,
    tiny,
)
from cascade.models.encoders.hub import timm
from cascade.models.encoders.transformers import swin_t, vit_b_16
from cascade.models.weights import LoadReport, load_weights

__all__ = [
    "ENCODERS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "TRAINING_OPTIONS",
    "Encoder",
    "LoadReport",
    "create_encoder",
    "load_weights",
]

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "tiny": tiny,
    "nin": nin,
    "googlenet_bn": googlenet_bn,
    "squeezenet1_1": squeezenet1_1,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "densenet121": densenet121,
    "efficientnet_b0": efficientnet_b0,
    "convnext_tiny": convnext_tiny,
    "vit_b_16": vit_b_16,
    "swin_t": swin_t,
    "timm": timm,
}

TRAINING_OPTIONS = ("weights", "unfreeze", "gradual")
"""Settings of an encoder that say how it is trained, not what it is."""


def create_encoder(name: str, **options: Any) -> Encoder:
    """An encoder with random weights.

    >>> import torch
    >>> create_encoder("tiny", width=4)(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 32, 2, 2])

    Args:
        name: of ``ENCODERS``; ``timm:NET`` is ``timm`` with ``model=NET``.
        **options: of that encoder.

    Raises:
        ValueError: unknown name, or an option that it does not take.
    """
    kind, colon, model = name.partition(":")
    if kind not in ENCODERS or (colon and kind != "timm"):
        raise ValueError(
            f"unknown encoder {name!r}, expected one of {sorted(ENCODERS)}, or timm:NET"
        )
    if colon:
        if options.get("model") not in (None, model):
            raise ValueError(f"encoder.name={name} and encoder.model={options['model']}: which?")
        options["model"] = model
    known = inspect.signature(ENCODERS[kind]).parameters
    unknown = sorted(set(options) - set(known)) if kind != "timm" else []
    if unknown:
        takes = f"its options are {', '.join(known)}" if known else "it has no options"
        raise ValueError(f"the encoder {kind} takes no {unknown[0]}: {takes}")
    return ENCODERS[kind](**options)
