import itertools

import pytest
import torch

from cascade.models.decoders import create_decoder
from cascade.models.generation import generate, generate_diverse, sample
from cascade.models.search import beam_search
from cascade.text.vocabulary import BOS, EOS, PAD, UNK

WORDS = (4, 5, 6)  # a vocabulary of 7 ids, the four special ones included
FEATURES = torch.randn(4, 3, generator=torch.Generator().manual_seed(5)) * 2


def make(seed, cell="lstm"):
    """A decoder of strong opinions: random weights, enlarged."""
    torch.manual_seed(seed)
    decoder = create_decoder(cell, 7, 3, embedding=4, hidden=6)
    if cell == "hierarchical_lstm":
        decoder.sentence_ends[5] = True
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


def repeats(tokens, size):
    """Whether a sequence of ``size`` tokens stands twice in a text."""
    grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return len(set(grams)) < len(grams)


def exhaustive(decoder, features, max_length, penalty=0.0, prefix=(), no_repeat=0):
    """The best of all drafts there are."""
    drafts = [
        (*prefix, *rest)
        for length in range(max_length - len(prefix) + 1)
        for rest in itertools.product(WORDS, repeat=length)
    ]
    drafts = [d for d in drafts if not no_repeat or not repeats(d, no_repeat)]
    scored = {d: log_probability(decoder, features, d, len(prefix)) for d in drafts}
    best = max(drafts, key=lambda d: scored[d] / (len(d) - len(prefix) + 1) ** penalty)
    return list(best), scored[best]


CELLS = ("gru", "lstm", "gru", "lstm", "hierarchical_lstm", "hierarchical_lstm")


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_finds_the_best_of_all_drafts(seed, penalty):
    decoder = make(seed, CELLS[seed])
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


@torch.no_grad()
@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.5, -0.5])
@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("seed", range(6))
def test_a_beam_stopped_where_nothing_can_overtake_gives_the_draft_of_a_whole_one(
    seed, width, penalty
):
    """Prefixes, and words that may not come twice, are minded too."""
    decoder = make(seed, CELLS[seed])
    features = torch.randn(20, 3, generator=torch.Generator().manual_seed(seed)) * 2
    prefixes = [[], [4], [5, 6, 4], []] * 5
    found = generate(decoder, features, 9, width, penalty, prefixes, no_repeat=2)
    drafts = beam_search(decoder, features, 9, width, penalty, prefixes, no_repeat=2)
    whole = drafts.pick(drafts.ranking[:, 0, 0])
    assert found.tokens == whole.tokens
    torch.testing.assert_close(found.log_probabilities, whole.log_probabilities)
    assert found.lengths.tolist() == whole.lengths.tolist()


@pytest.mark.parametrize(("width", "length"), [(0, 3), (1, 0)])
def test_width_and_length_are_at_least_1(width, length):
    with pytest.raises(ValueError, match=f"width={width}, max_length={length}"):
        generate(make(0), FEATURES, length, width=width)


@pytest.mark.parametrize("no_repeat", [1, 2])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_best_of_the_drafts_without_repetition(seed, penalty, no_repeat):
    decoder = make(seed, "lstm" if seed % 2 else "gru")
    # 1 + 3 + 9 + 27 + 81 = 121 drafts of at most four words
    found = generate(decoder, FEATURES, 4, 128, penalty, no_repeat=no_repeat)
    for row, features in enumerate(FEATURES):
        tokens, score = exhaustive(decoder, features, 4, penalty, no_repeat=no_repeat)
        assert found.tokens[row] == tokens
        assert found.log_probabilities[row].item() == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("no_repeat", [1, 2, 3])
def test_no_sequence_is_written_twice(no_repeat, width):
    decoder = make(0)
    decoder.output.bias.data[EOS] = -100.0
    decoder.output.bias.data[5] = 20.0
    free = generate(decoder, FEATURES, 9, width).tokens
    assert all(repeats(tokens, no_repeat) for tokens in free)
    found = generate(decoder, FEATURES, 9, width, no_repeat=no_repeat)
    assert not any(repeats(tokens, no_repeat) for tokens in found.tokens)
    if no_repeat == 1:  # where nothing is left, the end
        assert [sorted(tokens) for tokens in found.tokens] == [[4, 5, 6]] * 4


def test_a_prefix_may_repeat_itself_and_counts_as_written():
    decoder = make(0)
    decoder.output.bias.data[EOS] = -100.0
    found = generate(decoder, FEATURES[:1], 4, 2, prefixes=[[4, 4]], no_repeat=1)
    assert found.tokens[0][:2] == [4, 4]
    assert sorted(found.tokens[0][2:]) == [5, 6]


def by_word(decoder, features, tokens, given=0):
    """Log probability of each token and the end."""
    whole = [log_probability(decoder, features, tokens, given)]
    normalised = decoder.normalise(features.unsqueeze(0))
    state, last, out = decoder.start(normalised), BOS, []
    with torch.no_grad():
        for place, token in enumerate([*tokens, EOS]):
            logits, state = decoder.step(normalised, torch.tensor([last]), state)
            logits[:, [PAD, BOS, UNK]] = -torch.inf
            out.append(float(logits.log_softmax(dim=1)[0, token]) if place >= given else 0.0)
            last = token
    assert sum(out) == pytest.approx(whole[0], abs=1e-4)
    return out


@pytest.mark.parametrize("width", [1, 5])
def test_each_word_keeps_its_own_probability(width):
    decoder = make(2)
    prefixes = [[6], [4, 5], [], []]
    found = generate(decoder, FEATURES, 4, width, prefixes=prefixes, no_repeat=2)
    for row, features in enumerate(FEATURES):
        expected = by_word(decoder, features, found.tokens[row], len(prefixes[row]))
        assert found.words[row] == pytest.approx(expected, abs=1e-4)
    assert found.attention is None  # an LSTM over a pooled vector looks nowhere


def test_the_first_of_diverse_drafts_is_that_of_plain_beam_search():
    decoder = make(1)
    plain = generate(decoder, FEATURES, 4, 3, 0.5)
    diverse = generate_diverse(decoder, FEATURES, 4, 3, 3, 0.5)
    for row, drafts in enumerate(diverse):
        assert drafts.tokens[0] == plain.tokens[row]
        assert drafts.log_probabilities[0] == plain.log_probabilities[row]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("diversity", [0.0, 2.0])
def test_diverse_drafts_are_distinct_and_say_their_own_probability(seed, diversity):
    decoder = make(seed)
    for row, drafts in enumerate(
        generate_diverse(decoder, FEATURES, 4, 4, 3, diversity=diversity, no_repeat=2)
    ):
        texts = [tuple(tokens) for tokens in drafts.tokens]
        assert len(set(texts)) == len(texts)
        assert len(texts) == 3 if diversity == 0 else len(texts) >= 3  # three beams of one group
        for at, tokens in enumerate(texts):
            expected = by_word(decoder, FEATURES[row], tokens)
            assert drafts.words[at] == pytest.approx(expected, abs=1e-4)
            assert drafts.log_probabilities[at].item() == pytest.approx(sum(expected), abs=1e-4)
            assert not repeats(tokens, 2)


def test_a_later_group_shuns_what_the_ones_before_it_chose():
    decoder = make(3)
    decoder.output.bias.data[EOS] = -100.0
    drafts = generate_diverse(decoder, FEATURES, 3, 3, diversity=1000.0)
    for found in drafts:  # three groups, three words: each place has all of them
        assert [sorted(column) for column in zip(*found.tokens, strict=True)] == [[4, 5, 6]] * 3


def test_draws_follow_the_probabilities():
    decoder = make(4)
    features = FEATURES[:1]
    counts = {}
    for seed in range(3000):
        (drawn,) = sample(decoder, features, 1, seed=seed)
        counts[tuple(drawn.tokens[0])] = counts.get(tuple(drawn.tokens[0]), 0) + 1
    with torch.no_grad():
        normalised = decoder.normalise(features)
        start = decoder.start(normalised)
        logits, _ = decoder.step(normalised, torch.tensor([BOS]), start)
        logits[:, [PAD, BOS, UNK]] = -torch.inf
        expected = logits.softmax(dim=1)[0]
    for token in (EOS, *WORDS):
        share = counts.get(() if token == EOS else (token,), 0) / 3000
        assert share == pytest.approx(expected[token].item(), abs=0.03)


def test_draws_are_repeatable_and_do_not_know_their_neighbours():
    decoder = make(3)
    whole = sample(decoder, FEATURES, 6, count=5, seed=7)
    again = sample(decoder, FEATURES, 6, count=5, seed=7)
    other = sample(decoder, FEATURES, 6, count=5, seed=8)
    assert [found.tokens for found in whole] == [found.tokens for found in again]
    assert [found.tokens for found in whole] != [found.tokens for found in other]
    for row in range(4):
        (alone,) = sample(decoder, FEATURES[row : row + 1], 6, count=5, seed=7)
        assert alone.tokens == whole[row].tokens


def test_draws_are_distinct_sorted_and_say_the_decoders_own_probability():
    decoder = make(5)
    prefixes = [[6], [], [4, 5], []]
    drawn = sample(decoder, FEATURES, 4, 20, 1.7, 0.9, 1, prefixes, no_repeat=2)
    for row, found in enumerate(drawn):
        texts = [tuple(tokens) for tokens in found.tokens]
        assert len(set(texts)) == len(texts)
        assert found.log_probabilities.tolist() == sorted(
            found.log_probabilities.tolist(), reverse=True
        )
        for at, tokens in enumerate(texts):
            given = len(prefixes[row])
            assert list(tokens[:given]) == prefixes[row]
            assert not repeats(tokens, 2)
            expected = by_word(decoder, FEATURES[row], tokens, given)
            assert found.words[at] == pytest.approx(expected, abs=1e-4)
            assert found.lengths[at].item() == len(tokens) - given + 1


@pytest.mark.parametrize("options", [{"temperature": 1e-4}, {"top_p": 1e-6}])
def test_cold_or_narrow_draws_are_greedy(options):
    decoder = make(6)
    drawn = sample(decoder, FEATURES, 5, **options)
    assert [found.tokens[0] for found in drawn] == generate(decoder, FEATURES, 5).tokens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count=0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.5}, "top_p=1.5"),
    ],
)
def test_draws_need_sense(options, message):
    with pytest.raises(ValueError, match=message):
        sample(make(0), FEATURES, 3, **options)


def test_at_least_one_diverse_draft():
    with pytest.raises(ValueError, match="count=0"):
        generate_diverse(make(0), FEATURES, 3, 0)
