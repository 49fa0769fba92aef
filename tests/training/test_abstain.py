"""The confidence below which a draft is withheld: chosen on validation, kept in the bundle."""

import pytest
import torch

from cascade.errors import InputError
from cascade.evaluation.abstention import abstention_row, abstention_words
from cascade.inference.bundle import read_bundle, write_bundle
from cascade.inference.card import reliance_card
from cascade.inference.predictor import Predictor
from cascade.io.files import read_json, write_json
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.training import abstain
from cascade.training.abstain import choose_abstention, draft_quality, wanted_coverage
from cascade.training.fit_generator import fit_generator

SURE = [1 - row / 20 for row in range(20)]


def test_quality_is_the_f1_of_what_a_draft_names():
    drafts = ["normal", "opacity/left; edema", "normal"]
    found = draft_quality(drafts, ["normal", "opacity", "edema"], "annotation")
    assert found.tolist() == [1.0, pytest.approx(2 / 3), 0.0]
    assert draft_quality(["Effusion."], ["No effusion."], "findings").tolist() == [0.0]


def test_the_least_confident_share_is_withheld():
    references = ["normal"] * 10 + ["edema"] * 10
    found = choose_abstention(["normal"] * 20, references, SURE, "annotation", 0.75)
    assert found["threshold"] == 0.3  # the fifteenth of twenty
    assert (found["wanted"], found["coverage"], found["studies"]) == (0.75, 0.75, 20)
    assert (found["quality"], found["withheld"]) == (0.5, 0.0)
    assert found["kept"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["area"] == found["best"] < found["random"] == 0.5


def test_a_confidence_that_says_nothing_withholds_nothing(caplog):
    references = ["edema"] * 10 + ["normal"] * 10  # the surer, the worse
    found = choose_abstention(["normal"] * 20, references, SURE, "annotation", 0.9)
    assert found["threshold"] is None
    assert found["area"] > found["random"]
    assert "ranks drafts no better than chance" in found["reason"]
    assert "no draft will be withheld" in caplog.text
    equal = choose_abstention(["normal"] * 20, references, [0.5] * 20, "annotation", 0.9)
    assert equal["threshold"] is None
    few = choose_abstention(["normal"] * 19, references[:19], SURE[:19], "annotation", 0.9)
    assert (few["threshold"], few["reason"]) == (None, "fewer than 20 validation drafts")


def test_a_coverage_is_a_share():
    assert wanted_coverage({}) is wanted_coverage({"coverage": None}) is None
    assert wanted_coverage({"coverage": 1}) == 1.0
    for wrong in (0, 1.5, "much", -0.1):
        with pytest.raises(InputError, match=f"generator.coverage={wrong}: expected null"):
            wanted_coverage({"coverage": wrong})


def fitted(directory, tiny, settings, coverage):
    """A tiny reader; its validation studies are seen twice, since twelve are too few."""
    torch.manual_seed(0)
    network = StudyClassifier(create_encoder("tiny", width=4), 2).eval()
    reader = Reader(network, tiny.table.labels, False)
    settings["generator"]["coverage"] = coverage
    val = tiny.val.select([*range(12), *range(12)])
    return fit_generator(directory, reader, tiny.train, val, tiny.cache, tiny.table, settings)[0]


def test_the_threshold_goes_from_training_to_the_predictor(tiny, settings, tmp_path, monkeypatch):
    said = []

    def remember(*args):
        said.append(args)
        return choose_abstention(*args)

    monkeypatch.setattr("cascade.training.fit_generator.choose_abstention", remember)
    reader = fitted(tmp_path / "run", tiny, settings, 0.5)
    [(drafts, references, confidences, target, coverage)] = said
    assert (len(drafts), len(references), len(confidences)) == (24, 24, 24)
    assert (target, coverage) == ("annotation", 0.5)
    assert all(0 <= value <= 1 for value in confidences)
    reader.abstention = choose_abstention(
        ["normal"] * 20, ["normal"] * 10 + ["edema"] * 10, SURE, "annotation", 0.75
    )
    bundle = tmp_path / "model"
    write_bundle(
        reader,
        bundle,
        encoder={"name": "tiny", "width": 4},
        decoder=settings["decoder"],
        image_size=32,
        views=1,
        target="annotation",
        facts={},
    )
    assert Predictor(bundle, "cpu").abstain_below == 0.3
    card = (bundle / "README.md").read_text()
    assert "whose confidence is below 0.300000 is withheld" in card
    assert "| 0.5000 | 0.6667 | 0.0000 |" in card
    config = read_json(bundle / "config.json")
    for wrong in ({"threshold": 1.5}, {}):
        write_json(bundle / "config.json", {**config, "abstention": wrong})
        with pytest.raises(InputError, match="does not fit together"):
            read_bundle(bundle)
    del config["abstention"]  # bundles of before have none
    write_json(bundle / "config.json", config)
    assert Predictor(bundle, "cpu").abstain_below is None


def test_nothing_is_chosen_where_nothing_is_asked(tiny, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(abstain, "choose_abstention", None)
    reader = fitted(tmp_path / "run", tiny, settings, None)
    assert reader.abstention is None
    assert "Abstention" not in reliance_card(reader)
    reader.abstention = {"threshold": None, "reason": "fewer than 20 validation drafts"}
    assert "no draft is withheld; fewer than 20" in reliance_card(reader)


def test_what_the_threshold_does_elsewhere(tiny):
    network = StudyClassifier(create_encoder("tiny", width=4), 2).eval()
    reader = Reader(network, tiny.table.labels, False, abstention={"threshold": 0.5})
    drafts, truth = ["normal"] * 4, ["normal", "normal", "edema", "edema"]
    sure = [0.9, 0.6, 0.5, 0.1]
    row = abstention_row("model", reader, drafts, truth, sure, "annotation")
    assert (row["system"], row["threshold"], row["coverage"]) == ("model", 0.5, 0.75)
    assert row["kept"] == pytest.approx(2 / 3)
    words = abstention_words(row)
    assert (
        "keeps 0.750 of the drafts, whose F1 of findings is 0.667, of the withheld 0.000" in words
    )
    reader.abstention = None
    row = abstention_row("model", reader, drafts, truth, sure, "annotation")
    assert (row["coverage"], row["kept"]) == (1.0, 0.5)
    assert abstention_words(row).startswith("the bundle has no threshold; area under")
