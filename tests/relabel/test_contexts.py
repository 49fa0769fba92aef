import numpy as np
import pytest
import torch

from cascade.models.decoders import create_decoder
from cascade.relabel.contexts import disease_texts, joint_contexts
from cascade.text.vocabulary import BOS, Vocabulary

TEXTS = ["opacity/left", "opacity/right/mild", "normal"]
VOCABULARY = Vocabulary.build(TEXTS, "annotation")


def decoder(cell="lstm"):
    torch.manual_seed(0)
    return create_decoder(cell, len(VOCABULARY), 5, embedding=4, hidden=6, layers=2).eval()


FEATURES = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def by_hand(network, features, text):
    """Word by word: the top layer's state after each of the words, averaged."""
    normalised = network.normalise(features.unsqueeze(0))
    state, states = network.start(normalised), []
    words = VOCABULARY.encode(text)[1:-1]
    _, state = network.step(normalised, torch.tensor([BOS]), state)  # not a word
    for word in words:
        _, state = network.step(normalised, torch.tensor([word]), state)
        states.append(state[0][-1, 0])
    return torch.stack(states).mean(dim=0).numpy()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_the_context_is_the_mean_state_over_the_words(cell, batch_size):
    network = decoder(cell)
    found = joint_contexts(network, VOCABULARY, FEATURES, TEXTS, batch_size)
    expected = [by_hand(network, f, t) for f, t in zip(FEATURES, TEXTS, strict=True)]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-6)


def test_image_and_words_both_count():
    network = decoder()
    texts = ["opacity/left", "opacity/left", "opacity/right"]
    contexts = joint_contexts(network, VOCABULARY, FEATURES[[0, 1, 0]], texts)
    assert abs(contexts[0] - contexts[1]).max() > 1e-4
    assert abs(contexts[0] - contexts[2]).max() > 1e-4


def test_nothing_gives_nothing():
    assert joint_contexts(decoder(), VOCABULARY, FEATURES[:0], []).shape == (0, 6)


def test_a_disease_has_its_own_words():
    assert disease_texts("opacity/left; lung/hypoinflation/mild; opacity/right") == {
        "opacity": "opacity/left; opacity/right",
        "lung/hypoinflation": "lung/hypoinflation/mild",
    }
    assert disease_texts("") == {}
