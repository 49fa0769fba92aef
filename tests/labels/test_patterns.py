from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cascade.errors import InputError
from cascade.io.collection import Collection, Image, Study
from cascade.io.openi import read_openi
from cascade.labels.patterns import mine_patterns, mine_terms

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


@pytest.mark.parametrize("mine", [mine_patterns, mine_terms])
def test_what_cannot_be_mined(mine):
    with pytest.raises(InputError, match="no study carries an annotation"):
        mine(collection(("train",)))
    with pytest.raises(InputError, match="no study is in the train split"):
        mine(collection(("Opacity", None)))
    with pytest.raises(InputError, match="unknown labels.fit_on 'test'"):
        mine(collection(("Opacity", "train")), fit_on="test")


def test_too_high_a_threshold_names_the_option():
    with pytest.raises(
        InputError, match=r"at least 9 training studies .* by 1\): lower labels.min"
    ):
        mine_terms(collection(("Opacity", "train")), min_studies=9)


PAPER = {
    "normal": 2696,
    "calcified granuloma": 174,
    "thoracic vertebrae/degenerative": 118,
    "lung/hypoinflation": 117,
    "calcinosis": 84,
    "opacity": 81,
    "spine/degenerative": 80,
    "cardiomegaly": 64,
    "scoliosis": 61,
    "lung/hyperdistention": 46,
    "surgical instruments": 41,
    "spondylosis": 39,
    "osteophyte": 39,
    "catheters, indwelling": 38,
    "fractures, bone": 36,
    "granulomatous disease": 36,
    "nodule": 33,
}


@pytest.mark.realdata
def test_the_archive_gives_the_labels_of_the_paper(real_data: Path):
    archive = read_openi(real_data / "openi" / "NLMCXR_reports.tgz")
    images = mine_patterns(archive, fit_on="all").rule["images"]
    # CXR1776 is spelt "Thoracic vertebrae": the authors counted its two images apart
    assert images == {**PAPER, "thoracic vertebrae/degenerative": 120}
