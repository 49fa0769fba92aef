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
from cascade.inference.contradictions import contradictions
from cascade.inference.prediction import Prediction
from cascade.metrics.operating import DEFAULT_POINT, OPERATING_NAMES
from cascade.models.reader import Reader
from cascade.text.sentences import annotation_sentences


class Predictor:
    """Reads pictures, one by one or study by study, with a bundle's network.

    Attributes:
        reader: the networks, in evaluation mode.
        model_id: hash of the bundle.
        version: of the program that wrote it.
        image_size: side in pixels of the pictures it reads.
        views: how many pictures of a study it was trained on.
        labels: the names of its probabilities, in order.
        operating_point: at which findings are called present; None of a bundle without.
        abstain_below: a draft of less confidence needs a reader; None: the bundle has no threshold.
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
        self.views: int = self.facts["views"]
        self.labels: list[str] = list(self.reader.diseases)
        points = self.reader.operating_points
        self.operating_point = None if points is None else operating_point
        self.thresholds = [
            None if points is None else points[disease][operating_point]["threshold"]
            for disease in self.reader.diseases
        ]
        self._sensitive = {
            disease: None if points is None else points[disease]["high_sensitivity"]["threshold"]
            for disease in self.reader.diseases
        }
        abstention = self.reader.abstention or {"threshold": None}
        self.abstain_below: float | None = abstention["threshold"]
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.device = torch.device(device)
            self.reader.to(self.device)
            if self.device.type == "cpu":  # a third faster there for batches of 16
                self.reader.to(memory_format=torch.channels_last)
        except (RuntimeError, AssertionError) as error:  # torch's, for a name or a missing driver
            reason = str(error).split(". ")[0].splitlines()[0]
            raise InputError(
                f"device={device} cannot be used here, device=auto takes what there is: {reason}"
            ) from error

    def predict(
        self, images: Sequence[np.ndarray], indications: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Predict images, each a study of its own.

        Args:
            images: ``(H, W)``, bone bright: float32 in [0, 1] of any size, or uint8 of the
                bundle's size as ``to_uint8`` makes it.
            indications: one an image, as written, empty where it has none; for a bundle that reads
                them. None: no image has one.

        Returns:
            One prediction an image: the draft, its sentences, the probability of each disease, the
            diseases called present, and doubts where the picture is unlike the training
            radiographs, inverted, turned, another view or no chest at all.
        """
        return self.predict_studies([[image] for image in images], indications)

    def predict_studies(
        self,
        studies: Sequence[Sequence[np.ndarray]],
        indications: Sequence[str] | None = None,
    ) -> list[Prediction]:
        """Predict studies, the views of each read together by the classifier's own fusion.

        Args:
            studies: for each its images, one at least, as ``predict`` takes them.
            indications: one a study.

        Returns:
            One prediction a study; the doubts are those of its images.
        """
        if not studies:
            return []
        places = max(map(len, studies))
        size = self.image_size
        pixels = np.zeros((len(studies), places, 1, size, size), dtype=np.uint8)
        present = np.zeros((len(studies), places), dtype=bool)
        for row, images in enumerate(studies):
            for place, image in enumerate(images):
                pixels[row, place, 0] = _squared(image, size)
                present[row, place] = True
        tensor = to_unit(torch.from_numpy(pixels).to(self.device))
        views = torch.from_numpy(present).to(self.device)
        with torch.no_grad():
            reading = self.reader.read(tensor, views, indications=indications)
            odd = self.reader.suitability
            doubts = [()] * len(studies) if odd is None else odd.doubts(tensor, views)
        drafts = reading.drafts or [""] * len(studies)
        confidences = (
            reading.confidences.tolist()
            if reading.confidences is not None
            else [0.0] * len(studies)
        )
        found = zip(drafts, confidences, reading.diseases.tolist(), doubts, strict=True)
        return [self._prediction(*each) for each in found]

    def _prediction(
        self, draft: str, confidence: float, row: Sequence[float], doubts: tuple[str, ...]
    ) -> Prediction:
        target, called = self.facts["target"], self._called(row)
        probabilities = dict(zip(self.reader.diseases, row, strict=True))
        return Prediction(
            annotation=draft,
            sentences=annotation_sentences(draft) if target == "annotation" else draft,
            confidence=confidence,
            probabilities=probabilities,
            doubts=doubts,
            findings=called,
            operating_point=self.operating_point,
            contradictions=contradictions(draft, target, probabilities, called, self._sensitive),
        )

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


def _squared(image: np.ndarray, size: int) -> np.ndarray:
    """An image as the network sees it, 0 to 255; one that is so already comes back."""
    if image.dtype == np.uint8 and image.shape == (size, size):
        return image
    return to_uint8(image, size)
