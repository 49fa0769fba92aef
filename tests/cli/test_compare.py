"""``cascade compare``: what it reads from folders of runs, and how it takes what is broken."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from cascade.cli.main import arrange
from cascade.errors import InputError
from cascade.pipeline.comparing import read_entries

STUDIES = 20
TEXTS = ["normal" if row % 2 else "opacity/lung" for row in range(STUDIES)]


def make_evaluation(
    folder, rights, *, kind="annotation", split="test", studies=STUDIES, strong=2.0
):
    """An evaluation whose systems write so many references word for word."""
    from cascade.evaluation.scoring import evaluate
    from cascade.evaluation.systems import Rows, System, Training
    from cascade.evaluation.tables import write_evaluation

    ids = [f"s{row}" for row in range(studies)]
    truth = pd.DataFrame({"opacity": [float("opacity" in text) for text in TEXTS[:studies]]})
    rows = Rows(ids, [f"p{row // 2}" for row in range(studies)], TEXTS[:studies], truth)
    noise = np.random.default_rng(0).normal(size=studies)
    scores = 1 / (1 + np.exp(-(2 * truth["opacity"] + noise)))
    systems = []
    for number, right in enumerate(rights, start=1):
        drafts = [text if row < right else "mass" for row, text in enumerate(TEXTS[:studies])]
        systems.append(System(f"round {number}", drafts, pd.DataFrame({"opacity": scores})))
        answers = folder / "predictions" / f"round-{number}"
        answers.mkdir(parents=True)
        table = {"study_id": ids, "reference": TEXTS[:studies], "hypothesis": drafts}
        pd.DataFrame(table).to_csv(answers / "reports.csv", index=False)
        speed = {"studies": studies, "seconds": 0.5 * number, "device": "cpu"}
        (answers / "speed.json").write_text(json.dumps(speed))
        probabilities = pd.DataFrame({"study_id": ids, "opacity": scores})
        probabilities.to_parquet(answers / "probabilities.parquet", index=False)
    training = Training(["normal"] * 5, ["normal"], pd.DataFrame({"opacity": [0.0] * 5}))
    evaluation = evaluate(rows, systems, training, resamples=50, meta={"commit": "abc"})
    write_evaluation(evaluation, folder)


def make_run(folder, right=10, *, seed=1, width=8, rounds=1, chosen=1, **options):
    """What ``cascade run`` leaves, without its networks."""
    from cascade.io.collection import Collection, Study, write_collection
    from cascade.labels.table import Label, LabelTable, write_label_table

    folder.mkdir(parents=True)
    settings = {"command": "run", "seed": seed, "out": str(folder), "rounds": rounds}
    settings |= {"encoder": {"name": "tiny", "width": width}, "data": {"views": 1, "workers": seed}}
    settings |= {"classifier": {"batch_size": 16}, "collection": None, "evaluate": {"resamples": 9}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    studies = [Study(f"s{row}", f"p{row // 2}", mesh=(text,)) for row, text in enumerate(TEXTS)]
    write_collection(Collection.build(studies, [], folder), folder / "collection")
    values = pd.DataFrame(
        {"opacity": [float("opacity" in text) for text in TEXTS]},
        index=pd.Index([f"s{row}" for row in range(STUDIES)], name="study_id"),
        dtype="float32",
    )
    table = LabelTable(values, [Label("opacity", "opacity")], "terms", False)
    write_label_table(table, folder / "round-1" / "labels")
    for number in range(1, rounds + 1):
        for stage, metric in (("classifier", "val/auroc"), ("generator", "val/bleu")):
            stage_folder = folder / f"round-{number}" / stage
            stage_folder.mkdir(parents=True)
            (stage_folder / "metrics.csv").write_text(
                f"epoch,step,seconds,{metric}\n0,10,2.0,0.25\n1,20,2.0,0.5\n"
            )
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(bytes(2_000_000))
    facts = {"parameters": 1000 * width, "validation AUROC (macro)": "0.7000"}
    (folder / "model" / "config.json").write_text(json.dumps({"facts": facts}))
    scores = [{"validation BLEU (mean of 1 to 4)": 0.1 * number} for number in range(rounds)]
    (folder / "rounds.json").write_text(json.dumps({"chosen": chosen, "rounds": scores}))
    make_evaluation(folder / "evaluation", [right + n for n in range(rounds)], **options)
    return folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two configurations of two seeds, a failed job, one at work, and one that was stopped."""
    root = tmp_path_factory.mktemp("sweeps") / "sweep"
    for number, (right, seed, width) in enumerate([(16, 1, 8), (18, 2, 8), (4, 1, 24), (2, 2, 24)]):
        make_run(root / str(number), right, seed=seed, width=width)
        record = {"status": "done", "reason": None, "seconds": 10.0 + number, "overrides": []}
        (root / str(number) / "job.json").write_text(json.dumps(record))
    for name, record in (
        ("4", {"status": "failed", "reason": "out of memory", "overrides": ["encoder.width=999"]}),
        ("10", {"status": "running", "reason": None, "overrides": ["seed=3"], "seconds": 0}),
        ("11", {"status": "pruned", "reason": None, "overrides": ["seed=4"]}),
    ):
        (root / name).mkdir()
        (root / name / "job.json").write_text(json.dumps(record))
    stopped = make_run(root / "5", width=32)
    shutil.rmtree(stopped / "evaluation")
    shutil.rmtree(stopped / "model")
    (root / "shared").mkdir()
    (root / "multirun.yaml").write_text("hydra: {}\n")
    return root


def rows_of(folder):
    with open(folder / "leaderboard.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_sweep_is_one_leaderboard(cascade, sweep, tmp_path):
    outcome = cascade("compare", sweep, "metric=exact", "out=compared")
    assert outcome.status == 0, outcome.err
    assert "leaderboard: " in outcome.out
    rows = rows_of(tmp_path / "compared")
    assert [(r["rank"], r["status"], r["encoder.width"], r["seeds"]) for r in rows] == [
        ("1", "done", "8", "2"),
        ("2", "done", "24", "2"),
        ("", "trivial", "", ""),
        ("", "failed", "", ""),
        ("", "unfinished", "32", ""),
        ("", "running", "", ""),
        ("", "pruned", "", ""),
    ]
    best, other = rows[:2]
    assert float(best["exact"]) == pytest.approx(0.85)
    assert float(best["parameters"]) == 8000
    assert float(best["training_seconds"]) == 8
    assert float(best["images_per_second"]) == pytest.approx(20 * 16 / 4)
    assert float(best["reports_per_second"]) == pytest.approx(STUDIES / 0.5)
    assert float(best["bundle_mb"]) == pytest.approx(2.0, rel=0.01)
    assert float(best["job_seconds"]) == 10.5
    assert best["runs"] == "job 0; job 1"
    assert other["to_first_basis"] == "paired rows, and over seeds"
    assert other["to_first_holds"] == "True"
    assert float(rows[2]["exact"]) == 0.5, "always normal"
    assert rows[3]["reason"] == "out of memory"
    assert "stopped at the generator of round-1, 2 epochs done" in rows[4]["reason"]
    page = (tmp_path / "compared" / "index.html").read_text()
    for text in ("encoder.width=999", "out of memory", "Round 1, generator", "val/bleu by epoch"):
        assert text in page
    assert "evaluation/index.html" in page
    assert not list((tmp_path / "compared").glob(".partial-*"))


def test_folders_are_words_or_a_list(cascade, sweep, tmp_path):
    one, two = sweep / "0", sweep / "2"
    for number, words in enumerate(
        [(one, two), (f"runs=[{one},{two}]",), (two / "evaluation", one, one)]
    ):
        outcome = cascade("compare", *words, f"out=out{number}", "resamples=20")
        assert outcome.status == 0, outcome.err
        assert len(rows_of(tmp_path / f"out{number}")) == 3
    assert cascade("compare", f"runs={one}", "out=single").status == 0
    assert "not both" in cascade("compare", one, f"runs={two}").line


def test_words_are_quoted_for_hydra():
    assert arrange(["-m", "it's", "seed=1,2"], "runs") == ["-m", "seed=1,2", "runs=['it\\'s']"]
    assert arrange(["~logger", "a"], "runs") == ["~logger", "runs=['a']"]
    with pytest.raises(InputError, match="not both"):
        arrange(["a", "runs=b"], "runs")


def test_a_folder_with_a_strange_name_is_found(cascade, sweep, tmp_path):
    strange = tmp_path / "a=1, it's"
    shutil.copytree(sweep / "0", strange)
    outcome = cascade("compare", strange, "out=out")
    assert outcome.status == 0, outcome.err


def test_other_rows_are_apart_and_refused_when_strict(cascade, sweep, tmp_path):
    fewer = make_run(tmp_path / "fewer", studies=18, right=9)
    outcome = cascade("compare", sweep / "0", sweep / "2", fewer, "metric=exact", "out=out")
    assert outcome.status == 0
    assert "2 tables" in outcome.out
    rows = rows_of(tmp_path / "out")
    assert [row["table"] for row in rows if row["status"] == "done"] == ["1", "1", "2"]
    assert [row["rank"] for row in rows if row["status"] == "done"] == ["1", "2", "1"]
    outcome = cascade("compare", sweep / "0", fewer, "strict=true", "out=strict")
    assert outcome.status == 2
    assert "scored on different rows, not to be ranked: 20 studies of test" in outcome.line
    assert not (tmp_path / "strict").exists()


def test_rows_are_told_from_the_predictions_where_an_evaluation_does_not_say(sweep, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(sweep / "0", old)
    path = old / "evaluation" / "metrics.json"
    document = json.loads(path.read_text())
    said = document["meta"].pop("rows_sha256")
    path.write_text(json.dumps(document))
    (told,) = read_entries([old])
    assert told.rows.sha256 == said
    shutil.rmtree(old / "evaluation" / "predictions")
    (unknown,) = read_entries([old])
    assert not unknown.rows.known


def test_a_run_is_the_round_that_validation_chose(tmp_path):
    make_run(tmp_path / "run", 4, rounds=3, chosen=2)
    (entry,) = read_entries([tmp_path / "run"])
    assert entry.system == "round 2"
    assert entry.figures["exact"].value == pytest.approx(5 / 20)
    assert entry.figures["validation_bleu"].value == pytest.approx(0.1)
    assert len(entry.curves) == 6
    assert entry.cost["training_seconds"] == 24
    (tmp_path / "run" / "rounds.json").write_text("{")
    (entry,) = read_entries([tmp_path / "run"])
    assert entry.system == "round 3"
    assert "rounds.json cannot be read" in entry.problems[0]


def test_an_evaluation_without_its_run_has_a_row_a_system(cascade, tmp_path):
    make_evaluation(tmp_path / "eval", [4, 12])
    outcome = cascade("compare", "eval", "metric=exact", "out=out")
    assert outcome.status == 0, outcome.err
    rows = rows_of(tmp_path / "out")
    assert [row["configuration"] for row in rows] == [
        "eval: round 2",
        "eval: round 1",
        "best trivial system of each figure",
    ]
    assert rows[1]["to_first_basis"] == "paired rows, one seed"
    assert "each study as its own patient" in outcome.out


def test_detection_is_paired_by_the_labels_of_the_run(sweep):
    from cascade.evaluation.leaderboard import build_leaderboard

    board = build_leaderboard(read_entries([sweep / "0", sweep / "2"]), "auroc", resamples=20)
    comparison = board.groups[0].configurations[1].first
    assert comparison.paired
    assert comparison.value == 0, "the same probabilities"
    assert not board.groups[0].notes[0].startswith("Paired differences take each study")


# --- what is broken


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("evaluation/metrics.json", "{", "metrics.json is not JSON"),
        ("evaluation/metrics.json", "[]", "metrics.json is not an evaluation's (TypeError)"),
        ("evaluation/metrics.json", "{}", "is not an evaluation's (KeyError)"),
        ("config.yaml", "a: [", "config.yaml is not YAML"),
        ("config.yaml", "just words", "config.yaml holds no settings"),
        ("job.json", "{", "job.json is not JSON"),
    ],
)
def test_a_damaged_run_is_a_row(cascade, sweep, tmp_path, file, content, said):
    shutil.copytree(sweep / "0", tmp_path / "bad")
    (tmp_path / "bad" / file).write_text(content)
    outcome = cascade("compare", "bad", sweep / "2", "out=out")
    assert outcome.status == 0, outcome.err
    assert "Traceback" not in outcome.out + outcome.err
    damaged = [row for row in rows_of(tmp_path / "out") if row["status"] == "damaged"]
    assert len(damaged) == 1
    assert said in damaged[0]["reason"]


def test_a_damaged_detail_is_a_note(cascade, sweep, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(sweep / "0", run)
    (run / "round-1" / "classifier" / "metrics.csv").write_bytes(b"\xff\x00")
    (run / "model" / "config.json").write_text("{}")
    (run / "evaluation" / "predictions" / "round-1" / "probabilities.parquet").write_bytes(b"x")
    outcome = cascade("compare", run, sweep / "2", "out=out")
    assert outcome.status == 0, outcome.err
    assert "round-1/classifier/metrics.csv cannot be read" in outcome.out
    assert "does not tell the parameters" in outcome.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "compare needs a folder: cascade compare DIR..."),
        (("nowhere",), "nowhere does not exist"),
        (("empty",), "empty holds no run: name the out= folder of"),
        (("file.txt",), "file.txt is not a folder"),
        (("run", "metric=rouge"), "metric=rouge: no run has it; there are "),
        (("run", "metric=length_ratio"), "neither more nor less of it is better"),
        (("run", "resamples=-1"), "resamples=-1: expected a whole number, 0 or more"),
        (("run", "strict=perhaps"), "strict=perhaps: expected true or false"),
        (("run", "out=run"), "run is a run or an evaluation: choose another out="),
        (("run", "out=run/evaluation"), "choose another out="),
        (("run", "metrics=bleu4"), "unknown setting 'metrics'"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(cascade, sweep, tmp_path, words, said):
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    (tmp_path / "file.txt").write_text("x")
    shutil.copytree(sweep / "0", tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    outcome = cascade("compare", *words)
    assert outcome.status == 2
    assert said in outcome.line
    assert sorted(tmp_path.rglob("*")) == before


def test_compare_imports_no_torch(sweep, tmp_path):
    code = f"""
import sys
from cascade.cli.main import dispatch
assert dispatch(["compare", {str(sweep)!r}, "out={tmp_path}/out"]) == 0
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"torch", "torchvision", "pytorch_lightning", "transformers"}
