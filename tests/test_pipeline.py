"""The whole cascade on a tiny phantom: it runs, it resumes after kill -9, it ends the same."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from cascade.cli.main import dispatch
from cascade.labels.table import read_label_table

SMALL = [
    "data.studies=90",
    "data.size=64",
    "data.image_size=32",
    "data.workers=1",
    "encoder.width=4",
    "decoder.hidden=16",
    "decoder.embedding=8",
    "classifier.epochs=2",
    "classifier.next_epochs=1",
    "classifier.dropout=0.0",
    "decoder.dropout=0.0",
    "generator.epochs=2",
    "generator.copies=1",
    "labels.min_studies=4",
    "relabel.min_cases=8",
    "relabel.cases_per_cluster=4",
    "relabel.min_cluster=2",
    "evaluate.resamples=20",
    "callbacks=none",
    "trainer=cpu",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "demo"
    assert dispatch(["demo", *SMALL, f"out={out}"]) == 0
    return out


def test_every_stage_left_its_contract(demo):
    for path in (
        "config.yaml",
        "rounds.json",
        "collection/collection.json",
        "round-1/labels/labels.json",
        "round-1/classifier/metrics.csv",
        "round-1/generator/model/vocabulary.json",
        "round-2/labels/labels.parquet",
        "round-2/labels/contexts.json",
        "round-2/labels/contexts.html",
        "round-2/generator/checkpoints/last.ckpt",
        "model/model.safetensors",
        "evaluation/index.html",
        "evaluation/metrics.json",
        "evaluation/predictions/round-2/reports.csv",
        "evaluation/predictions/round-2/speed.json",
        "annotations/images/part-00000.parquet",
        "annotations/studies/part-00000.parquet",
    ):
        assert (demo / path).is_file(), path
    assert not list(demo.rglob(".partial-*"))


def test_both_rounds_stand_beside_the_baselines(demo):
    systems = json.loads((demo / "evaluation" / "metrics.json").read_text())["systems"]
    names = {system["name"] for system in systems}
    assert {"round 1", "round 2"} <= names
    assert {"fixed training report", "commonest training report", "random training report"} <= names
    assert any("nearest neighbour (encoder" in name for name in names)


def test_the_second_rounds_labels_are_contexts_of_the_first(demo):
    first, second = (read_label_table(demo / f"round-{n}" / "labels") for n in (1, 2))
    assert second.diseases == first.diseases
    assert len(second.labels) > len(first.labels)
    assert "normal" in second.names


def test_the_archive_has_a_row_for_every_file(demo):
    rows = pd.read_json(demo / "annotations" / "images" / "part-00000.jsonl", lines=True)
    files = [path for path in (demo / "archive").rglob("*") if path.is_file()]
    assert len(rows) == len(files)
    status = dict(zip(rows["path"], rows["status"], strict=True))
    assert status["broken.dcm"] == "failed"
    assert set(status.values()) <= {"draft", "doubtful", "failed", "duplicate"}


def test_a_rerun_trains_nothing(demo):
    models = sorted(demo.rglob("model.safetensors"))
    before = [(path, path.stat().st_mtime_ns) for path in models]
    assert dispatch(["run", *SMALL, f"out={demo}", "rounds=2"]) == 0
    assert [(path, path.stat().st_mtime_ns) for path in models] == before


def test_other_settings_are_refused_and_named(demo, capsys):
    assert dispatch(["run", *SMALL, "seed=2", f"out={demo}"]) == 2
    assert "seed=1, now it is 2" in capsys.readouterr().err


def test_the_stages_alone_do_what_the_loop_does(demo, tmp_path):
    """Each command by itself, from the files that the one before it wrote."""
    base = [word for word in SMALL if not word.startswith("data.s")]
    collection, labels = f"collection={demo}/collection", f"label_table={demo}/round-1/labels"
    train = [arg for arg in base if not arg.startswith("evaluate")]
    classifier, generator = tmp_path / "classifier", tmp_path / "generator"
    table = [collection, labels]
    assert dispatch(["train", "stage=classifier", *train, *table, f"out={classifier}"]) == 0
    model = f"classifier_model={classifier}/model"
    assert dispatch(["train", "stage=generator", model, *train, *table, f"out={generator}"]) == 0
    for run, kind in ((classifier, "classifier"), (generator, "generator")):
        ours = (run / "model" / "model.safetensors").read_bytes()
        assert ours == (demo / "round-1" / kind / "model" / "model.safetensors").read_bytes()
    model = f"model={generator}/model"
    assert dispatch(["relabel", model, *base, *table, f"out={tmp_path}/labels"]) == 0
    again = read_label_table(tmp_path / "labels")
    assert again.values.equals(read_label_table(demo / "round-2" / "labels").values)
    assert dispatch(["evaluate", model, *base, *table, "split=val", f"out={tmp_path}/eval"]) == 0
    assert (tmp_path / "eval" / "index.html").is_file()


def test_a_decoder_of_subwords_writes_impressions(demo, tmp_path):
    from cascade.inference.bundle import read_bundle
    from cascade.io.collection import read_collection
    from cascade.text.vocabulary import Vocabulary

    words = ["generator.target=impression", "generator.tokenizer=bpe", "generator.marks=predict"]
    words += ["generator.vocabulary_size=300", "generator.max_length=60"]
    base = [word for word in SMALL if not word.startswith("data.s")]
    train = [arg for arg in base if not arg.startswith("evaluate")]
    table = [f"collection={demo}/collection", f"label_table={demo}/round-1/labels"]
    model = f"classifier_model={demo}/round-1/classifier/model"
    out = tmp_path / "generator"
    assert dispatch(["train", "stage=generator", model, *train, *table, *words, f"out={out}"]) == 0
    reader, facts = read_bundle(out / "model")
    assert (facts["target"], reader.vocabulary.tokenizer.name) == ("impression", "bpe")
    assert len(reader.vocabulary) <= 300
    studies = read_collection(demo / "collection").studies
    texts = studies.loc[studies["split"] == "train", "impression"].dropna()
    prepare = reader.vocabulary.prepare
    again = Vocabulary.build(texts, "bpe", size=300, prepare=prepare)  # of training texts alone
    assert again.to_json() == reader.vocabulary.to_json()
    for text in texts:
        assert reader.vocabulary.decode(reader.vocabulary.encode(text)) == prepare(text)
    model = f"model={out}/model"
    scored = tmp_path / "eval"
    assert dispatch(["evaluate", model, *base, *table, "split=val", f"out={scored}"]) == 0
    reports = pd.read_csv(next((scored / "predictions").rglob("reports.csv")))
    assert set(reports["reference"]) <= set(studies["impression"])  # as written
    assert reports["hypothesis"].fillna("").str.len().max() > 0


def finished(out: Path) -> dict[str, bytes]:
    """What must come out the same however often the run was killed."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for pattern in ("round-*/*/model/model.safetensors", "evaluation/predictions/*/reports.csv")
        for path in out.glob(pattern)
    }


@pytest.mark.slow
def test_killed_again_and_again_it_ends_the_same(demo, tmp_path):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "cascade", "run", *SMALL, f"out={out}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for delay in (4.0, 7.0, 9.0, 12.0):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for marker in out.rglob("config.json"):  # what looks whole is whole
            json.loads(marker.read_text())
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert finished(out) == finished(demo)
