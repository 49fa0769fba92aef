"""A loaded bundle as a function of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cascade.data.cache import to_uint8
from cascade.data.transforms import to_unit
from cascade.errors import InputError
from cascade.inference.bundle import read_bundle
from cascade.inference.prediction import Prediction
from cascade.metrics.operating import DEFAULT_POINT, OPERATING_NAMES
from cascade.models.reader import Reader
from cascade.text.sentences import annotation_sentences


class Predictor:
    """Reads pictures one by one (one view a study) with a bundle's network.

    Attributes:
        reader: the networks, in evaluation mode.
        model_id: hash of the bundle.
        version: of the program that wrote it.
        operating_point: at which findings are called present; None of a bundle without.
    """

    def __init__(
        self, directory: str | Path, device: str = "auto", operating_point: str = DEFAULT_POINT
    ) -> None:
        """Load a bundle.

        Args:
            directory: the bundle.
            device: ``auto``, ``cpu``, ``cuda``, ...
            operating_point: a name of ``OPERATING_NAMES``.

        Raises:
            InputError: as ``read_bundle``, or no such device or operating point.
        """
        if operating_point not in OPERATING_NAMES:
            raise InputError(
                f"operating_point={operating_point}: expected one of {', '.join(OPERATING_NAMES)}"
            )
        self.reader: Reader
        self.reader, self.facts = read_bundle(directory)
        self.model_id: str = self.facts["model_id"]
        self.version: str = self.facts["program_version"]
        self.image_size: int = self.facts["image_size"]
        points = self.reader.operating_points
        self.operating_point = None if points is None else operating_point
        self.thresholds = [
            None if points is None else points[disease][operating_point]["threshold"]
            for disease in self.reader.diseases
        ]
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.device = torch.device(device)
            self.reader.to(self.device)
        except (RuntimeError, AssertionError) as error:  # torch's, for a name or a missing driver
            reason = str(error).split(". ")[0].splitlines()[0]
            raise InputError(
                f"device={device} cannot be used here, device=auto takes what there is: {reason}"
            ) from error

    def predict(
        self, images: Sequence[np.ndarray], indications: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Predict images of any size.

        Args:
            images: float32 ``(H, W)`` in [0, 1], bone bright.
            indications: one an image, as written, empty where it has none; for a bundle that reads
                them. None: no image has one.

        Returns:
            One prediction an image: the draft, its sentences, the probability of each disease, the
            diseases called present, and a doubt where the picture is unlike the training
            radiographs.
        """
        if not images:
            return []
        pixels = np.stack([to_uint8(image, self.image_size) for image in images])
        tensor = to_unit(torch.from_numpy(pixels).to(self.device)).view(
            len(images), 1, 1, *pixels.shape[1:]
        )
        views = torch.ones(len(images), 1, dtype=torch.bool, device=self.device)
        reading = self.reader.read(tensor, views, indications=indications)
        suitability = self.reader.suitability
        distances = suitability(tensor[:, 0]).tolist() if suitability else [0.0] * len(images)
        drafts = reading.drafts or [""] * len(images)
        confidences = (
            reading.confidences.tolist() if reading.confidences is not None else [0.0] * len(images)
        )
        annotation = self.facts["target"] == "annotation"
        return [
            Prediction(
                annotation=draft,
                sentences=annotation_sentences(draft) if annotation else draft,
                confidence=confidence,
                probabilities=dict(zip(self.reader.diseases, row, strict=True)),
                doubts=_doubts(distance),
                findings=self._called(row),
                operating_point=self.operating_point,
            )
            for draft, confidence, row, distance in zip(
                drafts, confidences, reading.diseases.tolist(), distances, strict=True
            )
        ]

    def _called(self, row: Sequence[float]) -> tuple[str, ...] | None:
        """The diseases at their threshold or above; one without a threshold is never called."""
        if self.operating_point is None:
            return None
        return tuple(
            disease
            for disease, threshold, chance in zip(
                self.reader.diseases, self.thresholds, row, strict=True
            )
            if threshold is not None and chance >= threshold
        )


def _doubts(distance: float) -> tuple[str, ...]:
    if distance <= 1.0:
        return ()
    return (f"unlike the training radiographs: {distance:.2f} times the accepted distance",)
