"""Poolings of places, against values worked out by hand, and where floats would end."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from torch import nn

from cascade.models.encoders import Encoder, create_encoder
from cascade.models.heads import HEAD_OPTIONS, StudyClassifier
from cascade.models.pooling import (
    POOLINGS,
    GatedAttention,
    create_pooling,
    log1mexp,
    log_sum_exp,
    max_score,
    noisy_or,
)

ONE_VIEW = torch.ones(1, 1, dtype=torch.bool)
SCORES = ["max", "lse", "noisy_or"]


def classifier(pooling, channels=1, labels=2, **options):
    """Labels whose scores are the first channel and twice its negative, of pictures as they are."""
    encoder = Encoder([nn.Identity()], channels, rgb=False, mean=[0.0], std=[1.0])
    torch.manual_seed(0)
    model = StudyClassifier(encoder, labels, pooling=pooling, **options).eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.weight[:, 0] = torch.tensor([1.0, -2.0])
        model.head.bias.copy_(torch.tensor([0.0, 1.0]))
    return model


def picture(*values):
    return torch.tensor(values).view(1, 1, 1, 1, len(values))


def test_the_highest_place_speaks_for_each_label_apart():
    output = classifier("max").forward_all(picture(0.0, 3.0, 1.0), ONE_VIEW)
    assert output.logits.tolist() == [[3.0, 1.0]]  # of the second place, and of the first
    assert output.evidence[0, 0, :, 0].tolist() == [[0.0, 3.0, 1.0], [1.0, -5.0, -1.0]]
    assert output.features.tolist() == [[pytest.approx(4 / 3)]]  # the mean, for decoders


def test_log_sum_exp_by_hand():
    output = classifier("lse", lse_r=2.0).forward_all(picture(0.0, math.log(3) / 2), ONE_VIEW)
    assert output.logits[0, 0].item() == pytest.approx(math.log(2) / 2)  # mean of exp(0), exp(ln 3)


def test_log_sum_exp_goes_from_the_mean_to_the_maximum():
    scores = torch.tensor([[[0.0, 2.0, 4.0]]])
    assert log_sum_exp(scores, 1e-3).item() == pytest.approx(2.0, abs=0.01)
    assert log_sum_exp(scores, 1e3).item() == pytest.approx(4.0, abs=0.01)
    assert log_sum_exp(scores + 1e4, 10.0).isfinite().all()
    with pytest.raises(AssertionError):  # not the same at 10
        torch.testing.assert_close(log_sum_exp(scores, 10.0), max_score(scores))


def test_noisy_or_by_hand():
    # Two places: their logits are lowered by log 2, to log 3 and 0: probabilities 3/4 and 1/2.
    scores = torch.tensor([[[math.log(6), math.log(2)]]])
    present = 1 - (1 / 4) * (1 / 2)
    assert noisy_or(scores).item() == pytest.approx(math.log(present / (1 - present)), rel=1e-6)


@pytest.mark.parametrize("level", [-100.0, -30.0, -9.0, -6.0, 0.0, 3.0, 40.0, 200.0])
def test_noisy_or_keeps_its_digits_where_probabilities_end(level):
    """Against the plain formula in 64 bits, or its limits where that ends too."""
    scores = torch.full((1, 1, 49), level, requires_grad=True)
    logit = noisy_or(scores)
    shifted = level - math.log(49)
    u = 49 * (math.log1p(math.exp(shifted)) if shifted < 30 else shifted)
    expected = math.log(math.expm1(u)) if u < 700 else u
    assert logit.item() == pytest.approx(expected, rel=2e-6, abs=2e-6)
    logit.sum().backward()
    assert bool(scores.grad.isfinite().all())
    # u' / (1 - exp(-u)): of places that are sure of absence each has its share of 1.
    slope = 49 / (1 + math.exp(-shifted)) / -math.expm1(-u)
    assert scores.grad.sum().item() == pytest.approx(slope, rel=1e-3)


def test_noisy_or_has_no_step_where_its_formulas_meet():
    levels = torch.linspace(-20.0, 5.0, 2001, dtype=torch.float64).view(-1, 1, 1)
    slopes = noisy_or(levels.expand(-1, 1, 7)).flatten().diff() / levels.flatten().diff()
    assert slopes.min() > 0.99
    assert slopes.diff().abs().max() < 0.025


def test_noisy_or_at_the_start_is_of_any_size():
    """A head of zeros says the same of 4 places and of 400: nearly 1 - 1 / e."""
    for places in (4, 49, 400):
        found = noisy_or(torch.zeros(1, 1, places)).sigmoid().item()
        assert found == pytest.approx(1 - math.exp(-1), abs=0.05)


def test_log1mexp():
    u = torch.tensor([1e-30, 1e-3, 0.5, 1.0, 50.0], dtype=torch.float64)
    expected = [math.log(-math.expm1(-value)) for value in u.tolist()]
    assert log1mexp(u).tolist() == pytest.approx(expected, rel=1e-12)


def test_attention_by_hand():
    model = classifier("gated_attention")
    attention = model.pooling.attention
    with torch.no_grad():  # scores tanh(ln 2 x) / 2 * 2: of 0 nothing, of atanh(..) its weight
        for layer in (attention.content, attention.gate, attention.score):
            for parameter in layer.parameters():
                parameter.zero_()
        attention.content.weight[0] = 1.0
        attention.score.weight[0, 0] = 2 * math.log(3) / math.tanh(1.0)  # gate: sigmoid(0) = 1/2
    output = model.forward_all(picture(0.0, 1.0), ONE_VIEW)  # weights 1/4 and 3/4
    assert output.features.tolist() == [[pytest.approx(0.75)]]
    assert output.logits[0].tolist() == pytest.approx([0.75, -0.5])
    assert output.evidence[0, 0, :, 0].tolist() == [
        pytest.approx([0.0, 0.75]),
        pytest.approx([0.0, -1.5]),
    ]


def test_attention_leaves_out_what_is_absent():
    torch.manual_seed(0)
    attention = GatedAttention(3, 4)
    vectors = torch.randn(2, 5, 3)
    present = torch.tensor([[True, False, True, True, False], [False, True, False, False, False]])
    weights = attention(vectors, present)
    assert (weights[~present] == 0).all()
    assert weights.sum(1).tolist() == pytest.approx([1.0, 1.0])
    alone = attention(vectors[:1, [0, 2, 3]])
    assert torch.allclose(weights[0, [0, 2, 3]], alone[0])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_one_place_gives_its_own_score(pooling):
    torch.manual_seed(1)
    model = StudyClassifier(create_encoder("tiny", width=4), 3, pooling=pooling).eval()
    features, logits, maps, _ = model.forward_all(
        torch.rand(2, 1, 1, 16, 16), ONE_VIEW.expand(2, 1)
    )
    assert maps.shape[-2:] == (1, 1)
    assert torch.allclose(logits, model.classify(features), atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_places_may_be_in_any_order(pooling):
    model = classifier(pooling)
    values = (0.5, -1.0, 2.0, 0.25)
    expected = model(picture(*values), ONE_VIEW)
    for order in itertools.permutations(values):
        assert torch.allclose(model(picture(*order), ONE_VIEW), expected, atol=1e-6)


@pytest.mark.parametrize("pooling", ["max", "gated_attention"])
@pytest.mark.parametrize("name", ["tiny", "convnext_tiny", "vit_b_16"])
def test_every_encoder_has_a_map_of_its_places(pooling, name):
    """ConvNeXt normalises the pooled vector, hence each place's; ViT's map is of tokens."""
    model = StudyClassifier(create_encoder(name), 3, pooling=pooling).eval()
    with torch.no_grad():
        output = model.forward_all(torch.rand(1, 1, 1, 64, 64), ONE_VIEW)
        places = model.encoder.places(output.maps[0])
    assert output.evidence.shape == (1, 1, 3, *output.maps.shape[-2:])
    alone = model.encoder.pool(output.maps[0, :, :, :1, :1])
    assert torch.allclose(places[:, 0], alone, atol=1e-5)
    if pooling == "max":
        assert torch.equal(output.evidence.amax(dim=(1, 3, 4)), output.logits)


def test_shares_of_attention_add_up_to_the_logit():
    torch.manual_seed(0)
    model = StudyClassifier(create_encoder("tiny"), 3, pooling="gated_attention").eval()
    output = model.forward_all(torch.rand(2, 1, 1, 64, 64), ONE_VIEW.expand(2, 1))
    found = output.evidence.sum(dim=(1, 3, 4)) + model.head.bias
    assert torch.allclose(found, output.logits, atol=1e-5)


@pytest.mark.parametrize("pooling", SCORES)
def test_dropout_drops_a_channel_in_all_places(pooling):
    torch.manual_seed(0)
    model = classifier(pooling, dropout=0.5)
    model.pooling.train()
    images = picture(1.0, 1.0, 1.0, 1.0).expand(64, 1, 1, 1, 4)
    evidence = model.forward_all(images, ONE_VIEW.expand(64, 1)).evidence[:, 0, 0, 0]
    assert set(evidence.flatten().tolist()) == {0.0, 2.0}
    assert (evidence == evidence[:, :1]).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_step_lowers_the_loss_and_reaches_the_encoder(pooling):
    torch.manual_seed(0)
    model = StudyClassifier(create_encoder("tiny", width=4), 2, pooling=pooling)
    images = torch.rand(4, 1, 1, 32, 32)
    loss = model(images, ONE_VIEW.expand(4, 1)).sigmoid().sum()
    loss.backward()
    assert all(
        parameter.grad is not None and bool(parameter.grad.isfinite().all())
        for parameter in model.parameters()
    )
    assert next(model.encoder.parameters()).grad.abs().max() > 0


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_classifier_can_be_copied_and_sent_to_a_process(pooling):
    model = StudyClassifier(create_encoder("tiny", width=4), 2, pooling=pooling).eval()
    images = torch.rand(1, 1, 1, 32, 32)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        assert torch.equal(other(images, ONE_VIEW), model(images, ONE_VIEW))


def test_half_precision_is_pooled_in_whole():
    model = classifier("noisy_or")
    with torch.autocast("cpu", torch.bfloat16):
        output = model.forward_all(picture(0.0, 3.0, 1.0), ONE_VIEW)
    assert output.logits.dtype == output.evidence.dtype == torch.float32


def test_an_unknown_pooling_lists_the_choices():
    with pytest.raises(ValueError, match="'avg', expected one of mean, max, lse, noisy_or, gated_"):
        create_pooling("avg", 1, 1.0, 1)


def test_settings_rebuild_the_classifier():
    given = {"pooling": "lse", "fusion": "max", "lse_r": 5.0, "attention": 16}
    assert tuple(given) == HEAD_OPTIONS
    assert (
        classifier("lse", **{k: v for k, v in given.items() if k != "pooling"}).resolved() == given
    )
