"""Contradictions between a draft and the probabilities beside it, worked out by hand."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.inference.contradictions import (
    BESIDE_FINDINGS,
    DENIED,
    FINDINGS_NAMED,
    NOTHING_FOUND,
    UNLIKELY,
    contradictions,
)
from cascade.labels.label_sets import LABEL_SETS

PHRASES = (DENIED, NOTHING_FOUND, UNLIKELY, FINDINGS_NAMED, BESIDE_FINDINGS)


def of_report(draft, called, labels=("normal", "Cardiomegaly", "Effusion"), chance=0.5):
    probabilities = dict.fromkeys(labels, chance)
    return contradictions(draft, "findings", probabilities, called, dict.fromkeys(labels, 0.2))


def of_annotation(draft, called, labels=("normal", "opacity", "cardiomegaly"), chance=0.5):
    probabilities = dict.fromkeys(labels, chance)
    return contradictions(draft, "annotation", probabilities, called, dict.fromkeys(labels, 0.2))


@pytest.mark.parametrize(
    ("draft", "called", "found"),
    [
        ("Small left effusion. Heart size is normal.", ["Effusion"], []),
        ("Heart size is normal.", ["Cardiomegaly"], [("Cardiomegaly", DENIED)]),
        ("No effusion. Mild cardiomegaly.", ["Effusion"], [("Effusion", DENIED)]),
        ("Possible effusion.", ["Effusion", "Cardiomegaly"], []),  # doubt denies nothing
        ("Scoliosis.", ["Effusion"], []),  # not named, and the text is not normal
        ("No pneumothorax.", ["Effusion"], [("Effusion", NOTHING_FOUND)]),
        ("No pneumothorax.", ["normal"], []),
        ("Large effusion.", ["normal"], [("normal", FINDINGS_NAMED)]),
        (
            "Large effusion.",
            ["normal", "Effusion"],
            [("normal", FINDINGS_NAMED), ("normal", BESIDE_FINDINGS)],
        ),
        ("", ["Effusion"], []),
        ("Large effusion.", None, []),
    ],
)
def test_what_a_report_contradicts(draft, called, found):
    assert of_report(draft, called) == tuple(f"{label}: {phrase}" for label, phrase in found)


@pytest.mark.parametrize(
    ("draft", "called", "found"),
    [
        ("opacity/lung/left", ["opacity"], []),
        ("opacity/lung/left", ["cardiomegaly"], []),  # leaving out is no denial
        ("normal", ["cardiomegaly"], [("cardiomegaly", NOTHING_FOUND)]),
        ("normal", ["normal"], []),
        ("normal; opacity", ["normal"], [("normal", FINDINGS_NAMED)]),
        ("opacity", ["normal"], [("normal", FINDINGS_NAMED)]),
        ("no indexing", ["cardiomegaly"], []),
        (" ; /", ["cardiomegaly"], []),
    ],
)
def test_what_an_annotation_contradicts(draft, called, found):
    assert of_annotation(draft, called) == tuple(f"{label}: {phrase}" for label, phrase in found)


def test_what_the_draft_asserts_should_be_likely():
    assert of_report("Effusion. No edema.", [], chance=0.19) == (f"Effusion: {UNLIKELY}",)
    assert of_report("Effusion. No edema.", [], chance=0.2) == ()
    assert of_annotation("opacity; no indexing", [], chance=0.19) == (f"opacity: {UNLIKELY}",)
    assert of_annotation("normal", [], chance=0.19) == (f"normal: {UNLIKELY}",)
    # without a threshold nothing is compared
    assert contradictions("opacity", "annotation", {"opacity": 0.0}, None, {"opacity": None}) == ()
    assert contradictions("opacity", "annotation", {"opacity": 0.0}, None, {}) == ()


def test_names_meet_in_the_lexicon():
    labels = ("normal", "pulmonary edema", "Pleural_Thickening", "pleural effusion", "hernia")
    said = of_report("No edema, effusion or pleural thickening.", labels[1:], labels)
    assert said == tuple(
        f"{label}: {DENIED}" for label in ("pulmonary edema", "Pleural_Thickening", labels[3])
    ) + (f"hernia: {NOTHING_FOUND}",)
    # an annotation in MeSH's words beside a detector in CheXpert's
    labels = ("normal", "lung opacity", "fracture", "cardiomegaly")
    said = of_annotation("opacity/lung; fractures, bone/ribs", [], labels, chance=0.1)
    assert said == (f"lung opacity: {UNLIKELY}", f"fracture: {UNLIKELY}")


def test_a_name_is_of_the_set_that_has_most_of_the_labels():
    chexpert = ("Pneumonia", "Lung Opacity", "Lung Lesion", "Fracture")
    chestxray14 = ("Pneumonia", "Infiltration", "Nodule", "Mass")
    # CheXpert's pneumonia takes any infection
    assert of_report("Findings of infection.", [], chexpert, 0.1) == (f"Pneumonia: {UNLIKELY}",)
    assert of_report("Findings of infection.", [], chestxray14, 0.1) == ()


def test_a_label_without_a_counterpart_is_compared_by_its_very_name_alone():
    labels = ("normal", "shift", "tb")
    assert of_annotation("shift/mediastinum", [], labels, 0.1) == (f"shift: {UNLIKELY}",)
    assert of_report("Mediastinal shift. No tb.", ["shift", "tb"], labels, 0.1) == ()


def test_the_paper_names_diseases_by_two_pieces():
    said = of_annotation("diaphragm/right/elevated", [], ("normal", "diaphragm/right"), 0.1)
    assert said == (f"diaphragm/right: {UNLIKELY}",)


def test_a_device_is_normal_to_chexpert():
    labels = ("normal", *LABEL_SETS["chexpert"].labels)
    draft = "No effusion, no edema. Pacemaker."
    assert of_report(draft, ["normal", "Support Devices"], labels) == ()
    # a set knows what is normal even where the detector has some of its labels
    labels = ("normal", "Lung Lesion", "Support Devices")
    assert of_report("Pneumothorax.", ["Lung Lesion"], labels) == ()


NAMES = sorted({"normal", "tb", *(n for each in LABEL_SETS.values() for n in each.labels)})
WORDS = st.sampled_from(["no", "normal", "effusion", "opacity", "heart", ".", ";", "/", "left"])


@settings(max_examples=200, deadline=None)
@given(
    draft=st.lists(WORDS | st.text(string.printable, max_size=5), max_size=12).map(" ".join),
    target=st.sampled_from(["annotation", "findings", "impression", "both"]),
    probabilities=st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1), max_size=6),
    called=st.none() | st.lists(st.sampled_from(NAMES), unique=True, max_size=5),
    least=st.dictionaries(st.sampled_from(NAMES), st.none() | st.floats(0, 1), max_size=6),
)
def test_no_draft_is_too_odd(draft, target, probabilities, called, least):
    found = contradictions(draft, target, probabilities, called, least)
    assert len(set(found)) == len(found)
    for each in found:
        label, _, phrase = each.partition(": ")
        assert label in probabilities
        assert phrase in PHRASES
