"""Labels from annotations: the paper's single-label patterns, and many labels by term.

Both rules choose their labels on the training studies alone and then label every study. An
annotation is taken as complete: a disease that it does not name is absent. A study without an
annotation is unknown, and so is one of which the annotation says only that the picture is poor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cascade.errors import InputError
from cascade.io.collection import Collection
from cascade.labels import hierarchy
from cascade.labels.choosing import check_choice, fitting_studies, in_order, wanted_labels
from cascade.labels.mesh import DISEASES, NORMAL, diseases_of, unknown_pieces
from cascade.labels.table import Label, LabelTable

PATTERNS = ("disease", "set")


def mine_patterns(
    collection: Collection,
    *,
    min_images: int = 30,
    fit_on: str = "train",
    disease: str = "paper",
    patterns: str = "disease",
    overlap: bool = False,
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
        disease: how a term names its disease, of ``cascade.labels.mesh.DISEASES``.
        patterns: ``disease`` as above; ``set`` also takes several diseases that make up whole
            annotations together, joined by ``; `` in the label's name.
        overlap: the same labels are then given to every annotated study whose annotation holds the
            pattern, among whatever else.

    Returns:
        An exclusive table (with ``overlap`` one of many labels), normal first, then by falling
        count.

    Raises:
        InputError: no study is annotated, none is in training, no pattern is frequent enough, or
            an option is unknown.
    """
    check_choice("patterns", patterns, PATTERNS)
    studies, diseases = _annotated(collection, disease)
    fitting = fitting_studies(studies, fit_on)
    images = collection.images["study_id"].value_counts()
    of_study = studies["study_id"].map(images).fillna(0).astype(int)
    whole = [_pattern(found, patterns) for found in diseases]
    counts: Counter[str] = Counter()
    members: dict[str, frozenset[str]] = {}
    for found, name, fits, number in zip(diseases, whole, fitting, of_study, strict=True):
        if fits and name:
            counts[name] += int(number)
            members[name] = frozenset(found)
    names = in_order({name: count for name, count in counts.items() if count > min_images})
    if not names:
        best = max(counts.values(), default=0)
        raise InputError(
            f"no pattern is seen on more than {min_images} {_of(fit_on)}images (the most frequent "
            f"on {best}): lower labels.min_images"
        )
    values = np.full((len(studies), len(names)), np.nan, dtype=np.float32)
    for row, (found, name) in enumerate(zip(diseases, whole, strict=True)):
        if overlap and found:
            said = set(_without_idle_normal(found))
            values[row] = [members[pattern] <= said for pattern in names]
        elif name in names:
            values[row] = [pattern == name for pattern in names]
    one = "this set of diseases" if patterns == "set" else "this one disease"
    rule = {
        "name": "patterns",
        "text": f"the annotation holds {one}, among others; one that it does not hold is absent"
        if overlap
        else f"the whole annotation comes down to {one}; other studies are unknown",
        "min_images": min_images,
        "fit_on": fit_on,
        "disease": disease,
        "patterns": patterns,
        "overlap": overlap,
        "images": {name: counts[name] for name in names},
        **_unknown(studies),
    }
    return _table(studies, names, values, exclusive=not overlap, rule=rule)


def mine_terms(
    collection: Collection,
    *,
    min_studies: int = 20,
    fit_on: str = "train",
    include: Sequence[str] = (),
    disease: str = "finding",
    rollup: bool = False,
    other: bool = True,
) -> LabelTable:
    """Many labels a study: each disease that its annotation names, and normal.

    Args:
        collection: annotated studies.
        min_studies: a label needs at least so many studies.
        fit_on: ``train`` counts training studies, ``all`` every study.
        include: diseases to label whatever their count.
        disease: how a term names its disease, of ``cascade.labels.mesh.DISEASES``.
        rollup: rare diseases are merged along ``cascade.labels.hierarchy`` instead of left out.
        other: with ``rollup``, what reaches ``min_studies`` nowhere in the tree becomes the label
            ``other findings``, if it is so many studies together; False leaves it out.

    Returns:
        A table of many labels, normal first, then by falling count. ``rule["classes"]`` names the
        members of each label that was rolled up.

    Raises:
        InputError: no study is annotated, none is in training, no label is frequent enough, no
            study carries a label of ``include``, or an option is unknown.
    """
    studies, diseases = _annotated(collection, disease)
    diseases = [_without_idle_normal(found) for found in diseases]
    fitting = fitting_studies(studies, fit_on)
    known = {name for found in diseases for name in found}
    wanted = wanted_labels(include, known)
    cases: dict[str, set[int]] = {name: set() for name in known}
    for row, (found, fits) in enumerate(zip(diseases, fitting, strict=True)):
        for name in found if fits else []:
            cases[name].add(row)
    classes: dict[str, tuple[str, ...]] = {}
    if rollup:
        apart = {NORMAL, *wanted}
        rolled = _rolled({k: v for k, v in cases.items() if k not in apart}, min_studies, other)
        classes = {name: members for name, members in rolled.classes.items() if members != (name,)}
        cases = {
            **{name: cases[name] for name in apart & known},
            **{name: _union(cases, members) for name, members in rolled.classes.items()},
        }
    counts = {name: len(rows) for name, rows in cases.items()}
    names = in_order({k: n for k, n in counts.items() if n >= max(min_studies, 1) or k in wanted})
    if not names:
        best = max(counts.values(), default=0)
        raise InputError(
            f"no label is carried by at least {min_studies} {_of(fit_on)}studies (the most "
            f"frequent by {best}): lower labels.min_studies"
        )
    rule = {
        "name": "terms",
        "text": "the annotation is taken as complete: a disease that it does not name is absent",
        "min_studies": min_studies,
        "fit_on": fit_on,
        "include": wanted,
        "disease": disease,
        "rollup": rollup,
        **({"other": other, "classes": _lists(classes)} if rollup else {}),
        **_unknown(studies),
    }
    label_of = _class_of(rule)
    column = {name: index for index, name in enumerate(names)}
    values = np.zeros((len(studies), len(names)), dtype=np.float32)
    for row, found in enumerate(diseases):
        if not found:
            values[row] = np.nan
        for name in found:
            if label_of.get(name, name) in column:
                values[row, column[label_of.get(name, name)]] = 1
    return _table(studies, names, values, exclusive=False, rule=rule)


def term_disease(rule: Mapping[str, Any]) -> Callable[[str], str]:
    """The function that names a term's disease as the label table of a rule does.

    >>> name = term_disease({"classes": {"pleural diseases": ["pneumothorax", "hemothorax"]}})
    >>> name("Pneumothorax/apex/left"), name("Diaphragm/left/elevated")
    ('pleural diseases', 'diaphragm/elevated')
    """
    key = DISEASES[rule.get("disease", "finding")]
    label_of = _class_of(rule)

    def named(term: str) -> str:
        disease = key(term)
        return label_of.get(disease, disease)

    return named


def _class_of(rule: Mapping[str, Any]) -> dict[str, str]:
    classes: Mapping[str, Iterable[str]] = rule.get("classes", {})
    return {member: name for name, members in classes.items() for member in members}


def _annotated(collection: Collection, disease: str) -> tuple[pd.DataFrame, list[list[str]]]:
    """The studies and the diseases of each; none for a study without an annotation."""
    check_choice("disease", disease, list(DISEASES))
    studies = collection.studies
    diseases = [diseases_of(mesh, DISEASES[disease]) for mesh in studies["mesh"]]
    if not any(diseases):
        raise InputError(
            "no study carries an annotation, so there is nothing to mine: give the collection a "
            "MeSH or label column"
        )
    return studies, diseases


def _pattern(found: Sequence[str], patterns: str) -> str:
    """The pattern that a whole annotation makes up, or nothing."""
    if len(found) == 1:
        return found[0]
    # "normal" beside a finding is no word on the whole, so such an annotation is no pattern
    return "; ".join(sorted(found)) if patterns == "set" and NORMAL not in found else ""


def _without_idle_normal(found: Sequence[str]) -> list[str]:
    """``normal`` beside a finding says nothing of the finding and is no word on the whole."""
    return [name for name in found if name != NORMAL or len(found) == 1]


def _rolled(cases: Mapping[str, set[int]], min_studies: int, other: bool) -> hierarchy.Partition:
    try:
        return hierarchy.rollup(cases, hierarchy.tree_over(cases), min_studies, other=other)
    except ValueError as error:
        raise InputError(f"labels.min_studies={min_studies}: {error}") from error


def _union(cases: Mapping[str, set[int]], members: Iterable[str]) -> set[int]:
    return set[int]().union(*(cases[name] for name in members))


def _lists(classes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {name: list(members) for name, members in classes.items()}


def _unknown(studies: pd.DataFrame) -> dict[str, dict[str, int]]:
    """How many studies use each qualifier outside the vocabulary; no entry where none does."""
    counts = Counter(piece for mesh in studies["mesh"] for piece in unknown_pieces(mesh))
    return {"unknown_pieces": dict(sorted(counts.items()))} if counts else {}


def _of(fit_on: str) -> str:
    return "training " if fit_on == "train" else ""


def _table(
    studies: pd.DataFrame,
    names: list[str],
    values: np.ndarray,
    *,
    exclusive: bool,
    rule: dict[str, Any],
) -> LabelTable:
    index = pd.Index(studies["study_id"].tolist(), name="study_id")
    described = "nothing was found" if exclusive else "the annotation says normal and nothing else"
    words = {name: "; ".join(members) for name, members in rule.get("classes", {}).items()}
    words[NORMAL] = described
    labels = [Label(name, name, words.get(name, "")) for name in names]
    return LabelTable(pd.DataFrame(values, index=index, columns=names), labels, exclusive, rule)
