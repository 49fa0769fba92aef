"""Where a draft and the probabilities beside it contradict each other.

Detector and decoder read one image and may still say opposite things; a reader should know. A
report draft is mined as the labels of reports are (``cascade.labels.miner``), an annotation draft
is read as annotations are (``cascade.labels.mesh``). A doubtful mention contradicts nothing. Label
names meet in the findings of the lexicon, through ``LABEL_SETS``; a label that none of the sets
knows is compared with annotations that name it literally, and with nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from cascade.labels.label_sets import ABSENT, LABEL_SETS, NORMAL, PRESENT, LabelSet, label_values
from cascade.labels.mesh import annotation_terms, diseases_of, paper_disease_of
from cascade.labels.miner import mine_sections

DENIED = "called present, the draft denies it"
NOTHING_FOUND = "called present, the draft finds nothing"
UNLIKELY = "in the draft, its probability is below the threshold of high sensitivity"
FINDINGS_NAMED = "called present, the draft names findings"
BESIDE_FINDINGS = "called present beside findings"
"""What stands behind a label's name; ``FINDINGS_NAMED`` and ``BESIDE_FINDINGS`` behind normal."""


def contradictions(
    draft: str,
    target: str,
    probabilities: Mapping[str, float],
    called: Sequence[str] | None,
    least: Mapping[str, float | None],
) -> tuple[str, ...]:
    """What speaks against a draft, in fixed phrases behind the names of labels.

    Args:
        draft: as the decoder wrote it; one without a word contradicts nothing.
        target: ``annotation``, or another for report text.
        probabilities: of every label, by name.
        called: the labels called present; None where there are no operating points.
        least: the threshold of high sensitivity of each label; None or missing: not compared.

    >>> contradictions("Small effusion.", "findings", {"Effusion": 0.1}, [], {"Effusion": 0.2})
    ('Effusion: in the draft, its probability is below the threshold of high sensitivity',)
    """
    if not draft.strip():
        return ()
    said = (_annotation if target == "annotation" else _report)(draft, tuple(probabilities))
    against = _against_normal(tuple(probabilities))
    present = [label for label in called or () if label in probabilities]
    found: list[tuple[str, str]] = []
    for label in present:
        if said.get(label) == ABSENT and label != NORMAL:
            found.append((label, DENIED))
        elif label in against and said.get(NORMAL) == PRESENT:
            found.append((label, NOTHING_FOUND))
    for label, chance in probabilities.items():
        threshold = least.get(label)
        if said.get(label) == PRESENT and threshold is not None and chance < threshold:
            found.append((label, UNLIKELY))
    if NORMAL in present:
        if said.get(NORMAL) == ABSENT:
            found.append((NORMAL, FINDINGS_NAMED))
        if not against.isdisjoint(present):
            found.append((NORMAL, BESIDE_FINDINGS))
    return tuple(f"{label}: {phrase}" for label, phrase in found)


def _plain(label: str) -> str:
    """A label's name as the sets are asked for it.

    >>> _plain("Pleural_Thickening"), _plain("pulmonary edema")
    ('pleural thickening', 'edema')
    """
    return " ".join(label.lower().replace("_", " ").split()).removeprefix("pulmonary ")


@functools.cache
def _names(label_set: str) -> dict[str, tuple[str, ...]]:
    """The findings of each label of a set."""
    return {_plain(name): found for name, found in LABEL_SETS[label_set].labels.items()}


def _findings(label: str, sets: Sequence[str]) -> tuple[str, ...]:
    """What a label is in the lexicon, by the first set that has it; empty where none has."""
    found = (_names(name).get(_plain(label)) for name in sets)
    return next(filter(None, found), ())


@functools.lru_cache(maxsize=8)
def _meanings(labels: tuple[str, ...]) -> LabelSet:
    """The labels that the lexicon knows, beside those of the set that has most of them.

    A name that means different things in two sets is of that set. Its other labels are there to
    say what is normal.
    """
    plain = {_plain(label) for label in labels}
    sets = sorted(LABEL_SETS, key=lambda name: -len(plain & _names(name).keys()))
    known = {label: found for label in labels if (found := _findings(label, sets))}
    first = LABEL_SETS[sets[0]]
    return LabelSet({**first.labels, **known}, first.allowed, first.narrow, first.source)


@functools.lru_cache(maxsize=8)
def _against_normal(labels: tuple[str, ...]) -> frozenset[str]:
    """The labels beside which nothing is normal: not a device, for labels of CheXpert."""
    meanings = _meanings(labels)
    devices = {
        label for label, found in meanings.labels.items() if meanings.counted.isdisjoint(found)
    }
    return frozenset(labels) - devices - {NORMAL}


def _report(draft: str, labels: tuple[str, ...]) -> dict[str, float]:
    """What a report's text says of each label that it names."""
    return label_values(mine_sections({"findings": draft}), _meanings(labels), lean=False)


def _annotation(draft: str, labels: tuple[str, ...]) -> dict[str, float]:
    """Which labels an annotation names; one that it does not name has no value, but normal."""
    terms = annotation_terms(draft)
    named = {*diseases_of(terms), *diseases_of(terms, paper_disease_of)}
    sets = ("paper17", *LABEL_SETS)
    findings = {each for name in named for each in _findings(name, sets)}
    meanings = _meanings(labels).labels
    values = {
        label: PRESENT
        for label in labels
        if label.lower() in named or not findings.isdisjoint(meanings.get(label, ()))
    }
    values.pop(NORMAL, None)
    if named:
        values[NORMAL] = PRESENT if named == {NORMAL} else ABSENT
    return values
