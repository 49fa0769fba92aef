from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cascade.errors import InputError
from cascade.labels.table import Label, LabelTable, read_label_table, write_label_table

NAN = np.nan


def table(values, names=("normal", "opacity#1"), exclusive=False) -> LabelTable:
    index = [f"s{n}" for n in range(len(values))]
    frame = pd.DataFrame(values, index=index, columns=list(names), dtype=np.float32)
    labels = [Label(name, name.split("#")[0]) for name in names]
    return LabelTable(frame, labels, exclusive, {"name": "test"})


def test_round_trip(tmp_path: Path):
    made = table([[1, 0], [NAN, -1]])
    write_label_table(made, tmp_path / "t")
    read = read_label_table(tmp_path / "t")
    pd.testing.assert_frame_equal(read.values, made.values, check_names=False)
    assert read.labels == made.labels
    assert read.diseases == ["normal", "opacity"]
    assert (read.exclusive, read.rule) == (False, {"name": "test"})
    counts = read.counts().loc["opacity#1"].to_dict()
    assert counts == {"present": 0, "absent": 1, "uncertain": 1, "unknown": 0}


def test_rows_of_unknown_studies_are_empty():
    rows = table([[1, 0]]).rows(["s9", "s0"])
    assert rows.dtype == np.float32
    assert np.isnan(rows[0]).all()
    assert rows[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: table([[]], names=()), "no label"),
        (lambda: table([[2, 0]]), "only 1, 0, -1"),
        (lambda: table([[1, 1]], exclusive=True), "two labels"),
        (lambda: LabelTable(table([[1, 0]]).values, [Label("a", "a")], False, {}), "differ"),
        (
            lambda: LabelTable(
                pd.concat([table([[1, 0]]).values] * 2), table([[1, 0]]).labels, False, {}
            ),
            "stands twice",
        ),
    ],
)
def test_what_breaks_the_contract(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_what_is_no_label_table(tmp_path: Path):
    with pytest.raises(InputError, match="not a label table"):
        read_label_table(tmp_path)
    write_label_table(table([[1, 0]]), tmp_path / "t")
    info = json.loads((tmp_path / "t/labels.json").read_text())
    (tmp_path / "t/labels.json").write_text(json.dumps({**info, "format_version": 9}))
    with pytest.raises(InputError, match="format 9"):
        read_label_table(tmp_path / "t")
    (tmp_path / "t/labels.json").write_text(json.dumps(info))
    (tmp_path / "t/labels.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be read"):
        read_label_table(tmp_path / "t")
