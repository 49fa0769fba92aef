from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cascade.errors import InputError
from cascade.io.collection import Collection, Image, Study
from cascade.io.openi import read_openi
from cascade.labels.patterns import mine_patterns, mine_terms, term_disease
from tests.paper_counts import PAPER

TECHNICAL = "Technical Quality of Image Unsatisfactory"


def collection(*studies: tuple, images: int = 2) -> Collection:
    """Each study is (mesh terms..., split)."""
    made = [
        Study(f"s{n}", f"p{n}", mesh=tuple(terms), split=split)
        for n, (*terms, split) in enumerate(studies)
    ]
    named = [Image(f"{s.study_id}-{i}", s.study_id, None) for s in made for i in range(images)]
    return Collection.build(made, named, Path())


def column(table, name: str) -> list:
    return [None if np.isnan(value) else int(value) for value in table.values[name]]


def test_patterns_need_the_whole_annotation():
    table = mine_patterns(
        collection(
            ("normal", "train"),
            ("Opacity/lung/left", "Opacity/round", "train"),
            ("Opacity/lung", "Cardiomegaly", "train"),
            ("train",),
            ("Opacity", TECHNICAL, "test"),
            (TECHNICAL, "train"),
        ),
        min_images=1,
    )
    assert table.exclusive
    assert table.names == ["normal", "opacity"]
    assert column(table, "normal") == [1, 0, None, None, 0, None]
    assert column(table, "opacity") == [0, 1, None, None, 1, None]
    assert table.rule["images"] == {"normal": 2, "opacity": 2}


def test_patterns_count_images_and_need_more_than_the_threshold():
    studies = [("Opacity", "train"), ("Nodule", "train"), ("Nodule", "train")]
    assert mine_patterns(collection(*studies), min_images=2).names == ["nodule"]
    assert mine_patterns(collection(*studies), min_images=3).names == ["nodule"]
    with pytest.raises(InputError, match=r"more than 4 training images .* on 4\): lower"):
        mine_patterns(collection(*studies), min_images=4)


def test_only_training_studies_choose_the_patterns():
    made = collection(("Opacity", "train"), ("Nodule", "test"), ("Nodule", "val"))
    assert mine_patterns(made, min_images=1).names == ["opacity"]
    assert mine_patterns(made, min_images=1, fit_on="all").names == ["nodule", "opacity"]


def test_terms_take_the_annotation_as_complete():
    table = mine_terms(
        collection(
            ("Opacity/lung", "Cardiomegaly/mild", "train"),
            ("Opacity", "train"),
            ("normal", "train"),
            ("train",),
            (TECHNICAL, "train"),
            ("normal", "Nodule", "train"),
            ("Edema", "test"),
        ),
        min_studies=1,
    )
    assert not table.exclusive
    assert table.names == ["normal", "opacity", "cardiomegaly", "nodule"]
    assert column(table, "normal") == [0, 0, 1, None, None, 0, 0]
    assert column(table, "opacity") == [1, 1, 0, None, None, 0, 0]
    assert column(table, "nodule") == [0, 0, 0, None, None, 1, 0]
    assert "complete" in table.rule["text"]


def test_rare_terms_are_left_out_unless_included():
    made = collection(("Opacity", "train"), ("Opacity", "train"), ("Pleural Effusion/left", "test"))
    assert mine_terms(made, min_studies=2).names == ["opacity"]
    kept = mine_terms(made, min_studies=2, include=["Pleural  Effusion"])
    assert kept.names == ["opacity", "pleural effusion"]
    with pytest.raises(
        InputError, match="no study carries the label 'pleural efusion'; close: 'pleu"
    ):
        mine_terms(made, include=["pleural efusion"])
    with pytest.raises(InputError, match="no study carries the label 'hernia'$"):
        mine_terms(made, include=["hernia"])


RAISED = ("Diaphragm/right/elevated", "Diaphragm/elevated", "Diaphragm/left/elevated/mild")


def test_a_finding_is_one_label_on_either_side():
    made = collection(*((term, "train") for term in RAISED))
    assert mine_terms(made, min_studies=2).names == ["diaphragm/elevated"]
    assert mine_patterns(made, min_images=2, disease="finding").names == ["diaphragm/elevated"]
    paper = mine_terms(made, min_studies=1, disease="paper")
    assert paper.names == ["diaphragm/elevated", "diaphragm/left", "diaphragm/right"]
    assert mine_patterns(made, min_images=1).names == paper.names
    assert paper.rule["disease"] == "paper"


SETS = (
    ("Opacity", "train"),
    ("Opacity/left", "Nodule", "train"),
    ("Nodule/round", "Opacity", "train"),
    ("normal", "train"),
    ("normal", "Opacity", "train"),
    ("Nodule", "Edema", "Opacity", "test"),
    ("Edema", "test"),
    ("train",),
)


def test_patterns_may_be_sets():
    table = mine_patterns(collection(*SETS), min_images=1, patterns="set")
    assert table.exclusive
    assert table.rule["images"] == {"normal": 2, "nodule; opacity": 4, "opacity": 2}
    assert table.names == ["normal", "nodule; opacity", "opacity"]
    # a larger set is another one; normal beside a finding is no pattern
    assert column(table, "nodule; opacity") == [0, 1, 1, 0, None, None, None, None]


def test_overlap_gives_the_same_labels_to_more_studies():
    alone = mine_patterns(collection(*SETS), min_images=1)
    table = mine_patterns(collection(*SETS), min_images=1, overlap=True)
    assert table.names == alone.names == ["normal", "opacity"]
    assert not table.exclusive
    assert column(alone, "opacity") == [1, None, None, 0, None, None, None, None]
    assert column(table, "opacity") == [1, 1, 1, 0, 1, 1, 0, None]
    assert column(table, "normal") == [0, 0, 0, 1, 0, 0, 0, None]
    sets = mine_patterns(collection(*SETS), min_images=1, patterns="set", overlap=True)
    assert column(sets, "nodule; opacity") == [0, 1, 1, 0, 0, 1, 0, None]


PLEURA = (
    ("Pneumothorax/left", "Hydropneumothorax", "train"),
    ("Pneumothorax", "train"),
    ("Thickening/pleura", "train"),
    ("Pleural Effusion", "train"),
    ("Pleural Effusion", "train"),
    ("Pleural Effusion", "normal", "train"),
    ("Nipple Shadow", "Hernia, Hiatal", "train"),
    ("Mastectomy", "train"),
    ("Mastectomy", "train"),
    ("Hemothorax", "test"),
    ("normal", "test"),
    (TECHNICAL, "train"),
)


def test_rare_terms_roll_up():
    table = mine_terms(collection(*PLEURA), min_studies=3, rollup=True)
    # two pneumothoraces, one of them with a hydropneumothorax, and a thickening: three studies
    assert table.names == ["other findings", "other pleural diseases", "pleural effusion"]
    assert table.rule["classes"] == {
        "other pleural diseases": ["pneumothorax", "hydropneumothorax", "thickening", "hemothorax"],
        "other findings": ["mastectomy", "hernia, hiatal", "nipple shadow"],
    }
    assert column(table, "other pleural diseases") == [1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, None]
    assert column(table, "other findings") == [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, None]
    descriptions = {label.name: label.description for label in table.labels}
    assert descriptions["other findings"] == "mastectomy; hernia, hiatal; nipple shadow"
    assert descriptions["pleural effusion"] == ""
    assert mine_terms(collection(*PLEURA), min_studies=3).names == ["pleural effusion"]


def test_what_is_left_of_the_tree_can_be_left_out():
    table = mine_terms(collection(*PLEURA), min_studies=3, rollup=True, other=False)
    assert table.names == ["other pleural diseases", "pleural effusion"]
    assert column(table, "pleural effusion")[6] == 0


def test_an_included_disease_is_rolled_up_with_nothing():
    table = mine_terms(collection(*PLEURA), min_studies=3, rollup=True, include=["thickening"])
    assert table.names == ["other findings", "pleural effusion", "thickening"]
    assert column(table, "thickening") == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, None]
    assert "pneumothorax" in table.rule["classes"]["other findings"]


def test_a_term_is_named_as_its_table_names_it():
    table = mine_terms(collection(*PLEURA), min_studies=3, rollup=True)
    named = term_disease(table.rule)
    assert named("Pneumothorax/apex/left") == "other pleural diseases"
    assert named("Pleural Effusion/left") == "pleural effusion"
    assert term_disease({"disease": "paper"})("Diaphragm/left/elevated") == "diaphragm/left"
    assert term_disease({})("Diaphragm/left/elevated") == "diaphragm/elevated"


def test_pieces_outside_the_vocabulary_are_told():
    made = collection(("Opacity/left upper", "Nodule/left upper/huge", "train"), ("Edema", "train"))
    for table in (mine_terms(made, min_studies=1), mine_patterns(made, min_images=1)):
        assert table.rule["unknown_pieces"] == {"huge": 1, "left upper": 1}
    assert (
        "unknown_pieces" not in mine_terms(collection(("Edema/mild", "train")), min_studies=1).rule
    )


@pytest.mark.parametrize("mine", [mine_patterns, mine_terms])
def test_what_cannot_be_mined(mine):
    with pytest.raises(InputError, match="no study carries an annotation"):
        mine(collection(("train",)))
    with pytest.raises(InputError, match="no study is in the train split"):
        mine(collection(("Opacity", None)))
    with pytest.raises(InputError, match="unknown labels.fit_on 'test'"):
        mine(collection(("Opacity", "train")), fit_on="test")
    with pytest.raises(
        InputError, match=r"unknown labels.disease 'word', .* \['finding', 'paper'\]"
    ):
        mine(collection(("Opacity", "train")), disease="word")


def test_an_unknown_kind_of_pattern_or_no_minimum():
    with pytest.raises(InputError, match="unknown labels.patterns 'term'"):
        mine_patterns(collection(("Opacity", "train")), patterns="term")
    with pytest.raises(InputError, match="labels.min_studies=0: minimum 0 must be 1 or more"):
        mine_terms(collection(("Opacity", "train")), min_studies=0, rollup=True)


def test_too_high_a_threshold_names_the_option():
    with pytest.raises(
        InputError, match=r"at least 9 training studies .* by 1\): lower labels.min"
    ):
        mine_terms(collection(("Opacity", "train")), min_studies=9)


@pytest.mark.realdata
def test_the_archive_gives_the_labels_of_the_paper(real_data: Path):
    archive = read_openi(real_data / "openi" / "NLMCXR_reports.tgz")
    images = mine_patterns(archive, fit_on="all").rule["images"]
    # CXR1776 is spelt "Thoracic vertebrae": the authors counted its two images apart
    assert images == {**PAPER, "thoracic vertebrae/degenerative": 120}


@pytest.mark.realdata
def test_the_page_of_labels_shows_what_is_mined(real_data: Path):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, root / "scripts" / "label_counts", real_data / "openi"]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    page = (root / "docs" / "labels.md").read_text(encoding="utf-8")
    assert written.strip() in page, "scripts/label_counts --write brings the page up to date"
    assert "CXR1776_IM-0508-1001" in written


@pytest.mark.realdata
def test_options_on_the_archive(real_data: Path):
    archive = read_openi(real_data / "openi" / "NLMCXR_reports.tgz")
    overlapping = mine_patterns(archive, fit_on="all", overlap=True)
    assert set(overlapping.names) == set(PAPER)
    terms = mine_terms(archive, fit_on="all").counts()["present"]
    # the sides are gone from the names
    assert terms["diaphragm/elevated"] == 87
    assert not {name for name in terms.index if name.split("/")[-1] in ("left", "right")}
    rolled = mine_terms(archive, fit_on="all", rollup=True)
    assert (rolled.counts()["present"] >= 20).all()
    members = [m for names in rolled.rule["classes"].values() for m in names]
    assert len(members) == len(set(members))
