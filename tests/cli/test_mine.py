"""``cascade mine`` from free text, and its explanation of one report."""

from __future__ import annotations

import pandas as pd
import pytest

from cascade.cli.main import dispatch
from cascade.cli.mine import marked
from cascade.io.collection import Collection, Study, write_collection
from cascade.labels.miner import mine_text


@pytest.fixture
def reports(tmp_path):
    studies = [
        Study("a", "p1", findings="Small effusion.", impression="No pneumothorax.", split="train"),
        Study("b", "p2", impression="Clear lungs.", split="train"),
        Study("c", "p3", split="train"),
    ]
    write_collection(Collection.build(studies, [], tmp_path), tmp_path / "collection")
    return tmp_path / "collection"


def mine(*words):
    return dispatch(["mine", *map(str, words)])


def test_text_gives_labels_and_the_mentions_behind_them(reports, tmp_path, capsys):
    assert (
        mine(f"collection={reports}", "labels=text", "labels.min_studies=0", f"out={tmp_path}/out")
        == 0
    )
    labels = pd.read_parquet(tmp_path / "out" / "labels.parquet").set_index("study_id")
    assert labels.loc["a", ["normal", "Effusion", "Pneumothorax"]].tolist() == [0, 1, 0]
    assert labels.shape == (3, 15)
    assert labels.loc["b", "normal"] == 1
    assert labels.loc["b", "Effusion"] != labels.loc["b", "Effusion"], "unmentioned is unknown"
    assert labels.loc["c"].isna().all()
    mentions = pd.read_parquet(tmp_path / "out" / "mentions.parquet")
    assert mentions[["study_id", "finding", "status", "text", "start", "rule"]].values.tolist() == [
        ["a", "effusion", "present", "effusion", 6, "stated"],
        ["a", "pneumothorax", "absent", "pneumothorax", 3, "no"],
    ]
    assert "15 labels" in capsys.readouterr().out


def test_explain_prints_the_report_with_its_mentions_and_writes_nothing(reports, tmp_path, capsys):
    out = tmp_path / "out"
    assert mine(f"collection={reports}", "explain=a", f"out={out}") == 0
    printed = capsys.readouterr().out
    assert "Small effusion[+]." in printed
    assert "No pneumothorax[-]." in printed
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explain=nobody",), "no study 'nobody' in the collection"),
        (("explain=c",), "study 'c' has neither findings nor an impression"),
        (("labels=text", "labels.label_set=chexbert"), "chexpert"),
        (("labels=text", "labels.unmentioned=maybe"), "unknown, absent"),
        (("labels=text", "labels.workers=0"), "labels.workers"),
    ],
)
def test_a_mistake_is_one_line(reports, tmp_path, capsys, words, said):
    assert mine(f"collection={reports}", *words, f"out={tmp_path / 'out'}") == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_reports_in_another_language_are_refused(tmp_path, capsys):
    made = Collection.build([Study("a", "p", findings="Derrame.")], [], tmp_path)
    made.info["language"] = "es"
    write_collection(made, tmp_path / "es")
    assert mine(f"collection={tmp_path / 'es'}", "labels=text", f"out={tmp_path / 'out'}") == 2
    assert "language 'es' and the lexicon is English" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["labels=text", "labels=given", "generator.target=impression"])
def test_a_second_round_without_annotations_is_refused_before_any_work(tmp_path, capsys, words):
    out = tmp_path / "run"
    assert dispatch(["run", "data=phantom", words, "rounds=2", f"out={out}"]) == 2
    assert "give rounds=1" in capsys.readouterr().err
    assert not out.exists()


def test_mentions_that_overlap_are_each_marked():
    text = "Possible left nodule or mass; no effusion."
    assert marked(text, mine_text(text)).plain == (
        "Possible left nodule[?] or mass[?]; no effusion[-]."
    )
