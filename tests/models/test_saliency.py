"""Saliency of a network whose maps are known: two channels, a mean and a linear head."""

import pytest
import torch
from torch import nn

from cascade.models.encoders import Encoder, create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.saliency import class_activation, evidence_map, grad_cam, saliency_map


class LeftAndRight(nn.Module):
    """Two channels: the image's left half, and its right half."""

    def forward(self, images):
        left, right = images.clone(), images.clone()
        left[..., images.shape[-1] // 2 :] = 0
        right[..., : images.shape[-1] // 2] = 0
        return torch.cat([left, right], dim=1)


def halves(pool=2, pooling="mean"):
    """Labels: "left" (raised by the left half), "right", and one that both lower."""
    stages = [LeftAndRight(), nn.AvgPool2d(pool)]
    encoder = Encoder(stages, 2, rgb=False, mean=[0.0], std=[1.0])
    classifier = StudyClassifier(encoder, 3, pooling=pooling).eval()
    with torch.no_grad():
        classifier.head.weight.copy_(torch.tensor([[2.0, -1.0], [0.0, 1.0], [-1.0, -1.0]]))
        classifier.head.bias.zero_()
    return classifier


def test_weights_are_mean_gradients_and_what_lowers_the_score_is_cut():
    maps = torch.tensor([[[[1.0, 2.0]], [[4.0, 1.0]]]])
    gradients = torch.tensor([[[[0.0, 2.0]], [[-0.5, -0.5]]]])  # means 1 and -0.5
    assert class_activation(maps, gradients).tolist() == [[[0.0, 1.5]]]


def test_a_linear_network_gives_its_known_map():
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, :2, :2] = 1.0  # upper left; left is worth 2 for label 0
    image[0, 0, 2:, :2] = 0.5
    image[0, 0, :, 2:] = 1.0  # the right half lowers it
    # Without enlargement the map is the feature map's: (2, 2), 2 * [[1, .5]] over the maximum.
    found = grad_cam(halves(pool=1), image, 0)
    assert found.shape == (1, 4, 4)
    assert found[0].tolist() == [
        [1.0, 1.0, 0.0, 0.0],
        [1.0, 1.0, 0.0, 0.0],
        [0.5, 0.5, 0.0, 0.0],
        [0.5, 0.5, 0.0, 0.0],
    ]
    right = grad_cam(halves(pool=1), image, 1)[0]
    assert right[:, :2].max() == 0
    assert right[:, 2:].min() == 1


def test_a_coarse_map_is_enlarged_to_the_image():
    image = torch.zeros(1, 1, 8, 8)
    image[..., :4] = 1.0
    found = grad_cam(halves(pool=4), image, 0)[0]
    assert found.shape == (8, 8)
    assert found[:, 0].min() == 1
    assert found[:, 7].max() == 0
    assert (found.diff(dim=1) <= 0).all()


def test_nothing_raises_the_score():
    assert grad_cam(halves(), torch.ones(1, 1, 4, 4), 2).max() == 0


def test_views_share_one_scale():
    images = torch.zeros(2, 1, 4, 4)
    images[0, 0, :, :2], images[1, 0, :, :2] = 1.0, 0.25
    found = grad_cam(halves(pool=1), images, 0)
    assert found.amax(dim=(1, 2)).tolist() == [1.0, 0.25]


def test_a_single_place_has_no_map():
    assert grad_cam(halves(pool=4), torch.ones(1, 1, 4, 4), 0) is None


@pytest.mark.parametrize("name", ["tiny", "nin"])
def test_of_a_real_encoder_nothing_is_left_behind(name):
    classifier = StudyClassifier(create_encoder(name), 3).eval()
    with torch.no_grad():  # as whoever reads studies in bulk calls it
        found = grad_cam(classifier, torch.rand(2, 1, 96, 96), 1)
    assert found.shape == (2, 96, 96)
    assert 0 <= found.min() <= found.max() <= 1
    assert all(p.grad is None for p in classifier.parameters())


def test_a_head_that_scores_places_shows_what_stands_above_their_mean():
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, :2, :2] = 1.0  # worth 2 for label 0
    image[0, 0, 2:, :2] = 0.75  # worth 1.5
    image[0, 0, :, 2:] = 1.0  # worth -1; the mean of the four quarters is .375
    found = evidence_map(halves(pool=2, pooling="max"), image, 0)
    assert found.shape == (1, 4, 4)
    corners = found[0, [0, 3, 0, 3], [0, 0, 3, 3]].tolist()
    assert corners == pytest.approx([1.0, (1.5 - 0.375) / (2.0 - 0.375), 0.0, 0.0])


def test_maps_of_the_head_share_one_scale_over_the_views():
    images = torch.zeros(2, 1, 4, 4)
    images[0, 0, :, :2], images[1, 0, :, :2] = 1.0, 0.5  # worth 2 and 1; the mean .75
    found = evidence_map(halves(pool=1, pooling="max"), images, 0)
    assert found.amax(dim=(1, 2)).tolist() == pytest.approx([1.0, 0.2])


@pytest.mark.parametrize("pooling", ["max", "lse", "noisy_or", "gated_attention"])
def test_the_map_of_the_head_is_preferred(pooling):
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    classifier = halves(pooling=pooling)
    assert torch.equal(saliency_map(classifier, image, 0), evidence_map(classifier, image, 0))
    assert grad_cam(classifier, image, 0).shape == (1, 8, 8)  # which any head can be asked for


def test_a_mean_has_no_map_of_its_own():
    image = torch.rand(1, 1, 8, 8)
    assert evidence_map(halves(), image, 0) is None
    assert torch.equal(saliency_map(halves(), image, 0), grad_cam(halves(), image, 0))


def test_places_that_say_the_same_and_a_single_place():
    classifier = halves(pool=1, pooling="max")
    assert evidence_map(classifier, torch.zeros(1, 1, 4, 4), 0).max() == 0
    assert saliency_map(halves(pool=4, pooling="max"), torch.ones(1, 1, 4, 4), 0) is None


def test_a_map_is_zero_where_the_encoder_does_not_look():
    classifier = halves(pool=1)
    classifier.encoder.crop = 4
    image = torch.ones(1, 1, 6, 8)
    found = grad_cam(classifier, image, 0)[0]
    assert found.shape == (6, 8)
    # The window is rows 1 to 4, columns 2 to 5; its left half speaks for label 0.
    assert found[1:5, 2:4].min() == 1
    found[1:5, 2:4] = 0
    assert found.max() == 0
