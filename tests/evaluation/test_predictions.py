"""Predictions files: scored without a model, and refused with the thing and the remedy."""

import pandas as pd
import pytest

from cascade.errors import InputError
from cascade.evaluation.predictions import evaluate_predictions, read_predictions


def write(tmp_path, text, name="p.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


GOOD = "study_id,reference,hypothesis\n01,Heart is normal.,Heart is normal.\n02,Clear lungs.,\n"


def test_a_file_is_scored_beside_trivial_systems(tmp_path):
    found = evaluate_predictions(read_predictions(write(tmp_path, GOOD)), resamples=20)
    assert found.rows.study_ids == ["01", "02"]  # an id is text, its zero stays
    assert found.figure("predictions", "exact").value == 0.5
    assert found.figure("predictions", "empty").value == 1
    assert any("No patient_id column" in note for note in found.notes)
    assert found.systems[1].name == "fixed report (of the references)"


def test_patients_and_kind_are_taken(tmp_path):
    table = read_predictions(write(tmp_path, GOOD)).assign(patient_id="p")
    found = evaluate_predictions(table, kind="annotation", name="theirs")
    assert found.meta["patients"] == 1
    assert found.main.name == "theirs"
    assert not any("No patient_id" in note for note in found.notes)


def test_a_missing_hypothesis_counts_as_empty():
    table = pd.DataFrame({"study_id": [1, 2], "reference": ["a", "b"], "hypothesis": ["a", None]})
    assert evaluate_predictions(table, resamples=0).figure("predictions", "empty").value == 1


@pytest.mark.parametrize("word", ["NA", "None", "null", "nan"])
def test_words_that_look_like_nothing_stay_words(tmp_path, word):
    table = read_predictions(write(tmp_path, f"study_id,reference,hypothesis\n1,{word},{word}\n"))
    assert evaluate_predictions(table).figure("predictions", "exact").value == 1


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    table = read_predictions(write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()))
    assert list(table.columns) == ["study_id", "reference", "hypothesis"]


def test_references_of_a_second_file(tmp_path):
    first = write(tmp_path, "study_id,hypothesis\n2,b\n1,a\n")
    second = write(tmp_path, "study_id,reference\n1,a\n2,b\n", "r.csv")
    table = read_predictions(first, second)
    assert evaluate_predictions(table).figure("predictions", "exact").value == 1


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ("study_id,reference\n1,a\n", r"r.csv has no row for 1 study_id\(s\).*'2'"),
        ("study_id,reference\n1,a\n2,b\n3,c\n", r"p.csv has no row for 1 study_id\(s\).*'3'"),
        ("study_id,text\n1,a\n2,b\n", "no column reference"),
        ("study_id,reference\n1,a\n1,b\n", "'1' occurs twice"),
    ],
)
def test_references_that_do_not_fit(tmp_path, references, message):
    first = write(tmp_path, "study_id,hypothesis\n1,a\n2,b\n")
    with pytest.raises(InputError, match=message):
        read_predictions(first, write(tmp_path, references, "r.csv"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: it needs the columns study_id, reference, hypothesis"),
        (b"study_id,reference,hypothesis\n1,caf\xe9,x\n", "is not UTF-8 text .*save it as CSV"),
        ('study_id,reference,hypothesis\n1,"open', "cannot be read as CSV"),
        ("study_id,reference,hypothesis\n1,a,b,c,d\n2,e\n3,a,b,c,d,e,f,g\n", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_predictions(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study_id,reference\n1,a\n", r"no column hypothesis \(found: study_id, reference\)"),
        ("study_id,reference,hypothesis\n", "no row"),
        ("study_id,reference,hypothesis\n1,a,b\n1,c,d\n", "'1' occurs twice .* one row a study"),
        ("study_id,reference,hypothesis\n ,a,b\n", r"1 row\(s\) have no study_id"),
        ("study_id,reference,hypothesis\n1,,b\n", "no reference .*'1'.* leave it out"),
    ],
)
def test_tables_that_cannot_be_scored(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        evaluate_predictions(read_predictions(write(tmp_path, text)))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="the predictions file .* does not exist"):
        read_predictions(tmp_path / "none.csv")
    with pytest.raises(InputError, match="the references file .* does not exist"):
        read_predictions(write(tmp_path, GOOD), tmp_path / "none.csv")
    with pytest.raises(InputError, match="does not exist"):
        read_predictions(tmp_path)
