import itertools

import pytest
import torch

from cascade.models.decoders import create_decoder
from cascade.models.generation import generate
from cascade.text.vocabulary import BOS, EOS, PAD, UNK

WORDS = (4, 5, 6)  # a vocabulary of 7 ids, the four special ones included
FEATURES = torch.randn(4, 3, generator=torch.Generator().manual_seed(5)) * 2


def make(seed, cell="lstm"):
    """A decoder of strong opinions: random weights, enlarged."""
    torch.manual_seed(seed)
    decoder = create_decoder(cell, 7, 3, embedding=4, hidden=6)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3.0)
    return decoder.eval()


@torch.no_grad()
def log_probability(decoder, features, tokens, given=0):
    """Sum over the tokens and the end, the first ``given`` tokens being free of charge."""
    normalised = decoder.normalise(features.unsqueeze(0))
    state, last, total = decoder.start(normalised), BOS, 0.0
    for place, token in enumerate([*tokens, EOS]):
        logits, state = decoder.step(normalised, torch.tensor([last]), state)
        logits[:, [PAD, BOS, UNK]] = -torch.inf
        if place >= given:
            total += float(logits.log_softmax(dim=1)[0, token])
        last = token
    return total


def exhaustive(decoder, features, max_length, penalty=0.0, prefix=()):
    """The best of all drafts there are."""
    drafts = [
        (*prefix, *rest)
        for length in range(max_length - len(prefix) + 1)
        for rest in itertools.product(WORDS, repeat=length)
    ]
    scored = {d: log_probability(decoder, features, d, len(prefix)) for d in drafts}
    best = max(drafts, key=lambda d: scored[d] / (len(d) - len(prefix) + 1) ** penalty)
    return list(best), scored[best]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_best_of_all_drafts(seed, penalty):
    decoder = make(seed, "lstm" if seed % 2 else "gru")
    # 1 + 3 + 9 + 27 = 40 drafts of at most three words: a beam of 64 drops none
    found = generate(decoder, FEATURES, 3, width=64, length_penalty=penalty)
    for row, features in enumerate(FEATURES):
        tokens, score = exhaustive(decoder, features, 3, penalty)
        assert found.tokens[row] == tokens
        assert found.log_probabilities[row].item() == pytest.approx(score, abs=1e-4)
        assert found.lengths[row].item() == len(tokens) + 1  # the end counts


def test_the_penalty_prefers_longer_drafts():
    lengths = [
        sum(map(len, generate(make(seed), FEATURES, 3, width=64, length_penalty=p).tokens))
        for p in (0.0, 2.0)
        for seed in range(4)
    ]
    assert sum(lengths[:4]) < sum(lengths[4:])


@torch.no_grad()
def greedy(decoder, features, max_length):
    normalised = decoder.normalise(features.unsqueeze(0))
    state, last, tokens = decoder.start(normalised), BOS, []
    while len(tokens) < max_length:
        logits, state = decoder.step(normalised, torch.tensor([last]), state)
        last = max((EOS, *WORDS), key=lambda token: float(logits[0, token]))
        if last == EOS:
            break
        tokens.append(last)
    return tokens


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_of_one_is_greedy(seed):
    decoder = make(seed)
    found = generate(decoder, FEATURES, 5)
    assert found.tokens == [greedy(decoder, features, 5) for features in FEATURES]


@pytest.mark.parametrize("width", [1, 3])
def test_a_wider_beam_is_never_less_likely_than_its_own_score_says(width):
    decoder = make(7)
    found = generate(decoder, FEATURES, 4, width=width)
    for row, features in enumerate(FEATURES):
        expected = log_probability(decoder, features, found.tokens[row])
        assert found.log_probabilities[row].item() == pytest.approx(expected, abs=1e-4)
        mean = expected / (len(found.tokens[row]) + 1)
        assert found.confidences[row].log().item() == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("width", [1, 64])
def test_prefixes_are_obeyed_and_not_counted(width):
    decoder = make(2)
    prefixes = [[6], [4, 5], [], [5, 5, 5]]
    found = generate(decoder, FEATURES, 3, width=width, prefixes=prefixes)
    for row, prefix in enumerate(prefixes):
        tokens = found.tokens[row]
        assert tokens[: len(prefix)] == prefix
        assert found.lengths[row].item() == len(tokens) - len(prefix) + 1
        expected = log_probability(decoder, FEATURES[row], tokens, len(prefix))
        assert found.log_probabilities[row].item() == pytest.approx(expected, abs=1e-4)
        if width == 64:
            assert tokens == exhaustive(decoder, FEATURES[row], 3, prefix=prefix)[0]


def test_a_prefix_longer_than_the_draft_is_cut():
    found = generate(make(2), FEATURES[:1], 2, width=3, prefixes=[[4, 5, 6, 4]])
    assert found.tokens == [[4, 5]]


@pytest.mark.parametrize("width", [1, 4])
def test_special_tokens_are_never_written(width):
    decoder = make(0)
    decoder.output.bias.data[[PAD, BOS, UNK]] = 100.0
    found = generate(decoder, FEATURES, 6, width=width)
    assert {token for row in found.tokens for token in row} <= set(WORDS)


@pytest.mark.parametrize("width", [1, 4])
def test_a_draft_that_will_not_end_is_cut(width):
    decoder = make(0)
    decoder.output.bias.data[EOS] = -100.0
    found = generate(decoder, FEATURES, 6, width=width)
    assert [len(tokens) for tokens in found.tokens] == [6] * 4


@pytest.mark.parametrize("width", [1, 4])
def test_rows_do_not_know_their_neighbours(width):
    decoder = make(3)
    prefixes = [[4], [], [5, 6], []]
    whole = generate(decoder, FEATURES, 6, width=width, prefixes=prefixes)
    for row in range(4):
        alone = generate(
            decoder, FEATURES[row : row + 1], 6, width=width, prefixes=prefixes[row : row + 1]
        )
        assert alone.tokens[0] == whole.tokens[row]
        assert alone.log_probabilities[0].item() == pytest.approx(
            whole.log_probabilities[row].item(), abs=1e-5
        )


@pytest.mark.parametrize(("width", "length"), [(0, 3), (1, 0)])
def test_width_and_length_are_at_least_1(width, length):
    with pytest.raises(ValueError, match=f"width={width}, max_length={length}"):
        generate(make(0), FEATURES, length, width=width)
