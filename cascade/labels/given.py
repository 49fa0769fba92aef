"""Labels that the source itself gives, as CheXpert's and MIMIC-CXR-JPG's tables do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cascade.errors import InputError
from cascade.io.collection import Collection
from cascade.labels.choosing import check_choice, fitting_studies, in_order, wanted_labels
from cascade.labels.table import NORMAL, Label, LabelTable

UNMENTIONED = ("unknown", "absent")
_NORMAL_NAMES = (NORMAL, "no finding", "no findings")
_NO_FINDINGS = (NORMAL, "support devices")
_TEXTS = {
    "unknown": "a label that nobody mentioned is unknown",
    "absent": "in a study with labels, a label that nobody mentioned is absent",
}


def mine_given(
    collection: Collection,
    *,
    min_studies: int = 1,
    fit_on: str = "train",
    include: Sequence[str] = (),
    unmentioned: str = "unknown",
) -> LabelTable:
    """The labels that the source gives: 1, 0 and -1 as they are.

    Names become lower case, and ``No Finding`` becomes ``normal``. Where the source leaves ``No
    Finding`` empty beside a finding that it gives as present, ``normal`` is 0: that is what the
    words mean, and CheXpert's training list has no other no (support devices count as no finding).

    Args:
        collection: studies with ``labels``.
        min_studies: a label needs at least so many studies that it is present in.
        fit_on: ``train`` counts training studies, ``all`` every study.
        include: labels to keep whatever their count.
        unmentioned: what a label is in a study whose source gives others but not this one:
            ``unknown``, or ``absent`` for sources that list only what is there. A study without any
            label is unknown.

    Returns:
        A table of many labels, normal first, then by falling count; ``rule["left_out"]`` counts
        the studies of the others.

    Raises:
        InputError: no study has given labels, none is in training, no label is frequent enough, no
            study carries a label of ``include``, or an unknown option.
    """
    check_choice("unmentioned", unmentioned, UNMENTIONED)
    studies = collection.studies
    given = [_named(labels or {}) for labels in studies["labels"]]
    if not any(given):
        raise InputError(
            "no study carries labels of its source: mine its annotations (labels=terms), or give "
            "data.label_columns to `cascade prepare data=table`"
        )
    counts: Counter[str] = Counter()
    for labels, fits in zip(given, fitting_studies(studies, fit_on), strict=True):
        if fits:
            counts.update(name for name, value in labels.items() if value == 1)
    known = {name for labels in given for name in labels}
    wanted = wanted_labels(map(_name, include), known)
    kept = {name: counts[name] for name in known if counts[name] >= min_studies or name in wanted}
    if not kept:
        raise InputError(
            f"no label is present in at least {min_studies} studies (the most frequent in "
            f"{max(counts.values(), default=0)}): lower labels.min_studies"
        )
    names = in_order(kept)
    column = {name: index for index, name in enumerate(names)}
    values = np.full((len(studies), len(names)), np.nan, dtype=np.float32)
    for row, labels in enumerate(given):
        if labels and unmentioned == "absent":
            values[row] = 0
        for name, value in labels.items():
            if name in column:
                values[row, column[name]] = value
        if NORMAL in column and NORMAL not in labels and _finding_given(labels):
            values[row, column[NORMAL]] = 0
    rule = {
        "name": "given",
        "text": f"the source's own labels; {_TEXTS[unmentioned]}",
        "min_studies": min_studies,
        "fit_on": fit_on,
        "include": wanted,
        "unmentioned": unmentioned,
        "left_out": {name: counts[name] for name in sorted(known - set(names))},
    }
    index = pd.Index(studies["study_id"].tolist(), name="study_id")
    described = {NORMAL: "the source gives No Finding"}
    labels_of = [Label(name, name, described.get(name, "")) for name in names]
    return LabelTable(pd.DataFrame(values, index=index, columns=names), labels_of, False, rule)


def _finding_given(labels: dict[str, float]) -> bool:
    return any(value == 1 and name not in _NO_FINDINGS for name, value in labels.items())


def _name(name: str) -> str:
    """A label's name in the table.

    >>> _name("No Finding"), _name("Pleural  Effusion")
    ('normal', 'pleural effusion')
    """
    plain = " ".join(name.lower().split())
    return NORMAL if plain in _NORMAL_NAMES else plain


def _named(labels: dict[str, float]) -> dict[str, float]:
    return {_name(name): value for name, value in labels.items()}
