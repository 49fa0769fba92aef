from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cascade.data.datamodule import Dropout, StudyDataModule, sampling_weights, training_sampler
from cascade.data.datasets import Batch
from cascade.data.transforms import Augment, check_crops, to_unit
from cascade.errors import InputError

NAN = float("nan")


def test_rare_labels_count_more():
    labels = np.array([[1, 0], [1, 0], [1, 0], [1, 1]], dtype=float)
    # 1/sqrt(4) for the three, 1/sqrt(1) for the one: 0.5, 0.5, 0.5, 1 over their mean 0.625
    assert sampling_weights(labels, "labels").tolist() == [0.8, 0.8, 0.8, 1.6]


def test_unlabelled_studies_count_least():
    labels = np.array([[1, 0], [0, 0], [NAN, NAN]])
    assert sampling_weights(labels, "labels").tolist() == [1.0, 1.0, 1.0]


def test_normal_against_the_rest():
    labels = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=float)
    weights = sampling_weights(labels, "normal", normal=0)
    assert weights[:3].sum() == pytest.approx(weights[3])


def test_none_is_even():
    assert sampling_weights(np.zeros((3, 1)), "none").tolist() == [1.0, 1.0, 1.0]


def test_bad_names():
    with pytest.raises(ValueError, match="unknown balance 'x'"):
        sampling_weights(np.zeros((1, 1)), "x")
    with pytest.raises(ValueError, match="needs a label named normal"):
        sampling_weights(np.zeros((1, 1)), "normal")


def test_bytes_become_shares():
    assert to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0.0, 1.0]
    assert to_unit(torch.tensor([0.5])).tolist() == [0.5]


def test_augmentation_follows_its_seed_and_keeps_the_range():
    images = torch.rand(4, 1, 16, 16)
    first, second = Augment(seed=3)(images), Augment(seed=3)(images)
    assert torch.equal(first, second)
    assert not torch.equal(first, Augment(seed=4)(images))
    assert first.shape == images.shape
    assert 0.0 <= float(first.min()) <= float(first.max()) <= 1.0


def test_no_change_asked_is_no_change():
    images = torch.rand(2, 1, 8, 8) * 0.9 + 0.05
    out = Augment(rotation=0, shift=0, scale=0, exposure=0)(images)
    assert torch.allclose(out, images, atol=1e-5)


def test_a_crop_is_a_square_of_the_picture_at_many_places():
    # Each pixel tells its row and column, so that a crop tells where it was taken.
    picture = (torch.arange(6).view(6, 1) * 10 + torch.arange(6)).float() / 100
    still = {"rotation": 0.0, "shift": 0.0, "scale": 0.0, "exposure": 0.0}
    cut = Augment(**still, crop=4, seed=2)(picture.expand(60, 1, 6, 6))
    assert cut.shape == (60, 1, 4, 4)
    corners = set()
    for found in cut[:, 0]:
        top, left = divmod(round(100 * float(found[1, 1])) - 11, 10)
        corners.add((top, left))
        assert torch.allclose(found, picture[top : top + 4, left : left + 4], atol=1e-4)
    assert corners == {(top, left) for top in range(3) for left in range(3)}


def test_without_a_crop_the_draws_are_those_of_before():
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(Augment(seed=1)(images), Augment(crop=None, seed=1)(images))


def cropping(classifier=None, generator=None):
    return {
        "data": {"image_size": 32},
        "classifier": {"augment": {"crop": classifier}},
        "generator": {"augment": {"crop": generator}},
    }


def test_both_stages_cut_alike_and_within_the_picture():
    check_crops(cropping())
    check_crops(cropping(32, 32))
    check_crops(cropping(24, 24))
    check_crops(cropping(24) | {"generator": {"augment": None}})
    with pytest.raises(InputError, match=r"classifier.augment.crop=33: .* data.image_size=32"):
        check_crops(cropping(33, 33))
    with pytest.raises(InputError, match=r"generator.augment.crop=None: .*augment.crop=24"):
        check_crops(cropping(24))


def test_left_stays_left():
    images = torch.zeros(64, 1, 16, 16)
    images[..., :4] = 1.0
    out = Augment(rotation=10, shift=0.05, scale=0.1, exposure=0.0, seed=1)(images)
    assert bool((out[..., :8].mean(dim=(1, 2, 3)) > out[..., 8:].mean(dim=(1, 2, 3))).all())


NORMAL = np.array([True] * 8 + [False] * 4)


def test_data_dropout_takes_another_share_of_the_normal_each_epoch():
    dropout = Dropout(NORMAL, 0.25)
    epochs = [list(training_sampler(12, None, seed, dropout)) for seed in range(40)]
    assert all(len(epoch) == len(set(epoch)) == 6 for epoch in epochs)  # two normal, all others
    assert all({8, 9, 10, 11} <= set(epoch) for epoch in epochs)
    seen = np.bincount(np.concatenate(epochs), minlength=12)
    assert seen[8:].tolist() == [40] * 4
    assert seen[:8].sum() == 80
    assert (seen[:8] > 2).all()  # each has its turn, one epoch in four
    assert list(training_sampler(12, None, 3, dropout)) == epochs[3]


def test_a_share_too_small_for_one_keeps_one():
    assert len(list(training_sampler(12, None, 0, Dropout(NORMAL, 0.01)))) == 5


def test_dropout_leaves_the_balance_of_drawing_by_weight():
    labels = np.stack([NORMAL, ~NORMAL], axis=1).astype(float)
    weights = sampling_weights(labels, "normal", normal=0)
    drawn = [
        row
        for seed in range(400)
        for row in training_sampler(12, weights, seed, Dropout(NORMAL, 0.25))
    ]
    assert len(drawn) == 2400
    assert np.mean(np.array(drawn) < 8) == pytest.approx(0.5, abs=0.04)
    one = list(training_sampler(12, weights, 0, Dropout(NORMAL, 0.25)))
    assert len({row for row in one if row < 8}) <= 2


def test_no_normal_study_is_no_dropout():
    dropout = Dropout(np.zeros(5, dtype=bool), 0.5)
    assert list(training_sampler(5, None, 1, dropout)) == list(training_sampler(5, None, 1))


class Pictures(torch.utils.data.Dataset):
    """Two studies of one pattern each, as ``StudyDataset`` gives them."""

    def __len__(self):
        return 2

    def __getitems__(self, rows):
        ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 16, 16)
        images = ramp.repeat(len(rows), 1, 1, 1, 1)
        views = torch.ones(len(rows), 1, dtype=torch.bool)
        return Batch(images, views, torch.tensor([[float(row)] for row in rows]), ["s"] * len(rows))


def test_a_repeated_study_is_another_crop_each_time():
    weights = np.array([1e-9, 1.0])  # the second one again and again
    data = StudyDataModule(Pictures(), Pictures(), 2, weights=weights, augment=Augment(seed=0))
    data.trainer = SimpleNamespace(training=True, current_epoch=0, global_rank=0, world_size=1)
    (batch,) = list(data.train_dataloader())
    assert batch.labels.tolist() == [[1.0], [1.0]]
    assert torch.equal(batch.images[0], batch.images[1])
    changed = data.on_after_batch_transfer(batch, 0).images
    assert not torch.allclose(changed[0], changed[1], atol=0.01)
