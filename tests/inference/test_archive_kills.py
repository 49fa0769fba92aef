"""kill -9 at random moments, and again until it is done: nothing is lost or repeated."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pandas as pd
import pytest

from cascade.inference.tables import read_table

RUN = """
import sys, time
from pathlib import Path
from cascade.inference.archive import Options, annotate_archive
from cascade.inference.prediction import Prediction

class Slow:
    model_id, version, labels = "slow", "1", ["bright"]
    def predict(self, images, indications=None):
        time.sleep(0.02)
        return [Prediction("a", "A.", 0.5, {"bright": float(i.mean())}) for i in images]
    def predict_studies(self, studies, indications=None):
        return [self.predict(images[:1])[0] for images in studies]

if __name__ == "__main__":
    options = Options(
        batch_size=3,
        workers=int(sys.argv[3]),
        shard_rows=40,
        formats=("jsonl", "parquet", "csv", "text"),
        identifiers="keep",
        quarantine=Path(sys.argv[2] + "-quarantine"),
        file_seconds=20,
    )
    print("begun", flush=True)
    annotate_archive(Path(sys.argv[1]), Slow(), Path(sys.argv[2]), options)
"""


@pytest.fixture
def archive(tmp_path, dicom):
    """92 studies of 1 to 3 images; some files fail, some repeat others."""
    for number in range(180):
        dicom(
            f"in/{number % 7}/{number:03}.dcm",
            instance=f"1.2.{number - number % 10 if number % 10 == 9 else number}",
            bright=1 + number % 2,
            StudyInstanceUID=f"1.3.{number // 2}",
            PatientID=f"P{number // 2}",
        )
    for number in range(20):
        (tmp_path / "in" / f"bad-{number:02}.dcm").write_bytes(b"\0" * number)
    return tmp_path / "in"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_twenty_kills_lose_and_repeat_nothing(tmp_path, archive, workers):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    whole, moments, kills, outs = tmp_path / "whole", random.Random(workers), 0, []

    def start(out):
        command = [sys.executable, str(script), str(archive), str(out), str(workers)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, **pipes)
        assert process.stdout.readline() == b"begun\n"
        return process

    with start(whole) as process:
        assert process.wait() == 0
    while kills < 20:  # a run that has ended before that is compared, and another one begun
        outs.append(tmp_path / f"out-{len(outs)}")
        while True:
            with start(outs[-1]) as process:
                if kills < 20:
                    time.sleep(moments.uniform(0, 0.5 if workers == 0 else 1.5))
                    process.kill()
                if process.wait() == 0:
                    break
            assert process.returncode == -signal.SIGKILL
            kills += 1
    for out in outs:
        same(out, whole)


def same(out, whole):
    assert files(out) == files(whole)
    for kind in ("images", "studies"):
        ours, expected = read_table(out, kind), read_table(whole, kind)
        assert [row | {"time": None} for row in ours] == [row | {"time": None} for row in expected]
        for file in sorted((whole / kind).glob("*.parquet")):
            left, right = (pd.read_parquet(each / kind / file.name) for each in (out, whole))
            pd.testing.assert_frame_equal(left.drop(columns="time"), right.drop(columns="time"))
    counts = Counter(row["path"] for row in read_table(out, "images"))
    assert len(counts) == 200
    assert set(counts.values()) == {1}
    quarantines = (out.with_name(out.name + "-quarantine"), whole.with_name("whole-quarantine"))
    assert files(quarantines[0]) == files(quarantines[1])
    assert len(files(quarantines[0])) == 19  # the twentieth holds nothing


def files(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
