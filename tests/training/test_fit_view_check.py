import math

import numpy as np
import pandas as pd
import pytest
import torch

from cascade.data.cache import ImageCache
from cascade.data.datasets import StudyDataset, StudyRecords
from cascade.io.phantom import draw_study
from cascade.labels.table import Label, LabelTable
from cascade.models.suitability import Suitability
from cascade.models.view_check import PHRASES
from cascade.training.fit_view_check import fit_suitability, fit_view_check
from cascade.training.not_chest import DRAWN, SPOILT, draw_not_chest, spoil
from cascade.training.view_pictures import (
    POSES,
    VARIANTS,
    inverted,
    reshaped,
    training_pictures,
    turned,
)


def phantoms(start, stop, size=64):
    """Frontal and lateral views ``(N, 1, size, size)`` of some studies, each of which has both."""
    studies = [draw_study(1, index, size, 1.0) for index in range(start, stop)]
    return [
        torch.stack(
            [torch.from_numpy(study.views[place].pixels / 65535).float() for study in studies]
        ).unsqueeze(1)
        for place in (0, 1)
    ]


@pytest.fixture(scope="module")
def views():
    """Training, validation and test: a pair of frontal and lateral views each."""
    return phantoms(0, 60), phantoms(60, 100), phantoms(100, 140)


@pytest.fixture(scope="module")
def fitted(views):
    (frontal, lateral), (val, _), _ = views
    return fit_view_check(frontal, lateral, val, Suitability.fit(frontal, val), seed=3)


def test_every_way_of_lying_is_named(fitted, views):
    frontal, lateral = views[2]
    assert fitted(frontal) == [None] * 40
    for name, change in VARIANTS.items():
        assert fitted(change(frontal)).count(PHRASES[name]) >= 39, name
    assert fitted(lateral).count("looks like a lateral view") >= 39
    assert fitted.pictures == {"frontal": 60, "lateral": 60, "turned": 0}


def test_what_is_no_chest_is_doubted(fitted):
    generator = np.random.default_rng(9)
    for kind in DRAWN:
        drawn = np.stack([draw_not_chest(kind, generator, 64) for _ in range(10)])
        said = fitted(torch.from_numpy(drawn).unsqueeze(1))
        assert sum(phrase is not None for phrase in said) >= 9, kind


def test_turned_training_pictures_are_found_and_left_out(views):
    (frontal, lateral), (val, _), (test, _) = views
    spoilt, odd = frontal.clone(), val.clone()
    spoilt[:6] = turned(spoilt[:6], 270)
    odd[:4] = turned(odd[:4], 270)
    check = fit_view_check(spoilt, lateral[:0], odd, Suitability.fit(spoilt, odd))
    assert check.pictures == {"frontal": 60, "lateral": 0, "turned": 6}
    assert "lateral" not in check.classes
    assert check(odd)[:4] == ["looks turned by 90 degrees anticlockwise"] * 4
    assert check(test) == [None] * 40


def test_lateral_views_that_the_network_reads_are_no_cause_for_doubt(views):
    (frontal, lateral), (val, side), _ = views
    both = torch.cat([val, side])
    distance = Suitability.fit(torch.cat([frontal, lateral]), both)
    check = fit_view_check(frontal, lateral, both, distance, reads_lateral=True)
    assert check.accepted == ("frontal", "lateral")
    assert check(both) == [None] * 80
    assert check(turned(val, 180)) == ["looks turned by 180 degrees"] * 40


def test_the_same_seed_gives_the_same_check(fitted, views):
    (frontal, lateral), (val, _), _ = views
    again = fit_view_check(frontal, lateral, val, Suitability.fit(frontal, val), seed=3)
    assert torch.equal(again.weight, fitted.weight)


def test_the_limit_leaves_one_in_a_hundred():
    frontal = phantoms(0, 12, 32)[0]
    noise = torch.rand(200, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    distance = Suitability.fit(noise, noise)  # doubts none of them
    distance.limit.fill_(1e6)
    check = fit_view_check(frontal, frontal[:0], noise, distance)
    lead = check.leads(noise).amax(dim=1)  # all look like something else
    assert int((lead > check.limit).sum()) == 2
    distance.limit.fill_(1e-6)  # doubts them all: nothing is left to give away
    assert fit_view_check(frontal, frontal[:0], noise, distance).limit == 0


def test_turning_and_inverting_by_hand():
    picture = torch.tensor([[[[0.0, 0.0], [0.25, 1.0]]]])  # a black bar on top
    assert turned(picture, 90).tolist() == [[[[0.25, 0.0], [1.0, 0.0]]]]
    assert turned(picture, 180).tolist() == [[[[1.0, 0.25], [0.0, 0.0]]]]
    assert turned(picture, 270).tolist() == [[[[0.0, 1.0], [0.0, 0.25]]]]
    assert inverted(picture).tolist() == [[[[0.0, 0.0], [0.75, 0.0]]]]
    assert VARIANTS["inverted_turned180"](picture).tolist() == [[[[0.0, 0.75], [0.0, 0.0]]]]
    assert POSES["frontal"] == (False, 0)
    assert POSES["inverted_turned270"] == (True, 270)
    assert set(POSES) | {"lateral", "other"} == set(PHRASES)


def test_another_shape_has_bars():
    shaped = reshaped(torch.ones(30, 1, 10, 10), np.random.default_rng(0))
    for picture in shaped[:, 0]:
        rows, columns = picture.any(dim=1).sum(), picture.any(dim=0).sum()
        assert min(rows, columns) >= 8
        assert max(rows, columns) == 10
        assert picture.sum() == rows * columns
    assert {int(picture.any(dim=1).sum()) for picture in shaped[:, 0]} == {8, 9, 10}


def test_training_pictures_know_whence_they_come(views):
    frontal, lateral = views[0]
    made = training_pictures(frontal[:3], lateral[:2], 0)
    assert made.names[:24].tolist() == [name for name in POSES for _ in range(3)]
    assert made.owners[:24].tolist() == [0, 1, 2] * 8
    assert torch.equal(made.images[3:6], inverted(frontal[:3]))
    assert set(made.owners[made.names == "lateral"].tolist()) == {3, 4}
    assert set(made.owners[made.names == "other"].tolist()) == {-1}
    assert (made.names == "other").sum() == 90  # the least, ten of each of nine kinds
    assert made.images.min() >= 0
    assert made.images.max() <= 1


@pytest.mark.parametrize("kind", SPOILT)
def test_spoilt_pictures_hold_nothing_new(kind):
    picture = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    spoilt = spoil(kind, picture, np.random.default_rng(0))
    assert spoilt.shape == (64, 64)
    if kind == "disorder":
        assert np.array_equal(np.sort(spoilt.ravel()), picture.ravel())
    else:  # a quarter or less of the rows: so much less between darkest and brightest
        assert 0 < spoilt.max() - spoilt.min() < 0.3


def dataset(pixels, rows, laterals):
    ids = [f"s{row}" for row in range(len(rows))]
    records = StudyRecords(ids, ids, [""] * len(ids), rows, laterals=laterals)
    table = LabelTable(pd.DataFrame({"a": 1.0}, index=ids), [Label("a", "a")], False, {})
    return StudyDataset(records, ImageCache(pixels, {}, {}), table)


def test_a_dataset_says_which_views_are_read(views):
    (frontal, lateral), (val, side), _ = views
    parts = [frontal[:20], lateral[:20], val[:20], side[:20]]
    pixels = (torch.cat(parts)[:, 0] * 255).round().byte().numpy()
    laterals = list(range(20, 40))
    train = dataset(pixels, [[row] for row in range(20)], laterals)
    suitability = fit_suitability(train, dataset(pixels, [[row] for row in range(40, 60)], []))
    assert suitability.check.pictures["lateral"] == 20
    assert suitability.check.accepted == ("frontal",)
    two = dataset(pixels, [[row, row + 20] for row in range(20)], laterals)
    val_two = dataset(pixels, [[row, row + 20] for row in range(40, 60)], [])
    suitability = fit_suitability(two, val_two)
    assert suitability.check.accepted == ("frontal", "lateral")
    pairs = torch.stack([val[:20], side[:20]], dim=1)
    present = torch.ones(20, 2, dtype=torch.bool)
    assert sum(map(bool, suitability.doubts(pairs, present))) == 0
    few = dataset(pixels, [[row] for row in range(20)], laterals[:7])
    assert "lateral" not in fit_suitability(few, few).check.classes
    assert math.isfinite(suitability.check.limit.item())
