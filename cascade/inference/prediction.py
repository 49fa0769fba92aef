"""What a predictor is and what it says of one image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the network says of one image.

    Attributes:
        annotation: the draft in annotation text, ``opacity/lung/base/left/mild; cardiomegaly``.
        sentences: the same draft as report sentences for a radiologist to edit.
        confidence: of the draft, in [0, 1].
        probabilities: one probability in [0, 1] a label, in the bundle's label order.
        doubts: why the draft should not be shown as it stands; empty where nothing speaks
            against it. The words are fixed phrases: they hold no identifier.
        findings: the labels called present at the operating point, in the bundle's order; None of
            a bundle without operating points.
        operating_point: at which they are called, ``best_f1``, ``high_sensitivity`` or
            ``high_specificity``; None likewise.
        contradictions: where the draft and the probabilities contradict each other, in fixed
            phrases behind names of labels (``cascade.inference.contradictions``).
    """

    annotation: str
    sentences: str
    confidence: float
    probabilities: dict[str, float]
    doubts: tuple[str, ...] = ()
    findings: tuple[str, ...] | None = None
    operating_point: str | None = None
    contradictions: tuple[str, ...] = ()


class PredictorProtocol(Protocol):
    """What ``annotate_archive`` asks of a predictor."""

    @property
    def model_id(self) -> str:
        """A hash of the bundle: equal for equal weights and settings, on every machine."""

    @property
    def version(self) -> str:
        """The version of the program that trained the bundle."""

    def predict(
        self, images: Sequence[np.ndarray], indications: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Predict images of any size.

        Args:
            images: arrays ``(H, W)``, bone bright; float32 in [0, 1] of any size, or uint8 as the
                predictor's own letterbox makes them.
            indications: one an image, empty where it has none; None: no image has one.

        Returns:
            One prediction an image, in order.
        """

    def predict_studies(
        self,
        studies: Sequence[Sequence[np.ndarray]],
        indications: Sequence[str] | None = None,
    ) -> list[Prediction]:
        """Predict studies, each by its views together.

        Args:
            studies: for each its pictures, at least one, as in ``predict``.
            indications: one a study.

        Returns:
            One prediction a study, in order.
        """
