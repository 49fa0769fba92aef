"""Sides of findings: sentences by hand, each finding with the sides that a reader gives it."""

import pytest

from cascade.labels.lexicon import load_lexicon
from cascade.labels.miner import mine_text
from cascade.metrics import laterality as module
from cascade.metrics.laterality import laterality, mention_sides

L, R, B, NONE = {"left"}, {"right"}, {"left", "right"}, set()


def sides(text):
    """Finding to sides, over all of the text's mentions."""
    mentions = mine_text(text)
    found = {}
    for mention, side in zip(mentions, mention_sides(text, mentions), strict=True):
        found[mention.finding] = found.get(mention.finding, set()) | side
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # before the finding
        ("Small left pleural effusion.", {"effusion": L}),
        ("Right-sided pneumothorax.", {"pneumothorax": R}),
        ("Left retrocardiac opacity.", {"lung_opacity": L}),
        ("Old right rib fractures.", {"fracture": R}),
        ("Lt lower lobe pneumonia, rt effusion.", {"pneumonia": L, "effusion": R}),
        ("LEFT: effusion.", {"effusion": L}),
        ("Right hilar mass and left apical scarring.", {"mass": R, "cicatrix": L}),
        ("Small left effusion and right basilar atelectasis.", {"effusion": L, "atelectasis": R}),
        # behind it
        ("Calcified granuloma in the left upper lobe.", {"calcified_granuloma": L}),
        ("Effusion, left.", {"effusion": L}),
        ("Opacity overlying the right heart border.", {"lung_opacity": R}),
        ("Atelectasis/infiltrate in the LLL.", {"atelectasis": L, "infiltration": L}),
        ("Effusion and atelectasis at the left base.", {"effusion": L, "atelectasis": L}),
        # within its words
        ("Collapse of the left lower lobe.", {"atelectasis": L}),
        ("There is fluid in the right pleural space.", {"effusion": R}),
        ("Blunting of the left costophrenic angle.", {"costophrenic_blunting": L, "effusion": L}),
        ("Dextroscoliosis of the spine.", {"scoliosis": R}),
        ("Levoscoliosis.", {"scoliosis": L}),
        # at the head of the sentence
        ("On the left, there is a pleural effusion.", {"effusion": L}),
        ("The left lung base demonstrates an opacity.", {"lung_opacity": L}),
        # lobes
        ("RLL pneumonia.", {"pneumonia": R}),
        ("LUL nodule and RML infiltrate.", {"nodule": L, "infiltration": R}),
        ("Lingular atelectasis.", {"atelectasis": L}),
        ("Scarring in the lingula.", {"cicatrix": L}),
        ("Middle lobe atelectasis.", {"atelectasis": R}),
        ("Right middle lobe and lingula opacities.", {"lung_opacity": B}),
        # both
        ("Bilateral effusions.", {"effusion": B}),
        ("Small effusions bilaterally.", {"effusion": B}),
        ("Bibasilar atelectasis.", {"atelectasis": B}),
        ("Bi-apical scarring.", {"cicatrix": B}),
        ("Atelectasis of both lower lobes.", {"atelectasis": B}),
        ("Infiltrates in both of the lungs.", {"infiltration": B}),
        ("Left and right pneumothoraces.", {"pneumothorax": B}),
        ("Right upper and left lower lobe opacities.", {"lung_opacity": B}),
        ("Atelectasis in the left lower lobe and right middle lobe.", {"atelectasis": B}),
        ("Pneumonia of the left lung as well as the right lung.", {"pneumonia": B}),
        ("Effusions, right > left.", {"effusion": B}),
        ("Bilateral effusions, left greater than right.", {"effusion": B}),
        ("Left pleural effusion is larger than the right.", {"effusion": B}),
        ("Effusion, worse on the left.", {"effusion": B}),
        ("Left effusion has increased, right is unchanged.", {"effusion": B}),
        ("Atelectasis at the bases.", {"atelectasis": B}),
        # a side that is another finding's
        (
            "No right effusion, but there is a left pneumothorax.",
            {"effusion": R, "pneumothorax": L},
        ),
        ("Cardiomegaly with small left effusion.", {"cardiomegaly": NONE, "effusion": L}),
        (
            "Opacity in the right lower lobe and left atelectasis.",
            {"lung_opacity": R, "atelectasis": L},
        ),
        ("Right IJ catheter, small effusion.", {"catheter": R, "effusion": NONE}),
        (
            "Effusion on the right, and the left base demonstrates an opacity.",
            {"effusion": R, "lung_opacity": L},
        ),
        # a side that is no finding's
        ("The right lung is clear and there is a left effusion.", {"effusion": L}),
        ("Left lower lobe consolidation; right lung clear.", {"consolidation": L}),
        ("Opacity at the left base, the right base is clear.", {"lung_opacity": L}),
        ("Right and left lungs are clear, left nodule.", {"nodule": L}),
        ("Effusion on the right, none on the left.", {"effusion": R}),
        ("Left lateral view shows an effusion.", {"effusion": NONE}),
        (
            "Chest tube was left in place with right effusion.",
            {"support_devices": NONE, "effusion": R},
        ),
        ("Catheter in the right atrium, left effusion.", {"catheter": NONE, "effusion": L}),
        ("Left ventricular enlargement.", {"cardiomegaly": NONE}),
        ("Upright view: nodule.", {"nodule": NONE}),
        ("Both views show a right pneumothorax.", {"pneumothorax": R}),
        ("Pneumonia.", {"pneumonia": NONE}),
        # shared
        ("Left effusion and atelectasis.", {"effusion": L, "atelectasis": L}),
        (
            "Opacity in the right base, which may represent atelectasis or pneumonia.",
            {"lung_opacity": R, "atelectasis": R, "pneumonia": R},
        ),
        ("Right pneumonia. Edema.", {"pneumonia": R, "edema": NONE}),
        ("Left nodule. Right nodule.", {"nodule": B}),
    ],
)
def test_sides(text, expected):
    assert sides(text) == expected


def test_offsets_count_from_the_text():
    text = "Cardiomegaly.  Çlear. İ Left effusion and RIGHT nodule."
    effusion, nodule = mine_text(text)[1:]
    sentence = text[slice(*effusion.sentence)]
    assert laterality(sentence, effusion, [nodule]) == L
    assert laterality(sentence, nodule, [effusion]) == R


def test_without_the_others_a_side_may_be_taken_from_them():
    text = "Right IJ catheter, small effusion."
    mentions = mine_text(text)
    assert laterality(text, mentions[-1]) == R
    assert laterality(text, mentions[-1], mentions) == NONE


def test_its_findings_are_the_lexicons():
    assert load_lexicon().findings.keys() >= module.UNSIDED | module._SHARING


def test_a_sentence_without_an_end_has_no_sides():
    words = "left effusion and right nodule in the left or right base with "
    assert sides(words * 50) == {"effusion": L, "nodule": B}
    assert sides(words * 5000) == {"effusion": NONE, "nodule": NONE}
