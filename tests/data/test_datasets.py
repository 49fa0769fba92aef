import numpy as np
import pandas as pd
import pytest
import torch

from cascade.data.cache import build_cache
from cascade.data.datasets import StudyDataset, StudyRecords, study_records, target_texts
from cascade.errors import InputError
from cascade.labels.table import Label, LabelTable


@pytest.fixture
def cache(collection, tmp_path):
    return build_cache(collection, 8, tmp_path / "cache")


def table():
    values = pd.DataFrame({"opacity": [1.0, 0.0]}, index=["a", "b"], dtype=np.float32)
    return LabelTable(values, [Label("opacity", "opacity")], False, {})


def test_one_view_means_the_frontal(collection, cache):
    records = study_records(collection, cache, "train")
    assert records.study_ids == ["a", "b"]
    assert records.image_rows == [[cache.rows["a0"]], [cache.rows["b0"]]]
    assert records.texts == ["opacity/left", "normal"]


def test_indications_are_as_written_or_empty(collection, cache):
    collection.studies.loc[[1], "indication"] = ["Chest  pain,\nXXXX."]
    records = study_records(collection, cache, "train")
    assert records.indications == ["", "Chest pain, XXXX."]
    assert records.select([1]).indications == ["Chest pain, XXXX."]
    assert StudyRecords(["x"], ["p"], [""], [[0]]).indications == [""]


def test_lateral_pictures_of_the_split_are_known_whether_read_or_not(collection, cache):
    for views in (1, 2):
        records = study_records(collection, cache, "train", views=views)
        assert records.laterals == [cache.rows["a1"]]
        assert records.select([1]).laterals == [cache.rows["a1"]]
    assert study_records(collection, cache, "val", views=2).laterals == [cache.rows["c0"]]


def test_two_views_put_the_frontal_first(collection, cache):
    records = study_records(collection, cache, "train", views=2)
    assert records.image_rows == [[cache.rows["a0"], cache.rows["a1"]], [cache.rows["b0"]]]


def test_a_lateral_alone_is_no_frontal(collection, cache):
    with pytest.raises(InputError, match="no study of the val split has a readable image"):
        study_records(collection, cache, "val")
    assert study_records(collection, cache, "val", views=2).study_ids == ["c"]


def test_other_targets_are_the_text_as_written(collection):
    assert target_texts(collection, "findings") == ["Left opacity.", "", ""]
    collection.studies.loc[[0, 1], "impression"] = ["No  change.", "Clear."]
    both = ["Findings: Left opacity. Impression: No change.", "Impression: Clear.", ""]
    assert target_texts(collection, "both") == both
    with pytest.raises(ValueError, match="unknown target 'title'"):
        target_texts(collection, "title")


def test_a_batch_holds_pixels_views_labels(collection, cache):
    dataset = StudyDataset(study_records(collection, cache, "train", views=2), cache, table())
    batch = dataset.__getitems__([1, 0])
    assert batch.images.shape == (2, 2, 1, 8, 8)
    assert batch.images.dtype == torch.uint8
    assert batch.images[:, :, 0, 4, 4].tolist() == [[30, 0], [10, 20]]
    assert batch.views.tolist() == [[True, False], [True, True]]
    assert batch.labels.tolist() == [[0.0], [1.0]]
    assert batch.study_ids == ["b", "a"]
    assert len(dataset) == 2
    assert dataset[0].study_ids == ["a"]


def test_selecting_records(collection, cache):
    records = study_records(collection, cache, "train").select([1])
    assert (records.study_ids, records.patient_ids, len(records)) == (["b"], ["p2"], 1)
