"""A bundle on one device, or on several at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from cascade.errors import InputError
from cascade.inference.prediction import Prediction
from cascade.inference.predictor import Predictor
from cascade.inference.workers import cores, keep_memory
from cascade.metrics.operating import DEFAULT_POINT

Thing = TypeVar("Thing")


class Replicas:
    """One predictor a device, each in a thread of its own; a batch is divided among them.

    Attributes:
        image_size, views, labels, model_id, version, operating_point: those of each of them.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        """Join predictors of one bundle."""
        self.predictors = list(predictors)
        first = self.predictors[0]
        self.model_id, self.version, self.image_size = (
            first.model_id,
            first.version,
            first.image_size,
        )
        self.views, self.labels, self.reader = first.views, first.labels, first.reader
        self.operating_point = first.operating_point
        self.abstain_below = getattr(first, "abstain_below", None)
        self._threads = ThreadPoolExecutor(len(self.predictors), "predictor")

    def predict(
        self, images: Sequence[np.ndarray], indications: Sequence[str] | None = None
    ) -> list[Prediction]:
        """As ``Predictor.predict``."""
        return self._shared(lambda p, part, asked: p.predict(part, asked), images, indications)

    def predict_studies(
        self,
        studies: Sequence[Sequence[np.ndarray]],
        indications: Sequence[str] | None = None,
    ) -> list[Prediction]:
        """As ``Predictor.predict_studies``."""
        return self._shared(
            lambda p, part, asked: p.predict_studies(part, asked), studies, indications
        )

    def _shared(
        self,
        call: Callable[[Predictor, Sequence[Thing], Sequence[str] | None], list[Prediction]],
        things: Sequence[Thing],
        asked: Sequence[str] | None,
    ) -> list[Prediction]:
        size = -(-len(things) // len(self.predictors)) or 1
        calls = [
            self._threads.submit(
                call,
                predictor,
                things[start : start + size],
                None if asked is None else asked[start : start + size],
            )
            for predictor, start in zip(self.predictors, range(0, len(things), size), strict=False)
        ]
        return [prediction for each in calls for prediction in each.result()]


def share_cores(workers: int) -> None:
    """Leave cores to the processes that decode: threads beyond the cores only wait for each other.

    Args:
        workers: processes that decode beside the network.
    """
    torch.set_num_threads(min(torch.get_num_threads(), max(1, cores() - workers)))
    keep_memory()


def load_predictor(
    model: str | Path, device: str = "auto", operating_point: str = DEFAULT_POINT
) -> Predictor | Replicas:
    """Load a bundle for one device or several.

    Args:
        model: the bundle.
        device: ``auto`` (every CUDA device, else the CPU), or names joined by ``+`` or commas.
        operating_point: at which findings are called.

    Raises:
        InputError: as ``Predictor``, or no device is named.
    """
    if device == "auto" and torch.cuda.device_count() > 1:
        device = ",".join(f"cuda:{number}" for number in range(torch.cuda.device_count()))
    names = [name.strip() for name in re.split(r"[,+]", device)]
    if not all(names):
        raise InputError(f"device={device}: expected auto, or devices joined by +: cuda:0+cuda:1")
    predictors = [Predictor(model, name, operating_point) for name in names]
    return predictors[0] if len(predictors) == 1 else Replicas(predictors)
