"""Views of a study: any of them may be absent, and their order says nothing."""

import itertools

import pytest
import torch
from torch import nn

from cascade.models.encoders import Encoder
from cascade.models.fusion import FUSIONS, create_fusion, spread
from cascade.models.heads import StudyClassifier
from cascade.models.pooling import POOLINGS

EACH = [(p, f) for p in POOLINGS for f in FUSIONS]


class TwoChannels(nn.Module):
    def forward(self, images):
        return torch.cat([images, images.square()], dim=1)


def classifier(pooling="mean", fusion="mean"):
    encoder = Encoder([TwoChannels()], 2, rgb=False, mean=[0.0], std=[1.0])
    torch.manual_seed(3)
    return StudyClassifier(encoder, 3, pooling=pooling, fusion=fusion, attention=4).eval()


def test_values_are_put_where_the_views_are():
    views = torch.tensor([[True, False], [False, True]])
    placed = spread(torch.tensor([[1.0], [2.0]]), views, -5.0)
    assert placed.tolist() == [[[1.0], [-5.0]], [[-5.0], [2.0]]]
    whole = spread(torch.tensor([1.0, 2.0]), torch.ones(1, 2, dtype=torch.bool), 0.0)
    assert whole.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(("name", "expected"), [("mean", [[2.0, 1.0]]), ("max", [[3.0, 4.0]])])
def test_fusions_by_hand(name, expected):
    values = torch.tensor([[1.0, 4.0], [3.0, -2.0]])
    views = torch.tensor([[True, False, True]])
    features, logits = create_fusion(name, 2, 1)(values, values, views)
    assert features.tolist() == logits.tolist() == expected


def test_attention_by_hand():
    """A third view is absent; the first has three times the weight of the second."""
    fusion = create_fusion("attention", 1, 1)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.zero_()
        fusion.attention.content.weight.fill_(1.0)
        fusion.attention.score.weight.fill_(
            2 * torch.log(torch.tensor(3.0)) / torch.tanh(torch.tensor(1.0))
        )
    views = torch.tensor([[True, True, False]])
    features, logits = fusion(torch.tensor([[1.0], [0.0]]), torch.tensor([[8.0], [4.0]]), views)
    assert features.tolist() == [[pytest.approx(0.75)]]
    assert logits.tolist() == [[pytest.approx(7.0)]]  # weighed by the features too


def test_scores_are_fused_where_scores_are_pooled_and_vectors_elsewhere():
    """MRNet takes the maximum of vectors; a maximum over places takes that of scores."""
    images = torch.tensor([1.0, -3.0]).view(1, 2, 1, 1, 1)
    views = torch.ones(1, 2, dtype=torch.bool)
    for pooling, expected in (("mean", 1.0 - 9.0), ("max", max(1.0 - 1.0, -3.0 - 9.0))):
        model = classifier(pooling, "max")
        with torch.no_grad():
            model.head.weight.copy_(torch.tensor([[1.0, -1.0]]).expand(3, 2))
            model.head.bias.zero_()
        output = model.forward_all(images, views)
        assert output.logits[0].tolist() == [expected] * 3
        assert output.features.tolist() == [[1.0, 9.0]]


@pytest.mark.parametrize(("pooling", "fusion"), EACH)
def test_the_order_of_the_views_says_nothing(pooling, fusion):
    model = classifier(pooling, fusion)
    images = torch.randn(1, 3, 1, 3, 3)
    views = torch.tensor([[True, True, False]])
    expected = model.forward_all(images, views)
    for order in itertools.permutations(range(3)):
        found = model.forward_all(images[:, list(order)], views[:, list(order)])
        assert torch.allclose(found.logits, expected.logits, atol=1e-6)
        assert torch.allclose(found.features, expected.features, atol=1e-6)


@pytest.mark.parametrize(("pooling", "fusion"), EACH)
def test_one_view_is_read_as_if_there_were_no_other_place(pooling, fusion):
    """Whatever lies in the places of the absent ones."""
    model = classifier(pooling, fusion)
    images = torch.randn(2, 3, 1, 3, 3)
    views = torch.tensor([[False, True, False], [True, False, False]])
    images[0, 0] = torch.nan
    alone = model.forward_all(images[views].unsqueeze(1), torch.ones(2, 1, dtype=torch.bool))
    found = model.forward_all(images, views)
    if fusion == "attention":
        assert torch.allclose(found.logits, alone.logits, atol=1e-6)
    else:
        assert torch.equal(found.logits, alone.logits)
        assert torch.equal(found.features, alone.features)


@pytest.mark.parametrize(("pooling", "fusion"), EACH)
def test_one_view_is_not_changed_by_the_kind_of_fusion(pooling, fusion):
    images, views = torch.randn(2, 1, 1, 3, 3), torch.ones(2, 1, dtype=torch.bool)
    other = classifier(pooling, fusion)
    other.load_state_dict(classifier(pooling).state_dict(), strict=False)
    expected = classifier(pooling)(images, views)
    assert torch.allclose(other(images, views), expected, atol=1e-6)


@pytest.mark.parametrize(("pooling", "fusion"), EACH)
def test_studies_of_different_views_stand_in_one_batch(pooling, fusion):
    """Each as it is alone; maps are NaN where there is no view."""
    model = classifier(pooling, fusion)
    images = torch.randn(3, 2, 1, 3, 3)
    views = torch.tensor([[True, True], [False, True], [True, False]])
    output = model.forward_all(images, views)
    for row in range(3):
        alone = model(images[row : row + 1], views[row : row + 1])
        assert torch.allclose(output.logits[row : row + 1], alone, atol=1e-6)
    assert torch.equal(output.logits, model(images, views))
    for maps in (output.maps, output.evidence):
        if maps is not None:
            assert torch.equal(~maps.isnan().all(dim=(2, 3, 4)), views)
            assert torch.equal(~maps.isnan().any(dim=(2, 3, 4)), views)


@pytest.mark.parametrize(("pooling", "fusion"), EACH)
def test_absent_views_leave_gradients_finite(pooling, fusion):
    model = classifier(pooling, fusion).train()
    views = torch.tensor([[True, True], [False, True]])
    model(torch.randn(2, 2, 1, 3, 3), views).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


def test_an_unknown_fusion_lists_the_choices():
    with pytest.raises(ValueError, match="'sum', expected one of mean, max, attention"):
        create_fusion("sum", 1, 1)
