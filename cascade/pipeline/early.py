"""Networks are built once before any work: a wrong name or file is said now, not hours later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cascade.inference.bundle import read_bundle
from cascade.training.fit_classifier import begin_encoder, create_loss
from cascade.training.fit_generator import begin_decoder

Settings = Mapping[str, Any]


def check_networks(settings: Settings, bundle: Path | None = None, decoder: bool = True) -> None:
    """Build what the settings name, and let it go.

    Args:
        settings: of the training.
        bundle: of the classifier whose encoder is used; None: the settings' encoder.
        decoder: whether one will be trained.

    Raises:
        InputError: an unknown name, a value that cannot be, a weight file that does not fit.
    """
    create_loss(torch.zeros(0, 1), False, settings["classifier"])
    with torch.random.fork_rng(devices=[]):
        if bundle is not None:
            width = read_bundle(bundle)[0].classifier.encoder.num_features
        else:
            width = begin_encoder(settings["encoder"], quiet=True).num_features
        if decoder:
            begin_decoder(settings["decoder"], 8, width, settings["generator"])
