"""When rounds end: what validation says, that a rerun says the same, that rounds.json tells why."""

import json
from pathlib import Path

import pytest

from cascade.pipeline import rounds
from cascade.pipeline.rounds import SCORES, why_stop

BLEU, AUROC = SCORES["bleu"], SCORES["auroc"]


def stop(**changes):
    return {"patience": 1, "gain": 0.01, "score": "bleu", **changes}


def bleu(*values):
    return [{BLEU: value, AUROC: 0.5} for value in values]


def test_without_patience_rounds_never_stop():
    for setting in (None, {}, stop(patience=None)):
        assert why_stop(bleu(0.4, 0.3, 0.2), setting) is None


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ((0.40,), 1, False),
        ((0.40, 0.42), 1, False),  # gains .02
        ((0.40, 0.405), 1, True),  # gains, but not more than .01
        ((0.40, 0.405), 2, False),
        ((0.40, 0.405, 0.408), 2, True),  # never more than .01 over round 1
        ((0.40, 0.405, 0.412), 2, False),  # small steps add up: .012 over round 1
        ((0.40, 0.30, 0.42, 0.41), 2, False),  # the count begins anew after a gain
    ],
)
def test_patience_counts_rounds_without_a_gain(values, patience, stops):
    assert (why_stop(bleu(*values), stop(patience=patience)) is not None) == stops


def test_the_reason_names_score_gain_and_rounds():
    assert why_stop(bleu(0.4, 0.5, 0.45, 0.46), stop(patience=2)) == (
        "rounds 3 to 4 did not gain more than 0.01 validation BLEU (mean of 1 to 4) over round 2"
    )
    scores = [{BLEU: 0.1 * n, AUROC: 0.7} for n in range(2)]
    assert why_stop(scores, stop()) is None
    assert why_stop(scores, stop(score="auroc")) == (
        "round 2 did not gain more than 0.01 validation AUROC (macro) over round 1"
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A cascade without networks: round N's validation BLEU is the N-th of a list."""
    scores = [0.40, 0.50, 0.50, 0.60]
    trained = []

    def one_round(context, table, out, number, previous):
        trained.append((number, previous))
        folder = Path(out) / f"round-{number}" / "generator" / "model"
        folder.mkdir(parents=True, exist_ok=True)
        facts = {BLEU: f"{scores[number - 1]:.4f}", AUROC: "0.5", "seed": 1}
        (folder / "config.json").write_text(json.dumps({"facts": facts}))
        return folder

    monkeypatch.setattr(rounds, "_round", one_round)
    monkeypatch.setattr(rounds, "check_processes", lambda settings: 1)
    monkeypatch.setattr(rounds, "check_networks", lambda settings: None)
    monkeypatch.setattr(rounds, "read_bundle", lambda path: None)
    monkeypatch.setattr(rounds, "open_collection", lambda settings, out: None)
    monkeypatch.setattr(rounds, "open_images", lambda settings, collection, folder: None)
    table = type("Table", (), {"labels": [], "names": []})()
    monkeypatch.setattr(rounds, "read_label_table", lambda path: table)
    (tmp_path / "round-1" / "labels").mkdir(parents=True)

    def call(**changes):
        trained.clear()
        settings = {
            "rounds": 4,
            "collection": "there",
            "labels": {"rule": "terms"},
            "data": {"image_size": 32},
            "classifier": {"augment": None},
            "generator": {"target": "annotation", "augment": None},
            "stop": stop(),
            **changes,
        }
        bundles = rounds.run_cascade(settings, tmp_path)
        told = json.loads((tmp_path / "rounds.json").read_text())
        return len(bundles), told, list(trained)

    return call


def test_rounds_end_where_validation_stops_gaining(run):
    count, told, trained = run()
    assert count == 3
    assert [number for number, _ in trained] == [1, 2, 3]
    assert told["chosen"] == 2
    assert told["ended"].startswith("round 3 did not gain more than 0.01 validation BLEU")
    assert run()[1] == told  # killed or not, the same


def test_more_patience_goes_on_in_the_same_run(run):
    run()
    count, told, trained = run(stop=stop(patience=2))
    assert count == 4
    assert trained[2][1] is not None
    assert told["chosen"] == 4
    assert told["ended"] == "all 4 rounds were run (rounds=4)"


def test_a_run_without_the_setting_runs_all(run):
    count, told, _ = run(stop=None, rounds=3)
    assert (count, told["ended"]) == (3, "all 3 rounds were run (rounds=3)")
