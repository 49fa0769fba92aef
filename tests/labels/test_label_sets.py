import dataclasses

import pytest

from cascade.labels.label_sets import LABEL_SETS, LEANING, NORMAL, LabelSet, label_values
from cascade.labels.lexicon import load_lexicon, read_toml
from cascade.labels.miner import Mention, mine_text

NIH, CHEXPERT, PAPER = (LABEL_SETS[name] for name in ("chestxray14", "chexpert", "paper17"))


def mention(finding, status, rule="stated"):
    return Mention(finding, status, "findings", 0, 1, "x", (0, 1), "x", rule, "")


def values(text, label_set=NIH, **options):
    return label_values(mine_text(text), label_set, **options)


# --- The sets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "labels"), [("chestxray14", 14), ("chexpert", 13), ("paper17", 16)]
)
def test_a_set_has_its_paper_s_labels_besides_normal(name, labels):
    assert len(LABEL_SETS[name].labels) == labels
    assert NORMAL not in LABEL_SETS[name].labels
    assert LABEL_SETS[name].source


def test_sets_name_only_findings_of_the_lexicon():
    known = set(load_lexicon().findings)
    for label_set in LABEL_SETS.values():
        assert all(label_set.labels.values())
        assert {f for findings in label_set.labels.values() for f in findings} <= known
        assert label_set.allowed <= known


def test_doubts_that_lean_are_rules_of_the_miner():
    uncertain = {t["name"] for t in read_toml("triggers.toml")["trigger"]}
    assert uncertain | {"alternative"} >= LEANING


# --- The strongest decides ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mentioned", "expected"),
    [
        ([("absent", "no")], 0.0),
        ([("uncertain", "may")], -1.0),
        ([("present", "stated")], 1.0),
        ([("absent", "no"), ("uncertain", "may")], -1.0),
        ([("uncertain", "may"), ("absent", "no")], -1.0),
        ([("present", "stated"), ("uncertain", "may"), ("absent", "no")], 1.0),
        ([("absent", "no"), ("present", "stated")], 1.0),
        ([("absent", "no"), ("uncertain", "worded")], -1.0),
    ],
)
def test_the_strongest_mention_decides(mentioned, expected):
    mentions = [mention("edema", *each) for each in mentioned]
    assert label_values(mentions, NIH)["Edema"] == expected
    assert set(label_values(mentions, NIH)) == {NORMAL, "Edema"}


def test_the_strongest_of_a_label_s_findings_decides():
    # CheXpert's Pneumonia takes any infection, ChestX-ray14's does not
    text = "No pneumonia. Infection."
    assert values(text, CHEXPERT) == {NORMAL: 0.0, "Pneumonia": 1.0}
    assert values(text, NIH) == {NORMAL: 0.0, "Pneumonia": 0.0}
    assert values("No pneumonia. Infection is possible.", CHEXPERT)["Pneumonia"] == -1.0
    assert values("No pneumonia or infection.", CHEXPERT)["Pneumonia"] == 0.0


def test_one_finding_may_stand_for_two_labels():
    two = LabelSet({"a": ("mass", "edema"), "b": ("mass",)}, frozenset(), True, "made")
    assert values("A mass.", two) == {NORMAL: 0.0, "a": 1.0, "b": 1.0}
    assert values("Edema. No mass.", two) == {NORMAL: 0.0, "a": 1.0, "b": 0.0}


@pytest.mark.parametrize("rule", sorted(LEANING))
def test_a_doubt_that_leans_counts_as_present_if_wanted(rule):
    mentions = [mention("edema", "uncertain", rule)]
    assert label_values(mentions, NIH) == {NORMAL: 0.0, "Edema": 1.0}
    assert label_values(mentions, NIH, lean=False) == {NORMAL: -1.0, "Edema": -1.0}


@pytest.mark.parametrize("rule", ["may", "possible", "cannot exclude", "unlikely", "worded"])
def test_another_doubt_stays_a_doubt(rule):
    mentions = [mention("edema", "uncertain", rule)]
    for lean in (True, False):
        assert label_values(mentions, NIH, lean=lean)["Edema"] == -1.0


def test_two_sides_of_an_alternative_lean():
    text = "Atelectasis versus pneumonia."
    assert values(text) == {NORMAL: 0.0, "Atelectasis": 1.0, "Pneumonia": 1.0}
    assert values(text, lean=False) == {NORMAL: -1.0, "Atelectasis": -1.0, "Pneumonia": -1.0}
    assert values("No atelectasis. Probable mass.", lean=False) == {
        NORMAL: -1.0, "Atelectasis": 0.0, "Mass": -1.0,
    }  # fmt: skip


# --- Normal ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Unremarkable.", 1.0),  # nothing is mentioned at all
        ("No mass or edema. The heart is normal in size.", 1.0),
        ("Possible edema.", -1.0),
        ("Possible scoliosis.", -1.0),
        ("Edema.", 0.0),
        ("Possible mass. Edema.", 0.0),
        ("Scoliosis.", 0.0),  # none of the set's labels, but a finding
        ("Pacemaker.", 0.0),
        ("The heart is at the upper limits of normal.", 1.0),  # the words say so themselves
        ("The heart is at the upper limits of normal. Possible edema.", -1.0),
        ("Limited, rotated film. Obese patient. Nipple shadows.", 1.0),  # of picture and build
        ("Possible nipple shadow.", 1.0),
    ],
)
def test_normal_means_that_nothing_the_lexicon_knows_is_found(text, expected):
    assert values(text, NIH)[NORMAL] == expected
    assert values(text, PAPER)[NORMAL] == expected


def test_upper_limits_of_normal_doubt_the_heart_and_leave_a_report_normal():
    text = "The heart is at the upper limits of normal."
    assert values(text) == {NORMAL: 1.0, "Cardiomegaly": -1.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Scoliosis.", 1.0),  # CheXpert's No Finding counts its own labels only,
        ("Possible scoliosis.", 1.0),
        ("Pacemaker.", 1.0),  # and allows support devices
        ("Possible pacemaker.", 1.0),
        ("Edema.", 0.0),
        ("Possible edema.", -1.0),
        ("", 1.0),
    ],
)
def test_a_narrow_set_counts_only_its_own_labels(text, expected):
    assert values(text, CHEXPERT)[NORMAL] == expected


def test_a_narrow_set_allows_what_it_still_labels():
    assert values("Pacemaker.", CHEXPERT) == {NORMAL: 1.0, "Support Devices": 1.0}


def test_what_a_wide_set_allows_leaves_a_report_normal():
    allowing = dataclasses.replace(NIH, allowed=frozenset({"scoliosis", "hernia"}))
    assert values("Scoliosis. Hernia.", allowing) == {NORMAL: 1.0, "Hernia": 1.0}
    assert values("Scoliosis. Mass.", allowing) == {NORMAL: 0.0, "Mass": 1.0}


def test_a_report_without_text_is_not_normal():
    assert label_values([], NIH) == {NORMAL: 1.0}
    assert label_values([], NIH, has_text=False) == {}


def test_normal_comes_first():
    assert list(values("Edema. Mass.")) == [NORMAL, "Mass", "Edema"]
