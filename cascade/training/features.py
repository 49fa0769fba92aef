"""Features of a frozen classifier, computed once for all epochs of the decoder."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import torch
from torch import Tensor

from cascade.data.datasets import StudyDataset
from cascade.data.transforms import Augment, to_unit
from cascade.errors import InputError
from cascade.models.calibration import Calibration
from cascade.models.heads import StudyClassifier

log = logging.getLogger(__name__)

HALF_MAX = torch.finfo(torch.float16).max

Progress = Callable[[int, int], None]


@torch.no_grad()
def extract_features(
    network: StudyClassifier,
    dataset: StudyDataset,
    exclusive: bool,
    batch_size: int,
    augments: list[Augment | None],
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    maps: bool = False,
    memory: float = math.inf,
    calibration: Calibration | None = None,
) -> tuple[Tensor, Tensor]:
    """Features of all studies, once for each augmentation.

    Args:
        network: the classifier.
        dataset: the studies.
        exclusive: of its labels.
        batch_size: studies at a time.
        augments: one a copy.
        device: to compute on.
        progress: told how many studies are done, of how many.
        maps: the feature maps in half precision, for decoders that look at places, instead of the
            pooled features.
        memory: most GiB that the maps may take.
        calibration: of the probabilities; None leaves them as they come.

    Returns:
        features ``(N, A, D)``, or ``(N, A, V, D, H', W')`` of maps, and the label probabilities of
        the first copy ``(N, K)``, on the CPU.

    Raises:
        InputError: the maps would take more than ``memory``.
    """
    network = network.eval().to(device)
    calibration = (calibration or Calibration(exclusive)).to(device)
    copies, scores = [], []
    whole: Tensor | None = None
    total, done = len(dataset) * len(augments), 0
    for number, augment in enumerate(augments):
        parts = []
        for batch in dataset.batches(batch_size):
            images = to_unit(batch.images.to(device))
            if augment is not None:
                images = augment(images.flatten(0, 1)).unflatten(0, images.shape[:2])
            views = batch.views.to(device)
            output = network.forward_all(images, views)
            if maps:
                found = output.maps
                if whole is None:
                    whole = _room_for_maps(found, len(dataset), len(augments), memory)
                found = found.clamp(-HALF_MAX, HALF_MAX)  # not infinite, in half precision
                start = done % len(dataset)
                whole[start : start + len(found), number] = found.half().cpu()
            else:
                parts.append(output.features.float().cpu())
            if number == 0:
                scores.append(calibration(output.logits.float()).cpu())
            done += len(batch.study_ids)
            if progress is not None:
                progress(done, total)
        if not maps:
            copies.append(torch.cat(parts))
    features = whole if whole is not None else torch.stack(copies, dim=1)
    return features, torch.cat(scores)


def _room_for_maps(maps: Tensor, studies: int, copies: int, memory: float) -> Tensor:
    """An empty ``(N, A, V, D, H', W')`` for the maps of which ``maps`` are the first."""
    shape = (studies, copies, *maps.shape[1:])
    needed = 2 * math.prod(shape) / 2**30
    if needed > memory:
        places = " x ".join(map(str, maps.shape[1:]))
        raise InputError(
            f"the feature maps of {studies} studies in {copies} copies, {places} each, take "
            f"{needed:.3g} GiB, more than generator.map_memory={memory:g}: lower generator.copies "
            "or data.image_size, raise the limit, or take a decoder of pooled features (lstm, gru)"
        )
    log.info("feature maps of %d studies in %d copies: %.2f GiB", studies, copies, needed)
    return torch.empty(shape, dtype=torch.float16)
