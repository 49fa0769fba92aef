"""What an annotated study hands to whatever writes it: the tables' rows, and who writes more."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np


class StudyResult(NamedTuple):
    """One study, annotated.

    Attributes:
        row: the study's row, as ``cascade.inference.rows`` describes it.
        images: the rows of its images, in order of path.
        evidence: for each of ``images``, what documents need of its DICOM header, as DICOM JSON
            (``cascade.io.dicom.evidence``); None where it is no DICOM file, could not be read, or
            no writer asked for it.
        pictures: for each of ``images``, ``(H, W)`` uint8, or float in [0, 1], as the network saw
            it; None where it could not be read. None altogether unless a writer asks for them.
    """

    row: dict[str, Any]
    images: list[dict[str, Any]]
    evidence: list[str | None]
    pictures: list[np.ndarray | None] | None = None


class Writer(Protocol):
    """Writes one kind of document, a file or more a study."""

    @property
    def name(self) -> str:
        """The format's name, as ``formats=`` has it; its files lie in ``OUT/NAME/``."""

    @property
    def needs_evidence(self) -> bool:
        """Whether it needs the headers of the images."""

    @property
    def needs_pictures(self) -> bool:
        """Whether it needs their pixels."""

    def write(self, result: StudyResult, out: Path) -> str | None:
        """Write the study's document under ``out``, whole or not at all.

        The file's name depends on the study alone, so writing again replaces it by its equal.

        Returns:
            None, or why there is no document: a fixed phrase without an identifier, for a note.

        Raises:
            CascadeError: the disk is full.
        """
