import pytest
import torch
from torch import nn

from cascade.models.encoders import Encoder
from cascade.models.heads import StudyClassifier, disease_probabilities, probabilities


class Identity(Encoder):
    """An encoder that gives the picture itself, one channel."""

    def __init__(self):
        super().__init__([nn.Identity()], 1, rgb=False)
        self.mean.zero_()
        self.std.fill_(1.0)


def classifier(labels=2):
    return StudyClassifier(Identity(), labels).eval()


def test_features_are_the_mean_over_the_views_that_are_there():
    images = torch.zeros(3, 2, 1, 2, 2)
    images[0, 0], images[0, 1] = 2.0, 4.0
    images[1, 0], images[1, 1] = 6.0, 99.0  # not there, whatever lies in its place
    images[2, 0], images[2, 1] = 99.0, 8.0
    views = torch.tensor([[True, True], [True, False], [False, True]])
    assert classifier().forward_all(images, views).features.tolist() == [[3.0], [6.0], [8.0]]


def test_a_picture_is_pooled_over_its_area():
    images = torch.tensor([0.0, 1.0, 2.0, 5.0]).view(1, 1, 1, 2, 2)
    found = classifier().forward_all(images, torch.ones(1, 1, dtype=torch.bool))
    assert found.features.tolist() == [[2.0]]
    assert found.evidence is None
    assert torch.equal(found.maps, images)


def test_logits_are_the_head_of_the_features():
    model = classifier()
    model.head.weight.data = torch.tensor([[1.0], [-2.0]])
    model.head.bias.data = torch.tensor([0.0, 1.0])
    images = torch.full((1, 1, 1, 2, 2), 3.0)
    logits = model(images, torch.ones(1, 1, dtype=torch.bool))
    assert logits.tolist() == [[3.0, -5.0]]
    assert torch.equal(model.classify(torch.tensor([[3.0]])), logits)


def test_a_new_head_keeps_the_encoder():
    model = classifier()
    encoder = model.encoder
    model.replace_head(5)
    assert model.encoder is encoder
    assert model.head.weight.shape == (5, 1)


def test_a_new_head_keeps_the_attention_of_places_and_views():
    model = StudyClassifier(Identity(), 2, pooling="gated_attention", fusion="attention")
    pooling, fusion = model.pooling, model.fusion
    model.replace_head(5, **model.resolved())
    assert model.pooling is pooling
    assert model.fusion is fusion
    model.replace_head(5, fusion="max")
    assert model.pooling is pooling
    assert not list(model.fusion.parameters())
    model.replace_head(4, pooling="lse", lse_r=3.0)
    assert not list(model.pooling.parameters())
    assert model.resolved() == {"pooling": "lse", "fusion": "max", "lse_r": 3.0, "attention": 128}
    with pytest.raises(ValueError, match="unknown pooling"):
        model.replace_head(4, pooling="avg")


def test_softmax_for_exclusive_labels_sigmoid_for_others():
    logits = torch.tensor([[0.0, torch.log(torch.tensor(3.0))]])
    assert probabilities(logits, True).tolist() == [pytest.approx([0.25, 0.75])]
    assert probabilities(logits, False).tolist() == [pytest.approx([0.5, 0.75])]


def test_contexts_merge_by_sum_or_by_the_largest():
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    owners = [0, 1, 0, 2]
    summed = disease_probabilities(scores, owners, 3, exclusive=True)
    assert torch.allclose(summed, torch.tensor([[0.4, 0.2, 0.4], [0.8, 0.1, 0.1]]))
    largest = disease_probabilities(scores, owners, 3, exclusive=False)
    assert torch.allclose(largest, torch.tensor([[0.3, 0.2, 0.4], [0.7, 0.1, 0.1]]))
