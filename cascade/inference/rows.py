"""What stands in the tables of an annotated archive, a row an image and a row a study.

Rows of images (``images/part-*``):

=================  ======================================================================
path               relative to the source; ``archive.zip!member`` inside a zip
study              16 hex digits, a hash of the Study Instance UID; null where there is none
series             likewise of the Series Instance UID
view               frontal, lateral, unknown; null where the image was not read
status             ``draft``, ``doubtful``, ``failed`` or ``duplicate``
doubtful           true where the image or the network gave cause for doubt
annotation         the draft in annotation text; null unless status is ``draft``
sentences          the draft as report sentences; null unless status is ``draft``
confidence         of the draft, in [0, 1]
findings           the labels called present at the operating point, a list; null unless status is
                   ``draft``, and of a model without operating points
operating_point    at which they are called; null where findings is
probabilities      in JSON an object, label to probability; in Parquet and CSV one column a
                   label, ``p_LABEL``: columns can be filtered and averaged where they lie
doubts, notes      lists of phrases: why it is doubtful, what the reader had to assume
reason             why it failed, or which image it duplicates
model_id           hash of the bundle
model_version      version of the program that trained it
program_version    version of the program that annotated
time               when the row was written, UTC
notice             that the draft is machine-made and unverified
=================  ======================================================================

Rows of studies (``studies/part-*``) have study, annotation to time and notice likewise, and

=================  ======================================================================
images             the paths of its images, in order
views              their views
read               the paths of those that the draft rests on
status             ``draft``; ``needs_reader``: the model abstains; ``doubtful``: no image
                   without a doubt; ``failed``: no image that could be read; ``duplicate``: every
                   image came before, in another study
abstained          why the model abstains; null where it does not
contradictions     where the draft and the probabilities contradict each other, a list
patient_id, study_instance_uid, accession_number
                   as they stand in the header, with ``identifiers=keep`` alone
=================  ======================================================================

A doubtful image keeps its probabilities and its confidence and loses its draft and its findings: a
description of something that may be no chest radiograph would read as if somebody had looked. No
row holds a header value as it stood in the file, unless ``identifiers=keep`` asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

import cascade
from cascade.inference.prediction import Prediction

_WORDS = pa.list_(pa.string())
_DRAFT = (
    ("annotation", pa.string()),
    ("sentences", pa.string()),
    ("confidence", pa.float32()),
)
_FINDINGS = (
    ("findings", _WORDS),
    ("operating_point", pa.string()),
)
_PROBABILITIES = (("probabilities", None),)
_AFTER = (
    ("doubts", _WORDS),
    ("notes", _WORDS),
    ("reason", pa.string()),
    ("model_id", pa.string()),
    ("model_version", pa.string()),
    ("program_version", pa.string()),
    ("time", pa.string()),
    ("notice", pa.string()),
)
COLUMNS: dict[str, dict[str, pa.DataType | None]] = {
    "images": dict(
        (
            ("path", pa.string()),
            ("study", pa.string()),
            ("series", pa.string()),
            ("view", pa.string()),
            ("status", pa.string()),
            ("doubtful", pa.bool_()),
            *_DRAFT,
            *_FINDINGS,
            *_PROBABILITIES,
            *_AFTER,
        )
    ),
    "studies": dict(
        (
            ("study", pa.string()),
            ("images", _WORDS),
            ("views", _WORDS),
            ("read", _WORDS),
            ("status", pa.string()),
            *_DRAFT,
            ("abstained", pa.string()),
            *_FINDINGS,
            *_PROBABILITIES,
            ("contradictions", _WORDS),
            *_AFTER,
        )
    ),
}
"""The keys of a row in JSON, in order, and their types in Parquet; probabilities are columns."""

IDENTIFYING = ("patient_id", "study_instance_uid", "accession_number")
"""Further keys of a study's row with ``identifiers=keep``."""


def new_row(kind: str, status: str, model: tuple[str, str], **values: Any) -> dict[str, Any]:
    """A row with all its keys.

    Args:
        kind: ``images`` or ``studies``.
        status: of it.
        model: the model's id and version.
        values: of the other keys; the rest is null or empty.
    """
    lists: dict[str, Any] = {
        key: [] for key in ("doubts", "notes", "contradictions") if key in COLUMNS[kind]
    }
    return {
        **dict.fromkeys(COLUMNS[kind]),
        **lists,
        "status": status,
        **({"doubtful": status == "doubtful"} if kind == "images" else {}),
        "model_id": model[0],
        "model_version": model[1],
        "program_version": cascade.__version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "notice": cascade.RESEARCH_NOTICE,
        **values,
    }


def said(prediction: Prediction, doubts: Sequence[str]) -> dict[str, Any]:
    """What a prediction puts into a row; any doubt withholds draft and findings.

    Args:
        prediction: what the network says.
        doubts: what the reader doubts; the prediction's own doubts are added.
    """
    every_doubt = list(dict.fromkeys([*doubts, *prediction.doubts]))
    values: dict[str, Any] = {
        "confidence": round(float(prediction.confidence), 6),
        "probabilities": {k: round(float(p), 6) for k, p in prediction.probabilities.items()},
        "doubts": every_doubt,
    }
    if not every_doubt:
        values |= {"annotation": prediction.annotation, "sentences": prediction.sentences}
        if prediction.findings is not None:
            values["findings"] = list(prediction.findings)
            values["operating_point"] = prediction.operating_point
    return values
