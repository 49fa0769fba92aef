from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.io.openi import read_openi
from cascade.labels.hierarchy import read_tree, tree_over
from cascade.labels.mesh import (
    ANATOMY,
    DESCRIPTORS,
    DISEASES,
    FINDINGS,
    LOCATIONS,
    NORMAL,
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
    paper_disease_of,
    parse_term,
    unknown_pieces,
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
        # sides, degrees, positions, spread and course before the finding are passed over
        ("Diaphragm/right/elevated/mild", "diaphragm/elevated"),
        ("Lung/bilateral/hypoinflation", "lung/hypoinflation"),
        ("Costophrenic Angle/sulcus/left/posterior/blunted", "costophrenic angle/blunted"),
        ("Thoracic Vertebrae/scattered/degenerative", "thoracic vertebrae/degenerative"),
        ("Markings/lung/upper lobe/hilum/right/bronchovascular", "markings/bronchovascular"),
        # a part that is ill instead of the organ takes its place
        ("Lung/hilum/left/prominent/mild", "hilum/prominent"),
        ("Lung/hilum/lymph nodes/bilateral/enlarged", "lymph nodes/enlarged"),
        ("Mediastinum/blood vessels/prominent", "blood vessels/prominent"),
        ("Lung/apex/hyperlucent", "lung/hyperlucent"),
        # without a finding the place or the degree is what is said
        ("Lung/azygos lobe", "lung/azygos lobe"),
        ("Cardiac Shadow/borderline", "cardiac shadow/borderline"),
        ("Thorax/left/small", "thorax/small"),
        ("Lung/hilum/lymph nodes/bilateral", "lung/hilum"),
        ("Adipose Tissue/right", "adipose tissue"),
        ("", ""),
        (" / ", ""),
    ],
)
def test_disease_of(term, disease):
    assert disease_of(term) == disease


@pytest.mark.parametrize(
    ("term", "disease"),
    [
        ("Diaphragm/right/elevated", "diaphragm/right"),
        ("Lung/hilum/left/prominent", "lung/hilum"),
        ("Thoracic vertebrae/degenerative/mild", "thoracic vertebrae/degenerative"),
        ("Opacity/lung/left", "opacity"),
        ("Lung", "lung"),
        ("normal", "normal"),
        (" / ", ""),
    ],
)
def test_the_disease_by_the_letter_of_the_paper(term, disease):
    assert paper_disease_of(term) == disease


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
            Term("diaphragm/elevated", side=("right",), severity=("mild",)),
        ),
        (
            "Lung/hilum/lymph nodes/left/enlarged",
            Term("lymph nodes/enlarged", ("lung", "hilum"), ("left",)),
        ),
        ("Calcinosis/breast implants", Term("calcinosis", ("breast implants",))),
        ("Nodule/left upper/healed", Term("nodule", descriptors=("left upper", "healed"))),
        ("Deformity/ribs/left/healed", Term("deformity", ("ribs",), ("left",), (), ("healed",))),
        ("", Term("")),
    ],
)
def test_parse_term(term, parsed):
    assert parse_term(term) == parsed


def test_a_piece_is_of_one_kind():
    kinds = [LOCATIONS, SIDES, SEVERITIES, DESCRIPTORS]
    assert sum(map(len, kinds)) == len(frozenset().union(*kinds))
    assert FINDINGS < DESCRIPTORS
    assert "aorta, thoracic" in ANATOMY
    assert "coronary vessels" in LOCATIONS


def test_annotation_text():
    assert annotation_text(()) == ""
    assert (
        annotation_text(["Opacity/Lung/ base ", "", "Cardiomegaly"])
        == "opacity/lung/base; cardiomegaly"
    )
    assert annotation_text(["a;b"]) == "a,b"


PIECE = st.text(max_size=8) | st.sampled_from(sorted(ANATOMY | SIDES | DESCRIPTORS))
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
        assert sorted([*kept, *parsed.severity, *parsed.descriptors]) == sorted(term.split("/"))


@given(MESH)
def test_a_disease_is_made_of_the_terms_own_pieces(mesh):
    for term in annotation_terms(annotation_text(mesh)):
        for disease in (disease_of(term), paper_disease_of(term)):
            assert set(disease.split("/")) <= set(term.split("/"))
            assert 1 <= len(disease.split("/")) <= 2
        assert parse_term(term).disease == disease_of(term)
        assert disease_of(disease_of(term)) == disease_of(term)


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


def test_unknown_pieces_are_reported_and_kept():
    mesh = ["Opacity/lung/left upper/mild", "Blister/apex", "Nodule/Left  Upper", "normal"]
    assert unknown_pieces(mesh) == ["left upper"]
    assert annotation_text(mesh).count("left upper") == 2


@pytest.mark.realdata
def test_the_vocabulary_is_the_archives(real_data: Path):
    annotations = read_openi(real_data / "openi" / "NLMCXR_reports.tgz").studies["mesh"]
    assert [piece for mesh in annotations for piece in unknown_pieces(mesh)] == []
    used = {piece for mesh in annotations for text in mesh for piece in text.lower().split("/")}
    assert (LOCATIONS | SIDES | SEVERITIES | DESCRIPTORS) - used == set()
    for key in DISEASES.values():
        diseases = {name for mesh in annotations for name in diseases_of(mesh, key)} - {NORMAL}
        assert diseases <= tree_over(diseases).keys()
    written = {line for line in read_tree() if "/" not in line}
    # what the tree names is in the archive, or groups what is
    assert written - {name for mesh in annotations for name in diseases_of(mesh)} <= set(
        tree_over([]).values()
    ) | {name for name in written if name.endswith((" findings", " markings"))}
