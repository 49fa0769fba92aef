from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.labels.mesh import (
    ANATOMY,
    LOCATIONS,
    SEVERITIES,
    SIDES,
    Slots,
    Term,
    annotation_diseases,
    annotation_slots,
    annotation_terms,
    annotation_text,
    disease_of,
    diseases_of,
    parse_term,
)


@pytest.mark.parametrize(
    ("term", "disease"),
    [
        ("normal", "normal"),
        ("Calcified Granuloma/lung/upper lobe/right", "calcified granuloma"),
        ("Lung/hypoinflation", "lung/hypoinflation"),
        ("Thoracic Vertebrae/degenerative/mild", "thoracic vertebrae/degenerative"),
        ("Thoracic vertebrae/degenerative", "thoracic vertebrae/degenerative"),
        ("Aorta, Thoracic/tortuous", "aorta, thoracic/tortuous"),
        ("Markings/bronchovascular", "markings/bronchovascular"),
        ("Lung, Hyperlucent/apex", "lung, hyperlucent"),
        ("Catheters, Indwelling/right", "catheters, indwelling"),
        ("Subcutaneous  Emphysema/thorax", "subcutaneous emphysema"),
        ("Lung", "lung"),
        ("", ""),
        (" / ", ""),
    ],
)
def test_disease_of(term, disease):
    assert disease_of(term) == disease


@pytest.mark.parametrize(
    ("term", "parsed"),
    [
        ("Cardiomegaly/mild", Term("cardiomegaly", severity=("mild",))),
        (
            "Opacity/lung/middle lobe/right/round/small",
            Term("opacity", ("lung", "middle lobe"), ("right",), ("small",), ("round",)),
        ),
        (
            "Diaphragm/right/elevated/mild",
            Term("diaphragm/right", severity=("mild",), other=("elevated",)),
        ),
        ("Deformity/ribs/left/healed", Term("deformity", ("ribs",), ("left",), (), ("healed",))),
        ("", Term("")),
    ],
)
def test_parse_term(term, parsed):
    assert parse_term(term) == parsed


def test_the_qualifier_classes_do_not_overlap():
    assert not SIDES & SEVERITIES
    assert not LOCATIONS & (SIDES | SEVERITIES)
    assert "aorta, thoracic" in ANATOMY
    assert "coronary vessels" in LOCATIONS


def test_annotation_text():
    assert annotation_text(()) == ""
    assert (
        annotation_text(["Opacity/Lung/ base ", "", "Cardiomegaly"])
        == "opacity/lung/base; cardiomegaly"
    )
    assert annotation_text(["a;b"]) == "a,b"


PIECE = st.text(max_size=8)
MESH = st.lists(st.lists(PIECE, max_size=4).map("/".join), max_size=5)


@given(MESH)
def test_terms_are_the_inverse_of_the_text(mesh):
    text = annotation_text(mesh)
    terms = annotation_terms(text)
    assert annotation_text(terms) == text
    assert terms == [part for term in mesh if (part := annotation_text([term]))]


@given(st.text())
def test_any_text_is_read(text):
    terms = annotation_terms(text)
    assert all(terms)
    assert set(annotation_slots(text)) == set(annotation_diseases(text))
    assert annotation_terms("; ".join(terms)) == terms


@given(MESH)
def test_no_piece_is_lost(mesh):
    for term in annotation_terms(annotation_text(mesh)):
        parsed = parse_term(term)
        kept = [*parsed.disease.split("/"), *parsed.location, *parsed.side]
        assert sorted([*kept, *parsed.severity, *parsed.other]) == sorted(term.split("/"))


def test_diseases_leave_out_what_is_no_finding():
    mesh = ["Technical Quality of Image Unsatisfactory ", "Opacity/left", "No Indexing", "Opacity"]
    assert diseases_of(mesh) == ["opacity"]
    assert annotation_diseases(annotation_text(mesh)) == ["opacity"]
    assert list(annotation_slots(annotation_text(mesh))) == ["opacity"]


def test_slots_join_the_terms_of_a_disease():
    slots = annotation_slots("opacity/lung/left; normal; opacity/lung/right/mild")
    assert slots == {
        "opacity": Slots(("lung",), ("left", "right"), ("mild",)),
        "normal": Slots(),
    }
