"""Caption metrics within an evaluation: intervals, what is not run and why, the share copied."""

import json
import math

import numpy as np
import pytest

from cascade.errors import InputError
from cascade.evaluation import tables
from cascade.evaluation.captions import CaptionScores, caption_scores
from cascade.evaluation.scoring import COMPARED, evaluate
from cascade.evaluation.systems import Rows, System, Training
from cascade.metrics import caption

REFERENCES = ["the heart is normal", "lungs are clear", "mild pulmonary edema", "no effusion"]
SAID = ["the heart is normal", "lungs are hazy", "", "no effusion"]


def rows():
    return Rows(list("abcd"), list("abcd"), REFERENCES)


def row_of(matches, length, chunks):
    """METEOR's statistics of a text whose ``matches`` words match in ``chunks``."""
    row = np.zeros(caption.METEOR_STATISTICS)
    row[:2], row[4:6], row[20:] = length, matches, (chunks, matches, matches)
    return row


@pytest.fixture
def meteor(monkeypatch):
    """Stands for Java: each text matches half of its reference; keeps what it was asked."""
    asked = []

    def statistics(hypotheses, references, tokenize, seconds):
        asked.append((list(hypotheses), list(references), seconds))
        return np.array([row_of(2, 4, 1) if text else row_of(0, 4, 0) for text in hypotheses])

    monkeypatch.setattr(caption, "meteor_statistics", statistics)
    return asked


def test_figures_of_weights():
    meteor = np.array([row_of(4, 4, 0), row_of(0, 8, 0)])
    scores = CaptionScores(np.array([4.0, 2.0]), np.array([5.0, 3.0]), meteor)
    found = scores.figures(np.array([[1.0, 1.0], [3.0, 0.0]]))
    assert found["cider"].tolist() == [3.0, 4.0]
    assert found["cider_plain"].tolist() == [4.0, 5.0]
    # 4 of 12 words match, without a break: 1/3, where the mean of the rows is 1/2.
    assert found["meteor"].tolist() == pytest.approx([1 / 3, 1.0])
    assert found.keys() == {"cider", "cider_plain", "meteor"}


def test_one_process_scores_all_systems(meteor):
    found = caption_scores(
        {"one": SAID, "two": REFERENCES}, REFERENCES, "report-words", meteor="reports"
    )
    [(hypotheses, references, _)] = meteor
    assert hypotheses == [*SAID, *REFERENCES]
    assert references == [*REFERENCES, *REFERENCES]
    assert found.scores["one"].meteor[2].tolist() == row_of(0, 4, 0).tolist()
    assert found.scores["two"].meteor[2].tolist() == row_of(2, 4, 1).tolist()
    assert found.tokenizers["METEOR"].startswith("report-words, then")
    assert "METEOR" not in found.not_run


def test_every_figure_has_an_interval_and_is_compared(meteor):
    pytest.importorskip("sacrebleu")
    training = Training(["lungs are clear", "no effusion"], ["lungs are clear"])
    found = evaluate(
        rows(), [System("mine", SAID)], training, kind="report", resamples=50, meteor="reports"
    )
    for metric in ("cider", "cider_plain", "meteor", "sacrebleu", "copied"):
        value = found.figure("mine", metric)
        assert value.low <= value.value <= value.high
    assert found.figure("mine", "copied").value == 0.25
    assert found.figure("commonest training report", "copied").value == 1
    compared = {d.metric for d in found.differences}
    assert {"cider", "meteor", "sacrebleu"} <= compared
    assert "copied" not in compared
    assert "copied" not in COMPARED
    assert "tok:13a" in found.meta["tokenizers"]["sacreBLEU"]
    assert "METEOR" in tables.format_tables(found, width=150)


def test_what_is_not_run_is_told_with_its_reason(monkeypatch, tmp_path):
    def late(*arguments):
        raise caption.NotRunError("Java took longer than 3 seconds")

    def missing(*arguments):
        raise caption.NotRunError("sacrebleu is not installed")

    monkeypatch.setattr(caption, "meteor_statistics", late)
    monkeypatch.setattr(caption, "sacrebleu_counts", missing)
    found = evaluate(rows(), [System("mine", SAID)], kind="report", resamples=0, meteor="reports")
    reasons = {
        "METEOR": "Java took longer than 3 seconds (evaluate.meteor_seconds)",
        "sacreBLEU": "sacrebleu is not installed",
        "Copied": "no training reports were given",
    }
    assert reasons.items() <= found.meta["not_run"].items()
    assert math.isnan(found.figure("mine", "meteor").value)
    tables.write_evaluation(found, tmp_path)
    assert (
        reasons.items()
        <= json.loads((tmp_path / "metrics.json").read_text())["meta"]["not_run"].items()
    )
    html = (tmp_path / "index.html").read_text()
    assert all(f"{name}: {reason}" in html for name, reason in reasons.items())
    assert "not run: METEOR, sacreBLEU" in " ".join(tables.format_tables(found).split())


@pytest.mark.parametrize(
    ("choice", "kind", "reason"),
    [
        ("never", "report", "left out (evaluate.meteor=never)"),
        ("reports", "annotation", "left out for annotations (evaluate.meteor=always runs it)"),
        ("always", "annotation", None),
    ],
)
def test_when_meteor_is_run(meteor, choice, kind, reason):
    found = caption_scores({"one": SAID}, REFERENCES, "report-words", kind=kind, meteor=choice)
    assert found.not_run.get("METEOR") == reason
    assert bool(meteor) is (reason is None)


def test_an_unknown_choice_is_refused():
    with pytest.raises(InputError, match="evaluate.meteor=yes: expected one of reports, always"):
        caption_scores({"one": SAID}, REFERENCES, "report-words", meteor="yes")
