"""What the header says of the view."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cascade.io.dicom import Radiograph, note_code, read_dicom


def codes(radiograph: Radiograph) -> list[str]:
    return [note_code(note) for note in radiograph.notes]


def code(meaning: str, value: str = "") -> Sequence:
    item = Dataset()
    item.CodeMeaning, item.CodeValue = meaning, value
    return Sequence([item])


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"ViewPosition": "PA"}, "frontal"),
        ({"ViewPosition": "AP"}, "frontal"),
        ({"ViewPosition": "LL"}, "lateral"),
        ({"ViewPosition": "LATERAL"}, "lateral"),
        ({"ViewPosition": "LLD"}, "unknown"),
        ({"ViewPosition": "", "ViewCodeSequence": code("postero-anterior")}, "frontal"),
        ({"ViewPosition": "", "ViewCodeSequence": code("left lateral")}, "lateral"),
        ({"ViewPosition": "", "SeriesDescription": "CHEST LAT"}, "lateral"),
        ({"ViewPosition": "", "SeriesDescription": "W033 Chest PA"}, "frontal"),
        ({"ViewPosition": "", "SeriesDescription": "Chest PA and lateral"}, "unknown"),
        ({"ViewPosition": "", "PatientOrientation": ["L", "F"]}, "frontal"),
        ({"ViewPosition": "", "PatientOrientation": ["A", "F"]}, "lateral"),
        ({"ViewPosition": "", "PatientOrientation": ["F", "P"]}, "lateral"),
        ({"ViewPosition": "", "PatientOrientation": ["F", "H"]}, "unknown"),
        ({"ViewPosition": "", "ViewCodeSequence": code("x", "R-10206")}, "frontal"),
        ({"ViewPosition": "", "ViewCodeSequence": code("", "399198007")}, "lateral"),
        ({"ViewPosition": "", "ViewCodeSequence": code("lateral oblique")}, "unknown"),
        ({"ViewPosition": "", "ProtocolName": "Thorax_PA"}, "frontal"),
        ({"ViewPosition": "", "ProtocolName": "Torax perfil"}, "lateral"),
        ({"ViewPosition": "", "StudyDescription": "Lunge seitlich"}, "lateral"),
        ({"ViewPosition": ""}, "unknown"),
    ],
)
def test_view(make_dicom, tags, view):
    assert read_dicom(make_dicom(**tags)).view == view


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({}, ""),
        ({"BodyPartExamined": ""}, ""),
        ({"BodyPartExamined": "THORAX", "Modality": "CR"}, ""),
        ({"Modality": "SC"}, ""),
        ({"Modality": "OT", "BodyPartExamined": "", "StudyDescription": "Chest film"}, ""),
        ({"Modality": "OT", "BodyPartExamined": ""}, "modality OT"),
        ({"Modality": "", "BodyPartExamined": ""}, "no modality"),
        ({"Modality": "CT"}, "not radiography"),
        ({"BodyPartExamined": "HAND"}, "body part HAND"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "raw data"),
        ({"PresentationIntentType": "FOR PRESENTATION"}, ""),
    ],
)
def test_doubts(make_dicom, tags, words):
    doubts = read_dicom(make_dicom(**tags)).doubts
    assert (words in doubts[0]) if words else doubts == ()


def test_view_codes_are_those_of_the_standard():
    from pydicom.sr.codedict import codes as standard

    from cascade.io.dicom.orientation import _VIEW_CODES

    for name, view in {
        "AnteroPosterior": "frontal",
        "PosteroAnterior": "frontal",
        "Frontal": "frontal",
        "LateralProjection": "lateral",
        "LeftLateral": "lateral",
        "RightLateral": "lateral",
    }.items():
        assert _VIEW_CODES[getattr(standard.cid4010, name).value] == view, name


def test_sources_that_disagree_are_noted(make_dicom):
    radiograph = read_dicom(make_dicom(ViewPosition="PA", SeriesDescription="chest lat"))
    assert (radiograph.view, codes(radiograph)) == ("frontal", ["view_disagrees"])


def test_laterality_is_a_fact(make_dicom):
    assert read_dicom(make_dicom(ImageLaterality="L")).facts.laterality == "L"
    assert read_dicom(make_dicom(Laterality="R")).facts.laterality == "R"


# --- how it lies ----------------------------------------------------------------------------------

# The patient, frontal and upright: 1 at the head on the patient's right, 2 at the head on the left.
UPRIGHT = [[1, 2], [3, 5]]


@pytest.mark.parametrize(
    ("row", "column", "stored", "noted"),
    [
        # what is stored, worked out by hand from where its rows and columns run
        ("L", "F", [[1, 2], [3, 5]], []),
        ("R", "F", [[2, 1], [5, 3]], ["mirrored"]),
        ("R", "H", [[5, 3], [2, 1]], ["turned"]),
        ("L", "H", [[3, 5], [1, 2]], ["turned", "mirrored"]),
        ("F", "L", [[1, 3], [2, 5]], ["turned", "mirrored"]),
        ("F", "R", [[2, 5], [1, 3]], ["turned"]),
        ("H", "L", [[3, 1], [5, 2]], ["turned"]),
        ("H", "R", [[5, 2], [3, 1]], ["turned", "mirrored"]),
    ],
)
def test_a_frontal_view_is_brought_upright(make_dicom, row, column, stored, noted):
    radiograph = read_dicom(make_dicom(stored, PatientOrientation=[row, column]))
    assert radiograph.pixels.tolist() == [[0.0, 0.25], [0.5, 1.0]]
    assert [each for each in codes(radiograph) if each != "view"] == noted
    assert radiograph.pixels.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("row", "column", "shown"),
    [
        ("A", "F", [[0.0, 0.25], [0.5, 1.0]]),
        ("P", "F", [[0.0, 0.25], [0.5, 1.0]]),
        ("A", "H", [[1.0, 0.5], [0.25, 0.0]]),  # head down: turned by 180 degrees
        ("F", "A", [[0.5, 0.0], [1.0, 0.25]]),  # feet on the right: turned clockwise
        ("H", "A", [[0.25, 1.0], [0.0, 0.5]]),  # feet on the left: the other way
    ],
)
def test_a_lateral_view_is_turned_and_never_mirrored(make_dicom, row, column, shown):
    dataset = make_dicom(UPRIGHT, ViewPosition="LL", PatientOrientation=[row, column])
    radiograph = read_dicom(dataset)
    assert radiograph.pixels.tolist() == shown
    assert "mirrored" not in codes(radiograph)


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientOrientation": ""},
        {"PatientOrientation": ["R"]},
        {"PatientOrientation": ["RP", "F"]},  # oblique
        {"PatientOrientation": ["R", "L"]},
        {"PatientOrientation": ["R", "A"]},
        {"PatientOrientation": ["A", "H"]},  # lateral, against a view position of PA
        {"PatientOrientation": ["X", "Y"]},
        {"FieldOfViewRotation": 90, "FieldOfViewHorizontalFlip": "YES"},
    ],
)
def test_what_is_ambiguous_leaves_the_picture_as_it_is(make_dicom, tags):
    radiograph = read_dicom(make_dicom(UPRIGHT, **tags))
    assert radiograph.pixels.tolist() == [[0.0, 0.25], [0.5, 1.0]]
    assert not {"turned", "mirrored"} & set(codes(radiograph))


def test_facts_are_of_the_file_and_not_of_the_turned_picture(make_dicom):
    radiograph = read_dicom(make_dicom([[1, 2, 3]], PatientOrientation=["H", "L"]))
    assert radiograph.pixels.shape == (3, 1)
    assert (radiograph.facts.rows, radiograph.facts.columns) == (1, 3)
