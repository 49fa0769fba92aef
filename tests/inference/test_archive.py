import contextlib
import dataclasses
import json
import os
import sqlite3
import warnings
import zipfile
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

import cascade
from cascade.errors import CascadeError, InputError
from cascade.inference import archive as archive_module
from cascade.inference import index as index_module
from cascade.inference import shards as shards_module
from cascade.inference.archive import Options, annotate_archive
from cascade.inference.indications import read_indications
from cascade.inference.prediction import Prediction
from cascade.inference.privacy import safe_text, short_hash
from cascade.inference.rows import COLUMNS
from cascade.inference.tables import read_table
from cascade.io.image import read_radiograph

STUDY, INSTANCE = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"


class FakePredictor:
    """Says how bright the image is."""

    version = "0.0.9"

    def __init__(self, model_id="model-a", doubt_above=2.0):
        self.model_id = model_id
        self.doubt_above = doubt_above
        self.batches = []

    def predict(self, images, indications=None):
        self.batches.append(len(images))
        return [self._one(float(image.mean())) for image in images]

    def predict_studies(self, studies, indications=None):
        return [self._one(float(np.mean([i.mean() for i in images]))) for images in studies]

    def _one(self, mean):
        doubts = ("too bright",) if mean > self.doubt_above else ()
        return Prediction("opacity", "There is an opacity.", 0.75, {"opacity": mean}, doubts)


def write_png(path, column):
    """2 x 2, stretched to [0, 1] by the reader: a mean of 0.25 or 0.75 tells them apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = [[0, 0], [0, 255]] if column == 0 else [[0, 255], [255, 255]]
    Image.fromarray(np.array(values, dtype=np.uint8)).save(path)


def write_dicom(path, instance=INSTANCE, **tags):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = instance, STUDY
    dataset.PatientID, dataset.PatientName = "P123456", "Doe^Jane"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.Rows = dataset.Columns = 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.array([[0, 0], [0, 4095]], dtype="<u2").tobytes()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def rows_of(out, kind="images"):
    return read_table(out, kind)


def parquet_of(out, kind="images"):
    return pd.concat([pd.read_parquet(file) for file in sorted((out / kind).glob("*.parquet"))])


def timeless(rows):
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


def files_of(out):
    return sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())


def by_path(out):
    return {row["path"]: row for row in rows_of(out)}


@pytest.fixture
def images(tmp_path):
    source = tmp_path / "images"
    for index in range(5):
        write_png(source / f"{index}.png", index % 2)
    return source


def test_rows(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    write_dicom(source / "a.dcm")
    write_png(source / "sub" / "b.png", 1)
    (source / "read.me").write_text("no image")
    summary = annotate_archive(source, FakePredictor(), tmp_path / "out")
    assert (summary.found, summary.annotated, summary.failed, summary.skipped) == (2, 2, {}, 0)
    assert (summary.ignored, summary.already_complete) == (1, False)
    first, second = rows_of(tmp_path / "out")
    assert tuple(first) == tuple(COLUMNS["images"])
    assert datetime.fromisoformat(first.pop("time")).utcoffset() == timedelta(0)
    assert first == {
        "path": "a.dcm",
        "study": short_hash(STUDY),
        "series": None,
        "view": "frontal",
        "status": "draft",
        "doubtful": False,
        "annotation": "opacity",
        "sentences": "There is an opacity.",
        "confidence": 0.75,
        "findings": None,
        "operating_point": None,
        "probabilities": {"opacity": 0.25},
        "doubts": [],
        "notes": [],
        "reason": None,
        "model_id": "model-a",
        "model_version": "0.0.9",
        "program_version": cascade.__version__,
        "notice": cascade.RESEARCH_NOTICE,
    }
    assert (second["path"], second["study"]) == ("sub/b.png", None)
    assert second["probabilities"] == {"opacity": 0.75}
    table = parquet_of(tmp_path / "out")
    assert table["p_opacity"].tolist() == [0.25, 0.75]
    assert table["path"].tolist() == ["a.dcm", "sub/b.png"]
    assert table["doubts"].map(list).tolist() == [[], []]
    assert files_of(tmp_path / "out") == [
        "annotations.json",
        "images/part-00000.jsonl",
        "images/part-00000.parquet",
        "index.sqlite",
        "studies/part-00000.jsonl",
        "studies/part-00000.parquet",
    ]


def test_no_identifier_reaches_the_results(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    write_dicom(source / "a.dcm")
    write_dicom(source / "b.dcm")
    write_dicom(source / "c.dcm", instance="1.2.3.4", PixelData=b"\0\0")
    annotate_archive(source, FakePredictor(), tmp_path / "out")
    written = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    for secret in ("P123456", "Doe", STUDY, INSTANCE, "1.2.3.4", str(tmp_path)):
        assert secret.encode() not in written


def test_a_key_changes_the_hashes(tmp_path):
    write_dicom(tmp_path / "a.dcm")
    annotate_archive(tmp_path / "a.dcm", FakePredictor(), tmp_path / "out", key="secret")
    (row,) = rows_of(tmp_path / "out")
    assert row["study"] == short_hash(STUDY, "secret") != short_hash(STUDY)


def test_a_doubtful_image_keeps_its_probabilities_and_loses_its_draft(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    write_dicom(source / "foot.dcm", BodyPartExamined="FOOT")
    write_png(source / "odd.png", 1)
    predictor = FakePredictor(doubt_above=0.5)
    summary = annotate_archive(source, predictor, tmp_path / "out")
    assert (summary.annotated, summary.doubtful) == (2, 2)
    foot, odd = rows_of(tmp_path / "out")
    for row in (foot, odd):
        assert (row["status"], row["doubtful"]) == ("doubtful", True)
        assert row["annotation"] is row["sentences"] is None
        assert row["confidence"] == 0.75
    assert foot["probabilities"] == {"opacity": 0.25}
    assert foot["doubts"]
    assert odd["doubts"] == ["too bright"]


def test_bad_files_are_rows(tmp_path):
    source = tmp_path / "in"
    write_png(source / "good.png", 0)
    (source / "empty.dcm").write_bytes(b"")
    (source / "page.dcm").write_text("<html>moved</html>")
    write_dicom(source / "cut.dcm")
    whole = (source / "cut.dcm").read_bytes()
    (source / "cut.dcm").write_bytes(whole[:-4])
    (source / "cut.png").write_bytes((source / "good.png").read_bytes()[:40])
    with zipfile.ZipFile(source / "z.zip", "w") as archive:
        archive.writestr("../up.dcm", b"x")
        archive.write(source / "good.png", "inside.png")
        archive.writestr("x.dcm", whole)
        archive.writestr("page.dcm", "<html>")
    summary = annotate_archive(source, FakePredictor(), tmp_path / "out", batch_size=2)
    rows = by_path(tmp_path / "out")
    status = {path: row["status"] for path, row in rows.items()}
    assert status == {
        "cut.dcm": "failed",
        "cut.png": "failed",
        "empty.dcm": "failed",
        "good.png": "draft",
        "page.dcm": "failed",
        "z.zip!../up.dcm": "failed",
        "z.zip!inside.png": "draft",
        "z.zip!page.dcm": "failed",
        "z.zip!x.dcm": "draft",
    }
    assert rows["empty.dcm"]["reason"] == "the file is empty"
    assert rows["z.zip!../up.dcm"]["reason"] == "a path that leaves the zip"
    assert rows["page.dcm"]["reason"].startswith("InputError: the file ")
    assert rows["page.dcm"]["probabilities"] is None
    assert sum(summary.failed.values()) == 6
    assert summary.found == summary.annotated + 6 + summary.skipped


def test_a_duplicate_is_annotated_once(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.dcm", "b.dcm"):
        write_dicom(source / name)
    predictor = FakePredictor()
    summary = annotate_archive(source, predictor, tmp_path / "out")
    assert (summary.annotated, summary.skipped, predictor.batches) == (1, 1, [1])
    first, second = rows_of(tmp_path / "out")
    assert (first["status"], second["status"]) == ("draft", "duplicate")
    assert second["reason"] == "same SOP Instance UID as a.dcm"
    assert second["probabilities"] == first["probabilities"] != {}


def test_other_pixels_of_one_uid_are_annotated_too(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    other = np.array([[0, 4095], [4095, 4095]], dtype="<u2").tobytes()
    write_dicom(source / "a.dcm")
    write_dicom(source / "b.dcm", PixelData=other)
    write_dicom(source / "c.dcm", PixelData=other)
    stop_after(1, source, out, batch_size=1)
    annotate_archive(source, FakePredictor(), out)
    first, second, third = rows_of(out)
    assert (first["probabilities"], first["notes"]) == ({"opacity": 0.25}, [])
    assert second["probabilities"] == {"opacity": 0.75}
    assert second["notes"] == ["same SOP Instance UID as a.dcm, other pixels"]
    assert third["reason"] == "same SOP Instance UID as b.dcm"


def test_warnings_become_notes_without_what_they_quote(tmp_path, images):
    def read(path):
        warnings.warn("Invalid value 'DOE^JANE' for VR PN", stacklevel=1)
        return read_radiograph(path)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        annotate_archive(images, FakePredictor(), tmp_path / "out", read=read)
    assert rows_of(tmp_path / "out")[0]["notes"] == ["Invalid value … for VR PN"]


def test_batches_limit_and_progress(tmp_path, images):
    predictor, calls = FakePredictor(), []
    summary = annotate_archive(
        images,
        predictor,
        tmp_path / "out",
        batch_size=2,
        limit=3,
        progress=lambda *counts: calls.append(counts),
    )
    assert (summary.found, predictor.batches) == (3, [2, 1])
    assert calls == [("listing", 3, None, 0), ("annotating", 2, 3, 0), ("annotating", 3, 3, 0)]
    assert [row["path"] for row in rows_of(tmp_path / "out")] == ["0.png", "1.png", "2.png"]


def test_workers_give_the_same_rows(tmp_path, images):
    annotate_archive(images, FakePredictor(), tmp_path / "here")
    annotate_archive(images, FakePredictor(), tmp_path / "there", workers=1, batch_size=2)
    assert timeless(rows_of(tmp_path / "here")) == timeless(rows_of(tmp_path / "there"))


@pytest.mark.parametrize("workers", [0, 1])
def test_images_are_shrunk_where_they_are_decoded(tmp_path, workers):
    class Shapes(FakePredictor):
        def predict(self, images, indications=None):
            assert {image.shape for image in images} == {(8, 8)}
            return super().predict(images)

    Image.fromarray(np.arange(800, dtype=np.uint16).reshape(20, 40)).save(tmp_path / "x.png")
    summary = annotate_archive(
        tmp_path / "x.png", Shapes(), tmp_path / "out", workers=workers, image_size=8
    )
    assert summary.annotated == 1


def test_a_decoder_that_dies_costs_its_file(tmp_path, images, monkeypatch):
    (tmp_path / "deadly_reader.py").write_text(
        "import os\n"
        "from cascade.io.image import read_radiograph\n"
        "def read(path):\n"
        "    if path.name == '2.png':\n"
        "        os.kill(os.getpid(), 11)\n"
        "    return read_radiograph(path)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import deadly_reader

    summary = annotate_archive(
        images, FakePredictor(), tmp_path / "out", read=deadly_reader.read, workers=1
    )
    assert summary.failed == {"the decoder died on this file": 1}
    assert by_path(tmp_path / "out")["2.png"]["status"] == "failed"
    assert summary.annotated == 4


def test_workers_that_do_not_start(tmp_path, images, monkeypatch):
    (tmp_path / "vanishing_reader.py").write_text("def read(path): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    import vanishing_reader

    (tmp_path / "vanishing_reader.py").unlink()
    with pytest.raises(CascadeError, match="do not start"):
        annotate_archive(
            images, FakePredictor(), tmp_path / "out", read=vanishing_reader.read, workers=1
        )


class Choosy(FakePredictor):
    """Fails on bright images."""

    def predict(self, images, indications=None):
        if any(image.mean() > 0.5 for image in images):
            raise RuntimeError("shape (2, 2) at '/secret'")
        return super().predict(images)


def test_an_image_that_the_network_cannot_take_is_a_row(tmp_path, images):
    summary = annotate_archive(images, Choosy(), tmp_path / "out")
    assert summary.annotated == 3
    assert summary.failed == {"RuntimeError: shape (2, 2) at …": 2}


def test_a_network_that_takes_nothing_ends_the_run(tmp_path, images):
    class Broken(FakePredictor):
        def predict(self, images, indications=None):
            raise RuntimeError("out of memory")

    with pytest.raises(CascadeError, match="all 5 images of a batch .*run again"):
        annotate_archive(images, Broken(), tmp_path / "out")
    assert annotate_archive(images, FakePredictor(), tmp_path / "out").annotated == 5


def test_a_number_that_is_none_is_a_failure(tmp_path, images):
    class Blown(FakePredictor):
        def _one(self, mean):
            return Prediction("opacity", "", 0.5, {"opacity": float("nan")})

    summary = annotate_archive(images, Blown(), tmp_path / "out")
    assert summary.failed == {"ValueError: the network gave a number that is not finite": 5}
    assert "p_opacity" not in parquet_of(tmp_path / "out")


def test_a_predictor_that_loses_an_image_ends_the_run(tmp_path, images):
    class Short(FakePredictor):
        def predict(self, images, indications=None):
            return super().predict(images)[1:]

    with pytest.raises(CascadeError, match="4 predictions of 5 images"):
        annotate_archive(images, Short(), tmp_path / "out")


def test_a_finished_output_is_left_alone(tmp_path, images):
    first = annotate_archive(images, FakePredictor(), tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    predictor = FakePredictor()
    again = annotate_archive(images, predictor, tmp_path / "out")
    assert again.already_complete
    assert "nothing was done now" in str(again)
    assert (again.found, again.annotated) == (first.found, first.annotated)
    assert predictor.batches == []
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("what", ["model", "source", "limit"])
def test_other_work_in_the_same_output_is_refused(tmp_path, images, what, finished):
    out = tmp_path / "out"
    if finished:
        annotate_archive(images, FakePredictor(), out)
    else:
        stop_after(1, images, out)
    other = images / "0.png" if what == "source" else images
    predictor = FakePredictor("model-b" if what == "model" else "model-a")
    with pytest.raises(InputError, match=f"another {what} .*choose another out="):
        annotate_archive(other, predictor, out, limit=2 if what == "limit" else None)


class Stop(BaseException):
    """Ends a run where it stands, as a kill would."""


def stop_after(batches, source, out, batch_size=2):
    def progress(stage, done, total, failed):
        if stage == "annotating" and done >= batches * batch_size:
            raise Stop

    with pytest.raises(Stop):
        annotate_archive(source, FakePredictor(), out, batch_size=batch_size, progress=progress)


def test_a_rerun_does_what_is_left(tmp_path, images):
    out = tmp_path / "out"
    stop_after(1, images, out)
    assert len(rows_of(out)) == 2
    assert not (out / "annotations.json").exists()
    predictor = FakePredictor()
    summary = annotate_archive(images, predictor, out)
    assert (predictor.batches, summary.resumed, summary.annotated) == ([3], 2, 5)
    assert str(summary).endswith("2 of the files were done by an earlier run")
    annotate_archive(images, FakePredictor(), tmp_path / "whole")
    assert files_of(out) == files_of(tmp_path / "whole")
    for kind in ("images", "studies"):
        assert timeless(rows_of(out, kind)) == timeless(rows_of(tmp_path / "whole", kind))
        ours, whole = (parquet_of(each, kind) for each in (out, tmp_path / "whole"))
        pd.testing.assert_frame_equal(ours.drop(columns="time"), whole.drop(columns="time"))


@pytest.mark.parametrize("tear", [b'{"path":"2.png","stu', b'{"path":"2.png"}\n', b"\xff\n"])
@pytest.mark.parametrize("kind", ["images", "studies"])
def test_what_lies_beyond_the_index_is_done_again(tmp_path, images, tear, kind):
    out = tmp_path / "out"
    stop_after(1, images, out)
    with (out / kind / "part-00000.jsonl").open("ab") as file:
        file.write(tear)
    (out / kind / "part-00001.jsonl").write_bytes(tear)
    (out / kind / "part-00001.parquet").write_bytes(b"PAR1")
    (out / kind / ".partial-1-part-00001.csv").write_bytes(b"p")
    predictor = FakePredictor()
    assert annotate_archive(images, predictor, out).annotated == 5
    assert predictor.batches == [3]
    assert [row["path"] for row in rows_of(out)] == [f"{i}.png" for i in range(5)]
    assert len(rows_of(out, "studies")) == 5
    assert sorted(file.name for file in (out / kind).iterdir()) == [
        "part-00000.jsonl",
        "part-00000.parquet",
    ]


def test_a_shard_that_lost_its_end_is_told(tmp_path, images):
    out = tmp_path / "out"
    stop_after(1, images, out)
    (out / "images" / "part-00000.jsonl").write_bytes(b"{")
    with pytest.raises(InputError, match=r"part-00000.jsonl is shorter than it was \(1 bytes of"):
        annotate_archive(images, FakePredictor(), out)


def test_a_damaged_index_is_told(tmp_path, images):
    out = tmp_path / "out"
    stop_after(1, images, out)
    (out / "index.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match=r"index.sqlite is damaged .*delete"):
        annotate_archive(images, FakePredictor(), out)


def test_an_empty_index_begins_anew(tmp_path, images):
    out = tmp_path / "out"
    out.mkdir()
    (out / "index.sqlite").write_bytes(b"")  # a kill before its first transaction
    assert annotate_archive(images, FakePredictor(), out).annotated == 5


def test_duplicates_are_known_after_a_restart(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.dcm", "b.dcm", "c.dcm"):
        write_dicom(source / name)
    stop_after(1, source, out, batch_size=1)
    annotate_archive(source, FakePredictor(), out)
    assert [row["status"] for row in rows_of(out)] == ["draft", "duplicate", "duplicate"]


@pytest.mark.parametrize(
    ("module", "step"),
    [
        (index_module.Index, "commit"),
        (index_module.Index, "finish"),
        (shards_module, "write_parquet"),
        (shards_module, "write_csv"),
        (archive_module, "write_json"),
    ],
)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_kill_at_each_step(tmp_path, images, monkeypatch, module, step, after, nth):
    out, calls = tmp_path / "out", []
    original = getattr(module, step)

    def killed(*args):
        calls.append(step)
        if len(calls) != nth:
            return original(*args)
        if after:
            original(*args)
        raise Stop

    options = Options(batch_size=2, shard_rows=2, formats=("parquet", "csv"))
    with monkeypatch.context() as patch:
        patch.setattr(module, step, killed)
        with contextlib.suppress(Stop):
            annotate_archive(images, FakePredictor(), out, options)
    predictor = FakePredictor()
    assert annotate_archive(images, predictor, out, options).annotated == 5
    assert files_of(out) == [
        "annotations.json",
        *(f"images/part-0000{n}.{suffix}" for n in range(3) for suffix in ("csv", "parquet")),
        "index.sqlite",
        *(f"studies/part-0000{n}.{suffix}" for n in range(3) for suffix in ("csv", "parquet")),
    ]
    paths = [f"{i}.png" for i in range(5)]
    assert parquet_of(out)["path"].tolist() == paths
    assert [list(read) for read in parquet_of(out, "studies")["images"]] == [[p] for p in paths]
    assert pd.read_csv(out / "images" / "part-00002.csv")["path"].tolist() == ["4.png"]


def test_two_runs_do_not_share_an_output(tmp_path, images):
    out = tmp_path / "out"
    out.mkdir()
    with index_module.only_writer(out), pytest.raises(InputError, match="another run is writing"):
        annotate_archive(images, FakePredictor(), out)


def test_nothing_to_annotate(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    with pytest.raises(InputError, match=r"no image file in .*in \(0 other"):
        annotate_archive(source, FakePredictor(), tmp_path / "out")
    (source / "a.txt").write_text("a")
    with pytest.raises(InputError, match=r"\(1 other"):
        annotate_archive(source, FakePredictor(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"workers": -1}, "workers=-1"),
        ({"limit": 0}, "limit=0"),
        ({"image_size": 0}, "image_size=0"),
    ],
)
def test_numbers_out_of_range(tmp_path, images, wrong, message):
    with pytest.raises(InputError, match=message):
        annotate_archive(images, FakePredictor(), tmp_path / "out", **wrong)


def test_outputs_that_cannot_be(tmp_path, images):
    with pytest.raises(InputError, match="is a file"):
        annotate_archive(images, FakePredictor(), images / "0.png")
    with pytest.raises(InputError, match="is the source itself"):
        annotate_archive(images, FakePredictor(), images)
    out = tmp_path / "out"
    out.mkdir()
    (out / "annotations.jsonl").write_text("someone's")
    with pytest.raises(InputError, match="not of this work"):
        annotate_archive(images, FakePredictor(), out)
    assert [file.name for file in out.iterdir()] == ["annotations.jsonl"]


def test_an_output_of_another_format_is_refused(tmp_path, images):
    out = tmp_path / "out"
    out.mkdir()
    (out / "annotations.json").write_text('{"format_version": 99}')
    with pytest.raises(InputError, match="another format"):
        annotate_archive(images, FakePredictor(), out)
    (out / "annotations.json").unlink()
    stop_after(1, images, out)
    with contextlib.closing(sqlite3.connect(out / "index.sqlite")) as base:
        base.execute("UPDATE facts SET value = 99 WHERE name = 'format_version'")
        base.commit()
    with pytest.raises(InputError, match="format 99"):
        annotate_archive(images, FakePredictor(), out)


def test_a_full_disk_is_one_line(tmp_path, images, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CascadeError, match="no space left"):
            annotate_archive(images, FakePredictor(), tmp_path / "out")
    assert annotate_archive(images, FakePredictor(), tmp_path / "out").annotated == 5


def test_the_output_may_lie_inside_the_source(tmp_path, images):
    stop_after(1, images, images / "out")
    summary = annotate_archive(images, FakePredictor(), images / "out")
    assert (summary.found, summary.ignored) == (5, 0)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("got 'DOE^JANE'", "got …"),
        ("name Doe^Jane is wrong", "name … is wrong"),
        ("UID 1.2.840.10008.1 unknown", "UID … unknown"),
        ("cannot read /data/doe/x.dcm now", "cannot read … now"),
        ("C:\\data\\doe.dcm is bad", "… is bad"),
        ("born 19700101", "born #"),
        ('an open "quote', "an open …"),
        ("two\nlines\x00", "two lines"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_safe_text(text, safe):
    assert safe_text(text) == safe


class Asked(FakePredictor):
    """Writes down what it is told of each image."""

    def predict(self, images, indications=None):
        told = [None] * len(images) if indications is None else indications
        for text in told:
            self.told.append(text)
        return super().predict(images)


def test_indications_follow_their_images_and_are_not_written(tmp_path, images):
    predictor = Asked()
    predictor.told = []
    out = tmp_path / "out"
    paths = sorted(file.name for file in images.iterdir())
    asked = {paths[0]: "Mrs Smith, cough", paths[-1]: "pain", "elsewhere.png": "fever"}
    annotate_archive(images, predictor, out, batch_size=2, indications=asked)
    assert predictor.told == ["Mrs Smith, cough", *[""] * (len(paths) - 2), "pain"]
    assert not any(b"Smith" in (out / file).read_bytes() for file in files_of(out))
    with pytest.raises(InputError, match="another indications"):
        annotate_archive(images, predictor, out, indications={**asked, paths[0]: "other"})
    with pytest.raises(InputError, match="another indications"):
        annotate_archive(images, predictor, out)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,text\na,b\n", "has no column indication"),
        (b"", "has no column path"),
        (b"path,indication\na,b\na,c\n", "row 3: a path that stands there before"),
        (b"path,indication\n\xff\xfe,c\n", "cannot be read as a CSV"),
    ],
)
def test_indications_that_are_none(content, message, tmp_path):
    (tmp_path / "i.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_indications(tmp_path / "i.csv")


def test_indications_by_path(tmp_path):
    (tmp_path / "i.csv").write_text('path,indication\na/b.dcm,"Cough,\n fever"\nc,\n')
    assert read_indications(tmp_path / "i.csv") == {"a/b.dcm": "Cough, fever", "c": ""}
    with pytest.raises(InputError, match="cannot be read as a CSV"):
        read_indications(tmp_path / "absent.csv")


class Caller(FakePredictor):
    """Calls what it says at half or more."""

    def _one(self, mean):
        found = super()._one(mean)
        findings = ("opacity",) if mean >= 0.5 else ()
        return dataclasses.replace(found, findings=findings, operating_point="best_f1")


def test_findings_stand_in_the_row_and_go_with_the_draft(tmp_path):
    for column, name in enumerate(("a.png", "b.png")):
        write_png(tmp_path / "in" / name, column)
    annotate_archive(tmp_path / "in", Caller(), tmp_path / "out")
    found = [(row["findings"], row["operating_point"]) for row in rows_of(tmp_path / "out")]
    assert found == [([], "best_f1"), (["opacity"], "best_f1")]
    table = parquet_of(tmp_path / "out")
    assert [list(row) for row in table["findings"]] == [[], ["opacity"]]
    annotate_archive(tmp_path / "in", Caller(doubt_above=0.5), tmp_path / "doubtful")
    doubtful = rows_of(tmp_path / "doubtful")[1]
    assert (doubtful["findings"], doubtful["operating_point"]) == (None, None)
    assert doubtful["probabilities"] == {"opacity": 0.75}


def test_annotations_at_another_operating_point_are_other_work(tmp_path):
    write_png(tmp_path / "in" / "a.png", 0)
    out = tmp_path / "out"
    annotate_archive(tmp_path / "in", Caller(), out)
    with pytest.raises(InputError, match="another operating point"):
        annotate_archive(tmp_path / "in", Caller(), out, operating_point="high_sensitivity")
    # annotations of before named none: they are of the default
    summary = out / "annotations.json"
    value = json.loads(summary.read_text())
    del value["work"]["operating_point"]
    summary.write_text(json.dumps(value))
    assert annotate_archive(tmp_path / "in", Caller(), out).already_complete
