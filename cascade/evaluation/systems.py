"""What is scored (``System``), on which rows (``Rows``), and what a trivial system may learn from.

Plain strings and arrays, so that any system can be scored, whoever made it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from cascade.errors import InputError

ImageOf = Callable[[int], np.ndarray | None]
SaliencyOf = Callable[[int, str], np.ndarray | None]


@dataclasses.dataclass
class Rows:
    """The studies that every system is scored on, in one order (that of ``reports.csv``).

    Attributes:
        study_ids: ``N`` ids, each once.
        patient_ids: ``N`` ids; intervals resample patients, not studies.
        references: ``N`` texts as written; a study nobody described has an empty one.
        truth: ``(N, K)``, one column a label: 1 present, 0 absent, -1 uncertain, NaN unknown. None
            (or no column) where detection is not scored.
        split: the name of the split, for the page.
        image: the radiograph of row ``i``, float32 ``(H, W)`` in [0, 1], or None; for the page.
        saliency: where the main system's score of a label (a column of ``truth``) is sensitive in
            ``image(i)``: float ``(H, W)`` in [0, 1], or None; asked of the page's examples alone.
        saliency_pooling: by which pooling of places the main system has a map of its own, which
            ``saliency`` then shows; ``mean``: it has none, ``saliency`` is Grad-CAM.
        normal: ``(N,)`` bool, for the strata; None to find it from the text or the truth.
        views: ``N`` names of what was looked at ("frontal", "frontal and lateral"), for the strata;
            an empty one is in no stratum.
        findings: ``(N,)`` how many abnormal findings a study has, NaN unknown, for the strata; None
            to count them in the annotation or the truth.
    """

    study_ids: Sequence[str]
    patient_ids: Sequence[str]
    references: Sequence[str]
    truth: pd.DataFrame | None = None
    split: str = "test"
    image: ImageOf | None = None
    saliency: SaliencyOf | None = None
    saliency_pooling: str = "mean"
    normal: np.ndarray | None = None
    views: Sequence[str] | None = None
    findings: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            InputError: no row, an id twice, or lists of different length.
        """
        count = len(self.study_ids)
        if not count:
            raise InputError(f"no study to score in split {self.split!r}: choose another split")
        if len(set(self.study_ids)) < count:
            ids = pd.Series(list(self.study_ids))
            twice = ids[ids.duplicated()].iloc[0]
            raise InputError(f"study {twice!r} occurs twice among the rows to score")
        for name, values in (
            ("patient_ids", self.patient_ids),
            ("references", self.references),
            ("truth", self.truth),
            ("normal", self.normal),
            ("views", self.views),
            ("findings", self.findings),
        ):
            if values is not None and len(values) != count:
                raise InputError(f"{name} has {len(values)} rows for {count} studies")

    def __len__(self) -> int:
        """How many studies."""
        return len(self.study_ids)

    @property
    def labels(self) -> list[str]:
        """The names of the labels in column order; empty where there is no truth."""
        return [] if self.truth is None else [str(name) for name in self.truth.columns]


@dataclasses.dataclass
class System:
    """One system's answers on the rows.

    Attributes:
        name: what tables call it, each name once.
        hypotheses: ``N`` texts (an empty one is a wrong answer), or None if it writes none.
        probabilities: ``(N, K)``, columns = the base label names of ``Rows.truth``, values in
            [0, 1]; or None if it detects nothing. Columns of other names are passed over.
        trivial: True for a baseline; the others are compared in the order given, the last one is
            the one that the page is about.
        note: how it was made, in one sentence, printed beneath the tables.
        val_probabilities: the same for the validation studies, in the order of
            ``Training.val_labels``; what thresholds are chosen on. None leaves out the operating
            points.
    """

    name: str
    hypotheses: Sequence[str] | None = None
    probabilities: pd.DataFrame | None = None
    trivial: bool = False
    note: str = ""
    val_probabilities: pd.DataFrame | None = None

    def check(self, rows: Rows) -> None:
        """Check that the system answers these rows.

        Raises:
            InputError: neither text nor probabilities; too many or too few; a label missing; a
                probability missing or outside 0 to 1.
        """
        if self.hypotheses is None and self.probabilities is None:
            raise InputError(f"system {self.name!r} has neither hypotheses nor probabilities")
        for what, values in (
            ("hypotheses", self.hypotheses),
            ("probabilities", self.probabilities),
        ):
            if values is not None and len(values) != len(rows):
                raise InputError(
                    f"system {self.name!r} has {len(values)} {what} for {len(rows)} studies"
                )
        if self.hypotheses is not None:
            for row, text in enumerate(self.hypotheses, start=1):
                if not isinstance(text, str):
                    raise InputError(
                        f"system {self.name!r}: hypothesis {row} is {text!r}, not text "
                        "(write an empty string where it said nothing)"
                    )
        for what, given in (
            ("probability", self.probabilities),
            ("validation probability", self.val_probabilities),
        ):
            if given is None or not rows.labels:
                continue
            missing = [name for name in rows.labels if name not in given.columns]
            if missing:
                raise InputError(
                    f"system {self.name!r} has no {what} for the label(s) {', '.join(missing)}"
                )
            table = given[rows.labels].to_numpy(dtype=float)
            if not ((table >= 0) & (table <= 1)).all():
                raise InputError(
                    f"system {self.name!r} has a {what} that is missing or outside 0 to 1"
                )

    def scores(self, rows: Rows) -> np.ndarray | None:
        """The probabilities in the order of ``rows.labels``, ``(N, K)``, or None."""
        if self.probabilities is None or not rows.labels:
            return None
        return self.probabilities[rows.labels].to_numpy(dtype=float)

    def val_scores(self, rows: Rows) -> np.ndarray | None:
        """``scores`` of the validation studies, ``(L, K)``, or None."""
        if self.val_probabilities is None or self.probabilities is None or not rows.labels:
            return None
        return self.val_probabilities[rows.labels].to_numpy(dtype=float)


@dataclasses.dataclass
class Training:
    """What the trivial systems may look at; whatever is None leaves out the baselines that need it.

    Thresholds are chosen on the validation studies, never on the rows scored.

    Attributes:
        texts: the training reports, ``M`` of them.
        val_texts: the validation reports, for choosing the fixed report.
        labels: ``(M, K)`` training labels in the order of ``texts``, columns as ``Rows.truth``.
        pixels, test_pixels: ``(M, h, w)`` and ``(N, h, w)`` small radiographs, uint8 or float.
        features, test_features: ``(M, D)`` and ``(N, D)`` pooled encoder features.
        val_labels: ``(L, K)`` labels of the validation studies, columns as ``Rows.truth``.
        val_pixels, val_features: ``(L, h, w)`` and ``(L, D)`` of the same studies.
    """

    texts: Sequence[str]
    val_texts: Sequence[str] = ()
    labels: pd.DataFrame | None = None
    pixels: np.ndarray | None = None
    features: np.ndarray | None = None
    test_pixels: np.ndarray | None = None
    test_features: np.ndarray | None = None
    val_labels: pd.DataFrame | None = None
    val_pixels: np.ndarray | None = None
    val_features: np.ndarray | None = None

    def check(self, rows: Rows, systems: Sequence[System] = ()) -> None:
        """Check that rows agree.

        Raises:
            InputError: a table or array of another number of rows; validation probabilities of
                other studies than the validation labels.
        """
        studies = len(self.texts)
        validation = None if self.val_labels is None else len(self.val_labels)
        for name, values, count in (
            ("labels", self.labels, studies),
            ("pixels", self.pixels, studies),
            ("features", self.features, studies),
            ("test_pixels", self.test_pixels, len(rows)),
            ("test_features", self.test_features, len(rows)),
            ("val_pixels", self.val_pixels, validation),
            ("val_features", self.val_features, validation),
        ):
            if values is not None and count is not None and len(values) != count:
                raise InputError(f"training {name} has {len(values)} rows, {count} were expected")
        if self.val_labels is None:
            return
        missing = [name for name in rows.labels if name not in self.val_labels.columns]
        if missing:
            raise InputError(f"training val_labels has no label(s) {', '.join(missing)}")
        for system in systems:
            given = system.val_probabilities
            if given is not None and len(given) != validation:
                raise InputError(
                    f"system {system.name!r} has {len(given)} validation probabilities for "
                    f"{validation} validation studies"
                )
