"""Filters, limits, shards, quarantine and the other options of an archive."""

import itertools
import zipfile

import numpy as np
import pandas as pd
import pytest

from cascade.errors import InputError
from cascade.inference import index as index_module
from cascade.inference.archive import annotate_archive
from cascade.inference.listing import Filters
from cascade.inference.prediction import Prediction
from cascade.inference.privacy import short_hash
from cascade.inference.sources import Entry
from cascade.inference.tables import read_table
from cascade.io.dicom.keys import Keys, read_keys


class Bright:
    model_id, version, labels = "bright", "1", ["bright"]

    def predict(self, images, indications=None):
        return [Prediction("", "", 0.5, {"bright": float(image.mean())}) for image in images]

    def predict_studies(self, studies, indications=None):
        return [self.predict(images[:1])[0] for images in studies]


class Listed:
    """A source whose entries a function gives."""

    name = description = "listed"

    def __init__(self, entries):
        self._entries = entries

    def entries(self, ignored):
        return self._entries()


def run(tmp_path, out="out", **options):
    return annotate_archive(tmp_path / "in", Bright(), tmp_path / out, **options)


def paths(tmp_path, out="out"):
    return [row["path"] for row in read_table(tmp_path / out, "images")]


@pytest.fixture
def mixed(tmp_path, dicom):
    dicom("in/a.dcm", instance="1.1", StudyInstanceUID="1", StudyDate="20180704", Modality="DX")
    dicom("in/b.dcm", instance="1.2", StudyInstanceUID="2", StudyDate="20191231")
    dicom("in/c.dcm", instance="1.3", StudyInstanceUID="3", StudyDate="", BodyPartExamined="FOOT")
    dicom("in/d.dcm", instance="1.4", StudyInstanceUID="4", Modality="", BodyPartExamined="")
    (tmp_path / "in" / "broken.dcm").write_bytes(b"<html>")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("filters", "kept", "filtered"),
    [
        (
            {"since": "2019-01-01"},
            ["b.dcm", "broken.dcm"],
            {"another study date": 1, "no study date is given": 2},
        ),
        (
            {"since": 20180704, "until": "2018-07-04"},
            ["a.dcm", "broken.dcm"],
            {"another study date": 1, "no study date is given": 2},
        ),
        (
            {"modality": ["cr", "MG"]},
            ["b.dcm", "broken.dcm", "c.dcm"],
            {"another modality": 1, "no modality is given": 1},
        ),
        (
            {"body_part": ["chest"], "modality": ["DX"]},
            ["a.dcm", "broken.dcm"],
            {"another modality": 2, "no modality is given": 1},
        ),
    ],
)
def test_filters(tmp_path, mixed, workers, filters, kept, filtered):
    summary = run(tmp_path, filters=Filters.parse(**filters), workers=workers)
    assert paths(tmp_path) == kept
    assert summary.filtered == filtered
    assert (summary.found, summary.failures) == (len(kept), 1)
    assert f"filtered  {sum(filtered.values())}" in str(summary)


def test_a_picture_says_nothing_that_a_filter_asks(tmp_path, dicom):
    from PIL import Image

    dicom("in/a.dcm")
    Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).save(tmp_path / "in" / "b.png")
    summary = run(tmp_path, filters=Filters.parse(modality=["CR"]))
    assert (paths(tmp_path), summary.filtered) == (["a.dcm"], {"no modality is given": 1})


def test_filters_that_leave_nothing(tmp_path, dicom):
    dicom("in/a.dcm")
    with pytest.raises(InputError, match=r"the filters leave out every image .*1 x another modal"):
        run(tmp_path, filters=Filters.parse(modality=["MG"]))
    assert not (tmp_path / "out").exists()


def test_other_filters_are_other_work(tmp_path, mixed):
    run(tmp_path, filters=Filters.parse(modality=["CR"]))
    with pytest.raises(InputError, match="another filters"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"since": "July"}, "since=July: expected a date as 2019-12-31"),
        ({"until": "2019-1-1"}, "until=2019-1-1"),
        ({"since": "20200101", "until": "20190101"}, "since=20200101 is after until=20190101"),
    ],
)
def test_dates_that_are_none(wrong, message):
    with pytest.raises(InputError, match=message):
        Filters.parse(**wrong)


def test_keys_are_read_without_the_pixels(tmp_path, dicom):
    file = dicom("a.dcm", StudyDate="20180704", SeriesInstanceUID="1.9")
    file.write_bytes(file.read_bytes()[:-8])  # its pixels are gone
    uid = "1.2.826.0.1.3680043.8.498."
    wanted = Keys(uid + "1", "1.9", uid + "2", "CR", "CHEST", "20180704")
    assert read_keys(file) == wanted
    with file.open("rb") as stream:
        assert read_keys(stream) == wanted
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(file.read_bytes()[132:])
    assert read_keys(bare) == wanted
    for content in (b"", b"\0" * 200, b"<html>", file.read_bytes()[:140]):
        bare.write_bytes(content)
        assert read_keys(bare) is None


def test_a_limit_stops_the_listing(tmp_path, dicom):
    for number in range(5):
        dicom(f"in/{number}.dcm", instance=f"1.{number}")
    looked = []

    def endless():
        for number in itertools.cycle(range(5)):
            looked.append(number)
            yield Entry(f"{len(looked):05}.dcm", tmp_path / "in" / f"{number}.dcm")

    summary = annotate_archive(Listed(endless), Bright(), tmp_path / "out", limit=70)
    assert (summary.found, summary.annotated, summary.skipped) == (70, 5, 65)
    assert len(looked) < 200


def test_the_archive_is_never_in_memory_as_a_whole(tmp_path, dicom, monkeypatch):
    """The listing is drawn a chunk at a time, the work a page of studies at a time."""
    file = dicom("in/a.dcm")
    entries, added, open_at_once = 1000, 0, []

    def listed():
        for number in range(entries):
            open_at_once.append(number - added)
            yield Entry(f"{number:05}.dcm", file)

    plain = index_module.Index.add

    def add(self, found):
        nonlocal added
        found = list(found)
        added += len(found)
        plain(self, found)

    monkeypatch.setattr(index_module.Index, "add", add)
    pages = []
    plain_work = index_module.Index.work

    def work(self):
        assert plain_work(self) is not None
        for study in plain_work(self):
            pages.append(len(study.files))
            yield study

    monkeypatch.setattr(index_module.Index, "work", work)
    annotate_archive(Listed(listed), Bright(), tmp_path / "out", batch_size=4)
    assert max(open_at_once) <= 64
    assert sum(pages) == entries


def test_shards_are_full_and_never_part_a_study(tmp_path, dicom):
    for number in range(10):
        dicom(f"in/{number}.dcm", instance=f"1.{number}", StudyInstanceUID=f"2.{number // 3}")
    run(tmp_path, shard_rows=4, formats=["csv", "parquet"])
    out = tmp_path / "out"
    files = sorted((out / "images").glob("*.parquet"))
    assert [len(pd.read_parquet(file)) for file in files] == [6, 4]
    assert pd.read_parquet(files)["path"].tolist() == [f"{n}.dcm" for n in range(10)]
    table = pd.read_csv(out / "studies" / "part-00000.csv")
    assert table["images"].tolist()[0] == "0.dcm; 1.dcm; 2.dcm"
    assert table["p_bright"].tolist() == [0.25] * 4
    assert sorted(file.name for file in (out / "studies").iterdir()) == [
        "part-00000.csv",
        "part-00000.parquet",
    ]


def test_labels_are_columns_where_nothing_could_be_read(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b"")
    run(tmp_path)
    table = pd.read_parquet(tmp_path / "out" / "images" / "part-00000.parquet")
    assert table["p_bright"].isna().all()


def test_paths_are_hashed_where_that_is_asked_for(tmp_path, dicom):
    dicom("in/Doe Jane/a.dcm")
    dicom("in/Doe Jane/b.dcm")
    (tmp_path / "in" / "Doe Jane" / "c.dcm").write_bytes(b"")
    run(tmp_path, file_paths="hash", key="secret", quarantine=tmp_path / "bad")
    out = tmp_path / "out"
    hashed = [short_hash(f"Doe Jane/{name}.dcm", "secret") for name in "abc"]
    assert paths(tmp_path) == hashed
    rows = read_table(out, "images")
    assert rows[1]["reason"] == f"same SOP Instance UID as {hashed[0]}"
    assert not any(b"Doe" in file.read_bytes() for file in out.rglob("*") if file.is_file())
    assert not (out / "index.sqlite").exists()
    assert run(tmp_path, file_paths="hash", key="secret").already_complete


def test_a_quarantine_holds_what_could_not_be_read(tmp_path, dicom):
    dicom("in/good.dcm")
    dicom("in/sub/cut.dcm", instance="1.2", PixelData=b"\0\0")
    (tmp_path / "in" / "empty.dcm").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "in" / "z.zip", "w") as archive:
        archive.writestr("page.dcm", "<html>")
        archive.writestr("../up.dcm", "x")
    bad = tmp_path / "bad"
    summary = run(tmp_path, quarantine=bad)
    assert summary.failures == 4
    found = {str(f.relative_to(bad)): f.read_bytes() for f in bad.rglob("*") if f.is_file()}
    assert found == {
        "sub/cut.dcm": (tmp_path / "in" / "sub" / "cut.dcm").read_bytes(),
        "z.zip!page.dcm": b"<html>",
    }
    rows = {row["path"]: row["notes"] for row in read_table(tmp_path / "out", "images")}
    for path in ("empty.dcm", "z.zip!../up.dcm"):
        assert rows[path][-1] == "not copied to the quarantine"
    assert "not copied to the quarantine" not in rows["sub/cut.dcm"]


@pytest.mark.parametrize("workers", [0, 1])
def test_headers_that_claim_too_much(tmp_path, dicom, workers):
    dicom("in/rows.dcm", instance="1.1", Rows=65535, Columns=65535)
    dicom("in/frames.dcm", instance="1.2", NumberOfFrames=2**31 - 1)
    dicom("in/good.dcm", instance="1.3")
    summary = run(tmp_path, workers=workers, file_memory_mb=256)
    rows = {row["path"]: row for row in read_table(tmp_path / "out", "images")}
    assert (summary.annotated, summary.failures) == (1, 2)
    assert "more than the limit" in rows["rows.dcm"]["reason"]
    assert rows["good.dcm"]["status"] == "draft"


def test_rows_as_they_are_ready_are_the_same_rows(tmp_path, dicom):
    for number in range(12):
        dicom(f"in/{number:02}.dcm", instance=f"1.{number}", StudyInstanceUID=f"2.{number // 2}")
    run(tmp_path, "ready", order="ready", workers=2, batch_size=3)
    run(tmp_path, "path")
    for kind, key in (("images", "path"), ("studies", "study")):
        ready, path = (read_table(tmp_path / out, kind) for out in ("ready", "path"))
        assert sorted((r | {"time": 0} for r in ready), key=lambda r: r[key]) == sorted(
            (r | {"time": 0} for r in path), key=lambda r: r[key]
        )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"order": "name"}, "order=name: expected one of path, ready"),
        ({"file_paths": "drop"}, "file_paths=drop: expected one of keep, hash"),
        ({"shard_rows": 0}, "shard_rows=0"),
        ({"file_memory_mb": 0}, "file_memory_mb=0"),
        ({"file_seconds": 0}, "file_seconds=0"),
        ({"formats": []}, "at least one of"),
    ],
)
def test_options_out_of_range(tmp_path, dicom, wrong, message):
    dicom("in/a.dcm")
    with pytest.raises(InputError, match=message):
        run(tmp_path, **wrong)
