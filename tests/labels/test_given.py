from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cascade.errors import InputError
from cascade.io.collection import Collection, Study
from cascade.labels.given import mine_given


def collection(*studies: tuple[dict | None, str | None]) -> Collection:
    made = [
        Study(f"s{n}", f"p{n}", labels=labels, split=split)
        for n, (labels, split) in enumerate(studies)
    ]
    return Collection.build(made, [], Path())


MADE = collection(
    ({"Edema": 1, "Pleural  Effusion": -1}, "train"),
    ({"Edema": 1, "Pleural Effusion": 0}, "train"),
    ({"No Finding": 1}, "train"),
    ({}, "train"),
    (None, "val"),
    ({"Pleural Effusion": 1, "Mass": -1}, "test"),
)


def rows(table) -> list[list]:
    array = table.values.to_numpy()
    return [[None if np.isnan(value) else int(value) for value in row] for row in array]


def test_given_labels_stay_what_they_are():
    table = mine_given(MADE)
    assert table.names == ["normal", "edema"]
    assert not table.exclusive
    # normal is 0 where the source gives a finding, even one that is no label of the table
    assert rows(table) == [[0, 1], [0, 1], [1, None], [None] * 2, [None] * 2, [0, None]]
    assert table.rule["name"] == "given"
    assert table.rule["left_out"] == {"mass": 0, "pleural effusion": 0}
    assert "nobody mentioned is unknown" in table.rule["text"]
    assert table.values.index.tolist() == MADE.studies["study_id"].tolist()


def test_support_devices_leave_normal_unknown():
    made = collection(({"No Finding": 1}, "train"), ({"Support Devices": 1}, "train"))
    assert rows(mine_given(made)) == [[1, None], [None, 1]]


def test_absent_only_where_the_source_says_something():
    table = mine_given(MADE, fit_on="all", unmentioned="absent", include=["Mass"])
    assert table.names == ["normal", "edema", "pleural effusion", "mass"]
    assert rows(table) == [
        [0, 1, -1, 0],
        [0, 1, 0, 0],
        [1, 0, 0, 0],
        [None] * 4,
        [None] * 4,
        [0, 0, 1, -1],
    ]
    assert "absent" in table.rule["text"]


def test_rare_labels_are_left_out_unless_included():
    assert mine_given(MADE, min_studies=2).names == ["edema"]
    kept = mine_given(MADE, min_studies=2, include=["PLEURAL effusion", "No Finding"])
    assert kept.names == ["normal", "edema", "pleural effusion"]
    assert mine_given(MADE, min_studies=0).names == ["normal", "edema", "mass", "pleural effusion"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"include": ["Edena"]}, "no study carries the label 'edena'; close: 'edema'"),
        ({"min_studies": 9}, r"at least 9 studies \(the most frequent in 2\): lower labels.min"),
        ({"unmentioned": "no"}, "unknown labels.unmentioned 'no'"),
        ({"fit_on": "test"}, "unknown labels.fit_on 'test'"),
    ],
)
def test_what_cannot_be_mined(options: dict, words: str):
    with pytest.raises(InputError, match=words):
        mine_given(MADE, **options)
    with pytest.raises(InputError, match="no study carries labels of its source"):
        mine_given(collection((None, "train"), ({}, "train")))
    with pytest.raises(InputError, match="no study is in the train split"):
        mine_given(collection(({"Edema": 1}, None)))
