"""Labels from annotations: the paper's single-label patterns, and many labels by term.

Both rules choose their labels on the training studies alone and then label every study. An
annotation is taken as complete: a disease that it does not name is absent. A study without an
annotation is unknown, and so is one of which the annotation says only that the picture is poor.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cascade.errors import InputError
from cascade.io.collection import SPLITS, Collection
from cascade.labels.mesh import NORMAL, diseases_of
from cascade.labels.table import Label, LabelTable

FIT_ON = ("train", "all")


def mine_patterns(
    collection: Collection, *, min_images: int = 30, fit_on: str = "train"
) -> LabelTable:
    """One label a study, by the paper's rule (Shin et al. 2016).

    A study counts if its whole annotation comes down to one disease; the disease becomes a label
    if more than ``min_images`` images (named, whether found or not) belong to such studies. Studies
    outside every label are unknown.

    Args:
        collection: annotated studies.
        min_images: a label needs more images than this.
        fit_on: ``train`` counts the images of training studies, ``all`` those of all, as the
            paper did.

    Returns:
        An exclusive table, normal first, then by falling count.

    Raises:
        InputError: no study is annotated, none is in training, or no pattern is frequent enough.
    """
    studies, diseases = _annotated(collection)
    fitting = _fitting(studies, fit_on)
    images = collection.images["study_id"].value_counts()
    of_study = studies["study_id"].map(images).fillna(0).astype(int)
    counts: Counter[str] = Counter()
    for found, fits, number in zip(diseases, fitting, of_study, strict=True):
        if fits and len(found) == 1:
            counts[found[0]] += int(number)
    names = _ordered({name: count for name, count in counts.items() if count > min_images})
    if not names:
        best = max(counts.values(), default=0)
        raise InputError(
            f"no pattern is seen on more than {min_images} {_of(fit_on)}images (the most frequent "
            f"on {best}): lower labels.min_images"
        )
    values = np.full((len(studies), len(names)), np.nan, dtype=np.float32)
    column = {name: index for index, name in enumerate(names)}
    for row, found in enumerate(diseases):
        if len(found) == 1 and found[0] in column:
            values[row] = 0
            values[row, column[found[0]]] = 1
    rule = {
        "name": "patterns",
        "text": "the whole annotation comes down to this one disease; other studies are unknown",
        "min_images": min_images,
        "fit_on": fit_on,
        "images": {name: counts[name] for name in names},
    }
    return _table(studies, names, values, exclusive=True, rule=rule)


def mine_terms(
    collection: Collection,
    *,
    min_studies: int = 20,
    fit_on: str = "train",
    include: Sequence[str] = (),
) -> LabelTable:
    """Many labels a study: each disease that its annotation names, and normal.

    Args:
        collection: annotated studies.
        min_studies: a label needs at least so many studies.
        fit_on: ``train`` counts training studies, ``all`` every study.
        include: diseases to label whatever their count.

    Returns:
        A table of many labels, normal first, then by falling count.

    Raises:
        InputError: no study is annotated, none is in training, no label is frequent enough, or no
            study carries a label of ``include``.
    """
    studies, diseases = _annotated(collection)
    # "normal" beside a finding says nothing of the finding and is no word on the whole
    diseases = [[d for d in found if d != NORMAL or len(found) == 1] for found in diseases]
    fitting = _fitting(studies, fit_on)
    fitted = [found for found, fits in zip(diseases, fitting, strict=True) if fits]
    counts = Counter(disease for found in fitted for disease in found)
    known = {disease for found in diseases for disease in found}
    wanted = [" ".join(name.lower().split()) for name in include]
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=3)
            hint = f"; close: {', '.join(map(repr, close))}" if close else ""
            raise InputError(f"no study carries the label {name!r}{hint}")
    kept = {name: n for name, n in counts.items() if n >= min_studies or name in wanted}
    kept |= {name: counts[name] for name in wanted}
    names = _ordered(kept)
    if not names:
        best = max(counts.values(), default=0)
        raise InputError(
            f"no label is carried by at least {min_studies} {_of(fit_on)}studies (the most "
            f"frequent by {best}): lower labels.min_studies"
        )
    column = {name: index for index, name in enumerate(names)}
    values = np.zeros((len(studies), len(names)), dtype=np.float32)
    for row, found in enumerate(diseases):
        if not found:
            values[row] = np.nan
        for disease in found:
            if disease in column:
                values[row, column[disease]] = 1
    rule = {
        "name": "terms",
        "text": "the annotation is taken as complete: a disease that it does not name is absent",
        "min_studies": min_studies,
        "fit_on": fit_on,
        "include": wanted,
    }
    return _table(studies, names, values, exclusive=False, rule=rule)


def _annotated(collection: Collection) -> tuple[pd.DataFrame, list[list[str]]]:
    """The studies and the diseases of each; none for a study without an annotation."""
    studies = collection.studies
    diseases = [diseases_of(mesh) for mesh in studies["mesh"]]
    if not any(diseases):
        raise InputError(
            "no study carries an annotation, so there is nothing to mine: give the collection a "
            "MeSH or label column"
        )
    return studies, diseases


def _fitting(studies: pd.DataFrame, fit_on: str) -> np.ndarray:
    """Which studies choose the labels, ``(N,)`` bool."""
    if fit_on not in FIT_ON:
        raise InputError(f"unknown labels.fit_on {fit_on!r}, expected one of {list(FIT_ON)}")
    if fit_on == "all":
        return np.ones(len(studies), dtype=bool)
    fitting = (studies["split"] == SPLITS[0]).to_numpy(dtype=bool)
    if not fitting.any():
        raise InputError(
            "no study is in the train split: prepare the collection with splits, or set "
            "labels.fit_on=all"
        )
    return fitting


def _of(fit_on: str) -> str:
    return "training " if fit_on == "train" else ""


def _ordered(counts: dict[str, int]) -> list[str]:
    """Normal first, then by falling count, then by name."""
    return sorted(counts, key=lambda name: (name != NORMAL, -counts[name], name))


def _table(
    studies: pd.DataFrame,
    names: list[str],
    values: np.ndarray,
    *,
    exclusive: bool,
    rule: dict[str, object],
) -> LabelTable:
    index = pd.Index(studies["study_id"].tolist(), name="study_id")
    described = "nothing was found" if exclusive else "the annotation says normal and nothing else"
    labels = [Label(name, name, described if name == NORMAL else "") for name in names]
    return LabelTable(pd.DataFrame(values, index=index, columns=names), labels, exclusive, rule)
