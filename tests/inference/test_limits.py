"""A file that hangs, dies or eats memory costs itself alone."""

import numpy as np
import pytest
from PIL import Image

from cascade.inference.archive import annotate_archive
from cascade.inference.prediction import Prediction
from cascade.inference.tables import read_table

READER = """
import os, signal, time
import numpy as np
from cascade.io.image import read_radiograph

def read(path):
    word = path.name.partition("-")[0]
    if word == "hang":
        time.sleep(600)
    if word == "deaf":  # as a decoder in C that no signal of Python's reaches
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        time.sleep(600)
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "abort":
        os.abort()
    if word == "hog":
        kept = [np.ones(1 << 27) for _ in range(64)]  # a GB each
    if word == "raise":
        raise SystemExit(3)
    return read_radiograph(path)
"""


class Bright:
    model_id, version = "bright", "1"

    def predict(self, images, indications=None):
        return [Prediction("", "", 0.5, {"bright": float(image.mean())}) for image in images]

    predict_studies = None


@pytest.fixture
def reader(tmp_path, monkeypatch):
    (tmp_path / "bad_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    import bad_reader

    return bad_reader.read


def pictures(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


REASONS = {
    "abort-1": "the decoder died on this file",
    "crash-1": "the decoder died on this file",
    "crash-2": "the decoder died on this file",
    "deaf-1": "the decoder took longer than 2 seconds",
    "good-1": None,
    "good-2": None,
    "good-3": None,
    "hang-1": "the decoder took longer than 2 seconds",
    "hog-1": "the decoder needed more memory than a file may take",
    "raise-1": "SystemExit: 3",
}


def limited(source, out, reader, **options):
    settings = {"workers": 2, "file_seconds": 2, "file_memory_mb": 256, "batch_size": 2}
    return annotate_archive(source, Bright(), out, read=reader, **settings, **options)


def test_each_bad_file_costs_itself_alone(tmp_path, reader):
    summary = limited(pictures(tmp_path / "in", *REASONS), tmp_path / "out", reader)
    rows = read_table(tmp_path / "out", "images")
    assert {row["path"].removesuffix(".png"): row["reason"] for row in rows} == REASONS
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    assert (summary.found, summary.annotated, summary.studies) == (10, 3, 10)


def test_a_slow_file_holds_nobody_up(tmp_path, reader):
    source = pictures(tmp_path / "in", "hang-1", *(f"nice-{number}" for number in range(9)))
    limited(source, tmp_path / "out", reader, order="ready")
    rows = read_table(tmp_path / "out", "images")
    assert len(rows) == 10
    assert rows[-1]["path"] == "hang-1.png"
