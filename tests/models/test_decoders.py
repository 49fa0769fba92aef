import itertools
import math

import pytest
import torch

from cascade.models.decoders import create_decoder
from cascade.text.vocabulary import BOS, PAD

KINDS = list(itertools.product(["lstm", "gru"], [1, 2], [False, True]))


def make(cell, layers=1, inject=False, **kwargs):
    torch.manual_seed(0)
    decoder = create_decoder(
        cell, 9, 6, embedding=5, hidden=7, layers=layers, inject=inject, **kwargs
    )
    decoder.set_feature_statistics(torch.randn(20, 6) * 3 + 2)
    return decoder.eval()


FEATURES = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
TOKENS = torch.tensor([[BOS, 4, 5, 6, 8], [BOS, 7, 7, 4, PAD], [BOS, 8, 4, 5, 6]])


@torch.no_grad()
def stepped(decoder, features, tokens):
    normalised = decoder.normalise(features)
    state, out = decoder.start(normalised), []
    for position in range(tokens.shape[1]):
        logits, state = decoder.step(normalised, tokens[:, position], state)
        out.append(logits)
    return torch.stack(out, dim=1)


@pytest.mark.parametrize(("cell", "layers", "inject"), KINDS)
def test_steps_give_what_teacher_forcing_gives(cell, layers, inject):
    decoder = make(cell, layers, inject)
    with torch.no_grad():
        logits, states = decoder(FEATURES, TOKENS)
    assert logits.shape == (3, 5, 9)
    assert states.shape == (3, 5, 7)
    assert torch.allclose(stepped(decoder, FEATURES, TOKENS), logits, atol=1e-6)


@pytest.mark.parametrize(("cell", "layers", "inject"), KINDS)
def test_the_state_is_carried_from_word_to_word(cell, layers, inject):
    # Shin et al.'s release sampled from a fresh state at every word.
    decoder = make(cell, layers, inject)
    other = TOKENS.clone()
    other[:, 1] = 5
    first, second = (stepped(decoder, FEATURES, tokens) for tokens in (TOKENS, other))
    assert torch.equal(first[:, 0], second[:, 0])  # what follows cannot be known yet
    assert (first[:, 2] - second[:, 2]).abs().max() > 1e-4  # the same word, another past


@pytest.mark.parametrize(("cell", "layers", "inject"), KINDS)
def test_the_image_matters(cell, layers, inject):
    # Shin et al.'s release validated from a zero state.
    decoder = make(cell, layers, inject)
    with torch.no_grad():
        logits, _ = decoder(torch.stack([FEATURES[0], FEATURES[1]]), TOKENS[[0, 0]])
    assert (logits[0] - logits[1]).abs().amax(dim=1).min() > 1e-5


def test_forget_gates_start_at_1():
    decoder = make("lstm", layers=2)
    for layer in (0, 1):
        total = getattr(decoder.rnn, f"bias_ih_l{layer}") + getattr(
            decoder.rnn, f"bias_hh_l{layer}"
        )
        assert total[7:14].tolist() == [1.0] * 7  # gates are input, forget, cell, output
        assert (total[:7] != 1.0).all()


def test_the_features_set_every_part_of_the_first_state():
    lstm = make("lstm", layers=2).start(FEATURES)
    assert [part.shape for part in lstm] == [(2, 3, 7)] * 2
    assert [part.shape for part in make("gru", layers=2).start(FEATURES)] == [(2, 3, 7)]
    parts = [part[layer] for part in lstm for layer in (0, 1)]
    for one, other in itertools.combinations(parts, 2):
        assert not torch.equal(one, other)


def test_features_are_standardised_by_those_of_training():
    decoder = make("gru")
    decoder.set_feature_statistics(torch.tensor([[1.0] * 6, [5.0] * 6]))  # mean 3, deviation 2
    assert decoder.normalise(torch.full((1, 6), 7.0)).tolist() == [[2.0] * 6]


def test_one_training_study_has_no_deviation_and_no_nan():
    decoder = make("gru")
    decoder.set_feature_statistics(torch.ones(1, 6))
    assert decoder.normalise(torch.ones(1, 6)).tolist() == [[0.0] * 6]


def test_padding_has_no_vector():
    assert make("gru").embedding.weight[PAD].abs().sum() == 0


def test_unknown_names():
    with pytest.raises(ValueError, match=r"unknown decoder 'rnn', expected one of \['attention_"):
        create_decoder("rnn", 9, 6)
    with pytest.raises(
        ValueError, match="the decoder gru takes no heads: its options are .*inject"
    ):
        create_decoder("gru", 9, 6, heads=2)


@pytest.mark.parametrize(("cell", "parts"), [("lstm", 2), ("gru", 1)])
def test_by_pca_the_state_of_every_layer_is_the_leading_axes(cell, parts):
    """Two features, one axis: the standardised cloud lies along the diagonal."""
    decoder = create_decoder(cell, 9, 2, embedding=3, hidden=1, layers=3, project="pca").eval()
    features = torch.tensor([[1.0, 10.0], [3.0, 30.0], [5.0, 50.0]])
    decoder.set_feature_statistics(features)
    state = decoder.start(decoder.normalise(features))
    assert len(state) == parts
    z = math.sqrt(3 / 2)  # of three equal steps, in deviations
    for part in state:
        assert part.shape == (3, 3, 1)
        for layer in part:
            found = layer[:, 0] * layer[2, 0].sign()
            assert found.tolist() == pytest.approx([-z * math.sqrt(2), 0, z * math.sqrt(2)])
    assert not any("initial" in name for name, _ in decoder.named_parameters())


def test_by_pca_equal_sizes_are_taken_as_they_are_and_small_ones_filled_with_zeros():
    features = torch.tensor([[1.0, 10.0], [3.0, 20.0]])
    for hidden in (2, 4):
        decoder = create_decoder("gru", 9, 2, embedding=3, hidden=hidden, project="pca").eval()
        decoder.set_feature_statistics(features)
        (state,) = decoder.start(decoder.normalise(features))
        zeros = [0.0] * (hidden - 2)
        assert state[0].tolist() == [[-1.0, -1.0, *zeros], [1.0, 1.0, *zeros]]


def test_by_pca_few_studies_give_few_axes():
    decoder = create_decoder("gru", 9, 6, embedding=3, hidden=5, project="pca").eval()
    features = FEATURES[:2]
    decoder.set_feature_statistics(features)
    (state,) = decoder.start(decoder.normalise(features))
    assert (state[0, :, 2:] == 0).all()
    assert state.isfinite().all()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_by_pca_steps_give_what_teacher_forcing_gives(cell):
    decoder = make(cell, 2, project="pca")
    with torch.no_grad():
        logits, _ = decoder(FEATURES, TOKENS)
    torch.testing.assert_close(stepped(decoder, FEATURES, TOKENS), logits)
    other = create_decoder(cell, 9, 6, embedding=5, hidden=7, layers=2, project="pca").eval()
    other.load_state_dict(decoder.state_dict())
    assert torch.equal(other(FEATURES, TOKENS)[0], decoder(FEATURES, TOKENS)[0])


def test_a_projection_is_one_of_two():
    with pytest.raises(ValueError, match="decoder.project=svd, expected one of linear, pca"):
        create_decoder("gru", 9, 6, project="svd")
