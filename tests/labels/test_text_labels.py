import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cascade.errors import CascadeError, InputError
from cascade.io.collection import Collection, Study
from cascade.labels.table import Label
from cascade.labels.text_labels import (
    MENTION_SCHEMA,
    label_names,
    mine_reports,
    mine_text_labels,
)


def collection(*studies: tuple[str | None, str | None, str]) -> Collection:
    """Studies s0, s1 and so on: findings, impression and split."""
    made = [
        Study(f"s{n}", f"p{n}", findings=findings, impression=impression, split=split)
        for n, (findings, impression, split) in enumerate(studies)
    ]
    return Collection.build(made, [], Path())


MADE = collection(
    ("No mass. Probable edema.", "There may be edema.", "train"),
    ("The heart is normal in size.", None, "train"),
    (None, "Mass.", "val"),
    (None, None, "train"),
    (" \n", "", "test"),
    ("Clear lungs.", "Mass or scar.", "train"),
)
NAMES = ["normal", "Cardiomegaly", "Mass", "Edema"]
X = None


def rows(table, names=NAMES):
    array = table.values[names].to_numpy()
    return [[None if np.isnan(value) else int(value) for value in row] for row in array]


def reports(count):
    """A stream of reports that says how many of it were taken."""
    taken = []
    texts = itertools.cycle(["No mass.", "Edema; possible mass.", "Clear."])

    def stream():
        for number, text in zip(range(count), texts, strict=False):
            taken.append(number)
            yield f"s{number}", {"findings": text, "impression": None}

    return stream(), taken


# --- The table ---------------------------------------------------------------------------------


def test_the_table_holds_what_the_reports_say():
    table = mine_text_labels(MADE)
    assert table.names == label_names("chestxray14")
    assert table.names[0] == "normal"
    assert len(table.names) == 15
    assert not table.exclusive
    assert table.values.index.tolist() == ["s0", "s1", "s2", "s3", "s4", "s5"]
    assert table.values.index.name == "study_id"
    assert set(table.values.dtypes) == {np.dtype(np.float32)}
    assert rows(table) == [
        [0, X, 0, 1],  # "probable" leans
        [1, 0, X, X],
        [0, X, 1, X],
        [X, X, X, X],
        [X, X, X, X],
        [0, X, 1, X],  # "or" leans
    ]
    others = table.values.drop(columns=NAMES)
    assert others.isna().all(axis=None)


def test_a_doubt_need_not_lean():
    table = mine_text_labels(MADE, lean=False)
    assert rows(table)[0] == [-1, X, 0, -1]
    assert rows(table)[5] == [-1, X, -1, X]
    assert table.rule["lean"] is False


def test_a_report_may_deny_what_it_does_not_mention():
    table = mine_text_labels(MADE, unmentioned="absent")
    assert rows(table) == [
        [0, 0, 0, 1],
        [1, 0, 0, 0],
        [0, 0, 1, 0],
        [X, X, X, X],  # without text nothing is denied
        [X, X, X, X],
        [0, 0, 1, 0],
    ]
    assert table.rule["unmentioned"] == "absent"


def test_another_set_has_other_labels():
    table = mine_text_labels(MADE, label_set="paper17")
    assert table.names == label_names("paper17")
    assert table.rule["label_set"] == "paper17"
    assert table.rule["name"] == "text"
    assert rows(table, ["normal", "cardiomegaly"])[1] == [1, 0]


def test_labels_say_which_findings_stand_for_them():
    table = mine_text_labels(MADE, label_set="chexpert")
    assert table.labels[0] == Label("normal", "normal", "nothing was found")
    assert Label("Edema", "Edema", "edema, congestion") in table.labels


@pytest.mark.parametrize(
    ("min_studies", "names"),
    [
        # in training normal and Mass are present once, Edema once; val's Mass does not count
        (0, label_names("chestxray14")),
        (1, ["normal", "Mass", "Edema"]),
    ],
)
def test_rare_labels_may_be_left_out(min_studies, names):
    table = mine_text_labels(MADE, min_studies=min_studies)
    assert table.names == names == list(table.values.columns)
    assert table.rule["min_studies"] == min_studies


def test_where_nobody_has_a_split_every_study_counts():
    made = collection(("Mass.", None, None), ("Mass.", None, None), ("Edema.", None, None))
    assert mine_text_labels(made, min_studies=2).names == ["Mass"]


# --- What cannot be mined ----------------------------------------------------------------------


def test_no_label_is_frequent_enough():
    with pytest.raises(InputError, match="no label is present in 2 training studies: lower"):
        mine_text_labels(MADE, min_studies=2)


@pytest.mark.parametrize("texts", [(None, None), ("", None)])
def test_a_collection_without_text(texts):
    with pytest.raises(InputError, match="no study has findings or an impression to mine"):
        mine_text_labels(collection((*texts, "train")))


def test_an_unknown_label_set(tmp_path):
    expected = "unknown labels.label_set 'nih', expected one of \\['chestxray14', 'chexpert'"
    with pytest.raises(InputError, match=expected):
        mine_text_labels(MADE, tmp_path / "mentions.parquet", label_set="nih")
    with pytest.raises(InputError, match=expected):
        next(mine_reports([], label_sets=("chexpert", "nih")))
    assert list(tmp_path.iterdir()) == []


def test_reports_in_another_language():
    made = collection(("Kein Ödem.", None, "train"))
    made.info["language"] = "de"
    with pytest.raises(InputError, match="in the language 'de' and the lexicon is English"):
        mine_text_labels(made)
    made.info["language"] = "en"
    assert len(mine_text_labels(made).names) == 15


def test_an_unknown_reading():
    with pytest.raises(InputError, match="unknown labels.unmentioned 'maybe', expected one of"):
        mine_text_labels(MADE, unmentioned="maybe")


# --- The mentions ------------------------------------------------------------------------------


def test_mentions_are_written_with_their_words(tmp_path):
    path = tmp_path / "made" / "mentions.parquet"
    table = mine_text_labels(MADE, path)
    assert table.values.equals(mine_text_labels(MADE).values)
    written = pq.read_table(path)
    assert written.schema.equals(MENTION_SCHEMA)
    columns = ["study_id", "finding", "status", "section", "start", "end", "text"]
    columns += ["sentence_start", "sentence_end", "rule", "cue"]
    assert [tuple(row[name] for name in columns) for row in written.to_pylist()] == [
        ("s0", "mass", "absent", "findings", 3, 7, "mass", 0, 8, "no", "No"),
        ("s0", "edema", "uncertain", "findings", 18, 23, "edema", 9, 24, "probable finding",
         "Probable"),
        ("s0", "edema", "uncertain", "impression", 13, 18, "edema", 0, 19, "may", "may be"),
        ("s1", "cardiomegaly", "absent", "findings", 4, 19, "heart is normal", 0, 28, "worded", ""),
        ("s2", "mass", "present", "impression", 0, 4, "Mass", 0, 5, "stated", ""),
        ("s5", "mass", "uncertain", "impression", 0, 4, "Mass", 0, 13, "alternative", ""),
        ("s5", "cicatrix", "uncertain", "impression", 8, 12, "scar", 0, 13, "alternative", ""),
    ]  # fmt: skip
    assert [file.name for file in path.parent.iterdir()] == ["mentions.parquet"]


def test_reports_that_name_nothing_give_an_empty_file(tmp_path):
    path = tmp_path / "mentions.parquet"
    mine_text_labels(collection(("Clear lungs.", None, "train")), path)
    assert pq.read_table(path).equals(MENTION_SCHEMA.empty_table())


def test_work_that_fails_leaves_no_half_file(tmp_path):
    def progress(done, total):
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        mine_text_labels(MADE, tmp_path / "mentions.parquet", progress=progress)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    class FullDisk(pq.ParquetWriter):
        def close(self):
            super().close()
            raise OSError(28, "No space left on device")

    path = tmp_path / "mentions.parquet"
    path.write_text("before")
    monkeypatch.setattr(pq, "ParquetWriter", FullDisk)
    with pytest.raises(CascadeError, match="no space left on the disk"):
        mine_text_labels(MADE, path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_a_file_in_the_way_of_the_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a file is in the way of its folder"):
        mine_text_labels(MADE, tmp_path / "file" / "mentions.parquet")


# --- Streams -----------------------------------------------------------------------------------


def test_progress_counts_reports():
    steps = []
    mine_text_labels(MADE, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(6, 6)]
    steps = []
    many = collection(*[("Edema.", None, "train")] * 1001)
    mine_text_labels(many, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(500, 1001), (1000, 1001), (1001, 1001)]


def test_batches_come_in_order_with_every_set():
    stream, _ = reports(5)
    batches = list(mine_reports(stream, label_sets=("chexpert", "chestxray14"), batch_size=2))
    assert [batch.study_ids for batch in batches] == [["s0", "s1"], ["s2", "s3"], ["s4"]]
    assert {name: values.shape for name, values in batches[0].values.items()} == {
        "chexpert": (2, 14), "chestxray14": (2, 15),
    }  # fmt: skip
    names = label_names("chestxray14")
    mass, edema = names.index("Mass"), names.index("Edema")
    first = batches[0].values["chestxray14"]
    assert first[:, [0, mass]].tolist() == [[1, 0], [0, -1]]
    assert np.isnan(first[0, edema])
    assert first[1, edema] == 1
    assert batches[0].mentions["study_id"].to_pylist() == ["s0", "s1", "s1"]


def test_no_reports_no_batches():
    assert list(mine_reports([])) == []


def test_reports_are_taken_as_they_are_needed():
    stream, taken = reports(10**9)
    batches = mine_reports(stream, batch_size=3)
    assert taken == []
    next(batches)
    assert len(taken) == 3
    next(batches)
    assert len(taken) == 6


def test_two_processes_give_the_same_and_hold_few_reports():
    stream, taken = reports(40)
    alone = list(mine_reports(stream, batch_size=2))
    stream, taken = reports(40)
    together = mine_reports(stream, batch_size=2, workers=2)
    first = next(together)
    assert len(taken) == 10  # the batch that came, and two for each worker
    both = [first, *together]
    assert [batch.study_ids for batch in both] == [batch.study_ids for batch in alone]
    for one, other in zip(alone, both, strict=True):
        assert one.mentions.equals(other.mentions)
        assert list(one.values) == list(other.values)
        for name in one.values:
            assert one.values[name].tobytes() == other.values[name].tobytes()


def test_two_processes_write_the_same_bytes(tmp_path):
    tables = [
        mine_text_labels(MADE, tmp_path / f"{workers}.parquet", workers=workers)
        for workers in (1, 2)
    ]
    assert tables[0].values.equals(tables[1].values)
    assert tables[0].rule == tables[1].rule
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_a_failing_reader_stops_the_work(tmp_path):
    def stream():
        yield "s0", {"findings": "Edema."}
        raise OSError("cut off")

    batches = mine_reports(stream(), batch_size=1)
    assert next(batches).study_ids == ["s0"]
    with pytest.raises(OSError, match="cut off"):
        next(batches)


def test_a_batch_of_mentions_fits_the_schema():
    (batch,) = mine_reports([("s0", {"impression": "Edema."})])
    assert isinstance(batch.mentions, pa.RecordBatch)
    assert batch.mentions.schema.equals(MENTION_SCHEMA)
