"""Mined labels against labels by hand: scores worked out by hand, and the page."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from cascade.cli.main import dispatch
from cascade.errors import InputError
from cascade.evaluation.agreement import (
    agreement,
    align,
    disagreements,
    label_name,
    read_hand_labels,
)
from cascade.evaluation.agreement_page import mark_text
from cascade.io.collection import Collection, Study, write_collection
from cascade.labels.miner import mine_text
from cascade.labels.table import Label, LabelTable


def frame(rows, columns=("normal", "Mass", "Hernia")):
    return pd.DataFrame(rows, index=[f"s{n}" for n in range(len(rows))], columns=list(columns))


HAND = frame([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, np.nan]])
FOUND = frame([[1, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 1]]).astype(bool)


def test_scores_are_those_of_the_counts():
    scored = agreement("ours", FOUND, HAND, list("abcd"), resamples=0)
    columns = ["cases", "found", "tp", "fp", "fn"]
    assert scored.rows[columns].values.tolist() == [
        [1, 2, 1, 1, 0],
        [2, 2, 1, 1, 1],
        [0, 1, 0, 1, 0],  # the hernia of s3 was not judged
    ]
    assert scored.rows.loc["Mass", ["precision", "recall", "f1"]].tolist() == [0.5, 0.5, 0.5]
    assert math.isnan(scored.rows.loc["Hernia", "recall"])
    # tp 2, fp 3, fn 1; without normal 1, 2, 1
    assert scored.figures["micro precision"].value == pytest.approx(2 / 5)
    assert scored.figures["micro recall"].value == pytest.approx(2 / 3)
    assert scored.figures["micro f1"].value == pytest.approx(4 / 8)
    assert scored.figures["micro f1, findings"].value == pytest.approx(2 / 5)
    # over normal (2/3) and mass (1/2): nobody has a hernia
    assert scored.figures["macro f1"].value == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_intervals_are_by_patient_and_hold_the_value():
    figure = agreement("ours", FOUND, HAND, list("abcd")).figures["micro f1"]
    assert figure.low <= figure.value <= figure.high
    alone = agreement("ours", FOUND, HAND, ["a"] * 4).figures["micro f1"]
    assert math.isnan(alone.low)


def test_a_label_never_found_counts_as_nought():
    none = agreement("none", FOUND & False, HAND, list("abcd"), resamples=0)
    assert none.figures["macro f1"].value == 0
    assert none.figures["macro precision"].value == 0


def test_every_disagreement_is_listed():
    assert disagreements(FOUND, HAND).values.tolist() == [
        ["s1", "normal", "extra"],
        ["s2", "Mass", "missed"],
        ["s3", "Mass", "extra"],
        ["s0", "Hernia", "extra"],
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Pleural_Thickening", "Pleural Thickening"),
        ("No Finding", "normal"),
        ("normal", "normal"),
        (" Mass ", "Mass"),
    ],
)
def test_names_are_read_as_tables_have_them(written, read):
    assert label_name(written) == read


def test_hand_labels_are_read(tmp_path):
    path = tmp_path / "gold.csv"
    path.write_text("filename,No Finding,Pleural_Thickening\nCXR1,1,0\nCXR2,,1.0\n")
    read = read_hand_labels(path)
    assert list(read.columns) == ["normal", "Pleural Thickening"]
    assert read.index.tolist() == ["CXR1", "CXR2"]
    assert read.loc["CXR1"].tolist() == [1, 0]
    assert math.isnan(read.loc["CXR2", "normal"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,Mass\na,1\na,0\n", "'a' stands in two rows"),
        ("id,Mass\na,2\n", "holds '2'"),
        ("id\na\n", "no column beside its first"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, text, said):
    path = tmp_path / "gold.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_hand_labels(path)


def table(values):
    labels = [Label(name, name) for name in values.columns]
    return LabelTable(values.astype(np.float32), labels, False, {"name": "text"})


def test_uncertain_and_unknown_are_not_found():
    found, hand = align(table(frame([[1, -1, np.nan], [0, 1, 0]])), HAND.rename(columns=str.upper))
    assert found.values.tolist() == [[True, False, False], [False, True, False]]
    assert list(hand.columns) == ["normal", "Mass", "Hernia"]


def test_a_label_that_the_table_left_out_counts_as_never_found():
    mined = table(frame([[1, 0], [0, 1]], columns=("normal", "Mass")))
    found, hand = align(mined, HAND, left_out=["Mass", "Hernia"])
    assert list(found.columns) == ["normal", "Mass", "Hernia"]
    assert not found["Hernia"].any()
    assert hand.shape == found.shape == (2, 3)


@pytest.mark.parametrize(
    ("hand", "said"),
    [
        (HAND.rename(columns="x{}".format), "name none of the mined"),
        (HAND.rename(index="x{}".format), "no study of the hand labels"),
    ],
)
def test_nothing_in_common_is_an_error(hand, said):
    with pytest.raises(InputError, match=said):
        align(table(frame([[1, 0, 0]])), hand)


def test_marked_text_is_escaped_and_cut_where_mentions_overlap():
    text = "<b>No mass</b> or nodule."
    html = mark_text(text, mine_text(text))
    assert "&lt;b&gt;" in html
    assert html.count("<mark") == 2
    assert html.striptags() == text


@pytest.fixture
def mined(tmp_path):
    studies = [
        Study("a1", "p1", findings="Small effusion.", mesh=("Pleural Effusion",), split="train"),
        Study("b1", "p2", findings="No effusion.", mesh=("normal",), split="train"),
        Study("c1", "p3", findings="Granuloma <i>.", mesh=("normal",), split="train"),
    ]
    write_collection(Collection.build(studies, [], tmp_path), tmp_path / "collection")
    gold = "id,normal,Effusion\na1,0,1\nb1,1,0\nc1,1,0\n"
    (tmp_path / "gold.csv").write_text(gold)
    words = ("labels=text", f"collection={tmp_path / 'collection'}", f"gold={tmp_path}/gold.csv")
    assert dispatch(["mine", *words, f"out={tmp_path / 'out'}"]) == 0
    return tmp_path / "out"


def test_the_command_scores_beside_trivial_rules_and_shows_each_disagreement(mined):
    scores = json.loads((mined / "agreement.json").read_text())
    f1 = {name: s["figures"]["micro f1"]["value"] for name, s in scores["systems"].items()}
    assert f1 == pytest.approx(
        {
            "mined": 4 / 5,  # the granuloma is not normal to us
            "words alone, without negation": 4 / 6,  # "effusion" stands in a1 and b1
            "every report normal": 4 / 6,
        }
    )
    listed = pd.read_csv(mined / "disagreements.csv")
    assert listed.values.tolist() == [[1, "c1", "normal", "missed"]]
    page = (mined / "agreement.html").read_text()
    assert "c1" not in page.split("</style>")[1], "ids only where asked for"
    assert "&lt;i&gt;" in page
    assert "not a medical device" in page
    assert "http:" not in page
    assert "https:" not in page


def test_ids_where_asked_for(mined, tmp_path):
    words = ("labels=text", f"collection={tmp_path / 'collection'}", f"gold={tmp_path}/gold.csv")
    assert dispatch(["mine", *words, "show_ids=true", f"out={tmp_path / 'ids'}"]) == 0
    assert "c1" in (tmp_path / "ids" / "agreement.html").read_text()
