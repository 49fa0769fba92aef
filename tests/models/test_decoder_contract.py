"""What every decoder promises, by name; those that look at a map, and what only they promise."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from cascade.models.decoders import DECODERS, create_decoder
from cascade.models.generation import generate, generate_diverse
from cascade.relabel.contexts import joint_contexts
from cascade.text.vocabulary import BOS, EOS, PAD, Vocabulary

SMALL = {
    "lstm": {"embedding": 5, "hidden": 8, "layers": 2},
    "gru": {"embedding": 5, "hidden": 8, "inject": True},
    "attention_lstm": {"embedding": 5, "hidden": 8, "layers": 2, "attention": 6},
    "hierarchical_lstm": {"embedding": 5, "hidden": 8, "layers": 2, "sentence": 7},
    "transformer": {"hidden": 8, "layers": 2, "heads": 2, "positions": 12},
    "gpt2": {"hidden": 8, "layers": 2, "heads": 2, "positions": 12, "dropout": 0.0},
}
MAPS = [name for name in SMALL if create_decoder(name, 9, 6).input == "map"]
EACH = pytest.mark.parametrize("name", SMALL)
EACH_MAP = pytest.mark.parametrize("name", MAPS)
LOOKING = pytest.mark.parametrize("name", ["attention_lstm", "transformer"])  # and show where
SHAPE = (3, 1, 6, 2, 3)  # three studies of one view, six channels, 2 x 3 places
TOKENS = torch.tensor([[BOS, 4, 5, 6, 8], [BOS, 7, 7, 4, PAD], [BOS, 8, 4, 5, 6]])


def features_of(decoder, seed=1, shape=SHAPE):
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3 + 2
    return drawn if decoder.input == "map" else drawn[:, 0].mean(dim=(2, 3))


def make(name, vocab_size=9, strong=3.0, **changes):
    torch.manual_seed(0)
    decoder = create_decoder(name, vocab_size, 6, **{**SMALL[name], **changes})
    decoder.set_feature_statistics(features_of(decoder, 9, (20, *SHAPE[1:])))
    if name == "hierarchical_lstm":
        decoder.sentence_ends[8 if vocab_size > 8 else -1] = True
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(strong)  # of strong opinions
    return decoder.eval()


@torch.no_grad()
def stepped(decoder, features, tokens):
    normalised = decoder.normalise(features)
    state, out = decoder.start(normalised), []
    for position in range(tokens.shape[1]):
        logits, state = decoder.step(normalised, tokens[:, position], state)
        out.append((logits, decoder.attention_of(state)))
    return out


def test_each_name_is_tried_here():
    assert set(SMALL) == set(DECODERS)


@EACH
def test_steps_give_what_teacher_forcing_gives(name):
    decoder = make(name)
    features = features_of(decoder)
    with torch.no_grad():
        taught = decoder.teach(features, TOKENS)
        logits, states = decoder(features, TOKENS)
    assert torch.equal(logits, taught.logits)
    assert logits.shape == (3, 5, 9)
    assert states.shape == (3, 5, decoder.hidden)
    out = stepped(decoder, features, TOKENS)
    torch.testing.assert_close(
        torch.stack([one for one, _ in out], 1), logits, atol=2e-5, rtol=1e-4
    )
    if taught.attention is not None:
        looked = torch.stack([attention for _, attention in out], dim=1)
        torch.testing.assert_close(looked, taught.attention, atol=1e-5, rtol=1e-4)


@EACH
def test_what_stands_after_a_word_changes_nothing_before_it(name):
    decoder = make(name)
    features = features_of(decoder)
    other = TOKENS.clone()
    other[:, 3:] = 5
    with torch.no_grad():
        (first, before), (second, after) = decoder(features, TOKENS), decoder(features, other)
    torch.testing.assert_close(first[:, :3], second[:, :3])
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert (first[:, 3] - second[:, 3]).abs().max() > 1e-4


@EACH
def test_the_past_and_the_image_matter(name):
    decoder = make(name)
    features = features_of(decoder)
    other = TOKENS.clone()
    other[:, 1] = 5 + (TOKENS[:, 1] == 5).long()
    with torch.no_grad():
        logits, _ = decoder(features, TOKENS)
        past, _ = decoder(features, other)
        image, _ = decoder(features[[1, 2, 0]], TOKENS)
    assert (logits[:, 2] - past[:, 2]).abs().amax(dim=1).min() > 1e-4  # the same word, another past
    assert (logits - image).abs().amax(dim=2).min() > 1e-5


@EACH
def test_a_step_leaves_the_state_that_it_was_given(name):
    decoder = make(name)
    features = features_of(decoder)
    normalised = decoder.normalise(features)
    with torch.no_grad():
        _, state = decoder.step(normalised, TOKENS[:, 0], decoder.start(normalised))
        copies = [part.clone() for part in state]
        first, _ = decoder.step(normalised, TOKENS[:, 1], state)
        again, _ = decoder.step(normalised, TOKENS[:, 1], state)
    assert torch.equal(first, again)
    assert all(torch.equal(part, copy) for part, copy in zip(state, copies, strict=True))


@EACH
def test_a_reordered_state_is_that_of_other_rows(name):
    decoder = make(name)
    features = features_of(decoder)[[0, 0, 0]]  # beams of one image
    rows = torch.tensor([2, 2, 0])
    normalised = decoder.normalise(features)
    with torch.no_grad():
        state = decoder.start(normalised)
        for place in (0, 1):
            _, state = decoder.step(normalised, TOKENS[:, place], state)
        moved, _ = decoder.step(normalised, TOKENS[:, 2], decoder.reorder(state, rows))
    changed = TOKENS[rows].clone()
    changed[:, 2] = TOKENS[:, 2]
    expected = stepped(decoder, features, changed[:, :3])[2][0]
    torch.testing.assert_close(moved, expected)


@EACH
def test_a_selected_state_is_that_of_other_images_too(name):
    decoder = make(name)
    features = features_of(decoder)
    rows = torch.tensor([2, 0, 2, 1])
    with torch.no_grad():
        normalised = decoder.normalise(features)
        _, state = decoder.step(normalised, TOKENS[:, 0], decoder.start(normalised))
        moved, after = decoder.step(normalised[rows], TOKENS[rows, 1], decoder.select(state, rows))
    _, (expected, looked) = stepped(decoder, features[rows], TOKENS[rows, :2])
    torch.testing.assert_close(moved, expected)
    if looked is not None:
        torch.testing.assert_close(decoder.attention_of(after), looked)


@EACH
@pytest.mark.parametrize("width", [1, 3])
def test_studies_that_are_done_leave_and_the_others_do_not_notice(name, width):
    decoder = make(name)
    features = features_of(decoder, 4, (24, *SHAPE[1:]))
    # Some are done before others: three words, none, one and two, then the end.
    prefixes = [[4, 5, 6, EOS], [], [EOS], [], [7, EOS], [5, 5, EOS], [4], []] * 3
    whole = generate(decoder, features, 10, width, prefixes=prefixes)
    for row in range(24):
        alone = generate(
            decoder, features[row : row + 1], 10, width, prefixes=prefixes[row : row + 1]
        )
        assert alone.tokens[0] == whole.tokens[row]
        assert alone.words[0] == pytest.approx(whole.words[row], abs=2e-3)
        if whole.attention is not None:
            torch.testing.assert_close(
                alone.attention[0], whole.attention[row], atol=2e-3, rtol=0.0
            )


@EACH
@pytest.mark.parametrize("width", [1, 4])
def test_a_beam_is_what_it_is_without_a_state(name, width):
    """The state saves work and changes nothing: every step read from the beginning gives it too."""
    decoder = make(name)
    features = features_of(decoder)
    found = generate(decoder, features, 6, width, prefixes=[[4], [], [5, 6]])
    longest = [[BOS, *tokens, EOS] for tokens in found.tokens]
    for row, tokens in enumerate(longest):
        with torch.no_grad():
            logits, _ = decoder(features[row : row + 1], torch.tensor([tokens[:-1]]))
        logits[..., [PAD, BOS, 3]] = -torch.inf
        logs = logits.log_softmax(dim=2)[0]
        own = [float(logs[place, token]) for place, token in enumerate(tokens[1:])]
        given = (1, 0, 2)[row]
        assert found.words[row] == pytest.approx([0.0] * given + own[given:], abs=2e-3)
    for row in range(3):
        alone = generate(
            decoder, features[row : row + 1], 6, width, prefixes=[([4], [], [5, 6])[row]]
        )
        assert alone.tokens[0] == found.tokens[row]


@EACH
def test_a_step_computes_one_word_and_reads_the_image_once(name):
    decoder = make(name)
    seen = {"output": [], "image": 0}
    last = {"transformer": "norm", "gpt2": "network.ln_f", "hierarchical_lstm": "output"}
    image = {
        "attention_lstm": "keys",
        "hierarchical_lstm": "pool",
        "transformer": "memory",
        "gpt2": "memory",
    }

    def words(module, inputs):
        rows = inputs[0].shape[:-1].numel()
        seen["output"].append(rows)

    def look(module, inputs):
        seen["image"] += 1

    decoder.get_submodule(last.get(name, "rnn")).register_forward_pre_hook(words)
    decoder.get_submodule(image.get(name, "initial")).register_forward_pre_hook(look)
    if hasattr(decoder, "output"):
        decoder.output.bias.data[EOS] = -1000.0
    generate(decoder, features_of(decoder), 9)
    assert set(seen["output"]) == {3}  # three studies, one word each, however long the text
    assert seen["image"] == 1


@EACH
def test_a_small_batch_is_learned_by_heart(name):
    torch.manual_seed(3)
    options = {"hidden": 32, **({"embedding": 16} if "embedding" in SMALL[name] else {})}
    decoder = create_decoder(name, 9, 6, **{**SMALL[name], **options})
    features = features_of(decoder)
    decoder.set_feature_statistics(features.unsqueeze(1).flatten(0, 1))
    targets = [[4, 5, 6], [7, 7], [8, 4, 5, 6, 8]]
    tokens = torch.tensor([[BOS, *t, EOS] + [PAD] * (5 - len(t)) for t in targets])
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    for _ in range(120):
        optimizer.zero_grad()
        logits, _ = decoder(features, tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)
        loss.backward()
        optimizer.step()
    assert generate(decoder.eval(), features, 8).tokens == targets
    assert generate(decoder, features, 8, width=3).tokens == targets
    assert [drafts.tokens[0] for drafts in generate_diverse(decoder, features, 8, 2)] == targets


@EACH
def test_contexts_are_the_mean_of_the_states_after_the_words(name):
    vocabulary = Vocabulary.build(["opacity/left", "opacity/right/mild"], "annotation")
    decoder = make(name, len(vocabulary))
    features = features_of(decoder)
    texts = ["opacity/left", "opacity/right/mild", "opacity"]
    found = joint_contexts(decoder, vocabulary, features, texts)
    for row, text in enumerate(texts):
        tokens = torch.tensor([vocabulary.encode(text)[:-1]])
        with torch.no_grad():
            _, states = decoder(features[row : row + 1], tokens)
        expected = states[0, 1:].mean(dim=0)
        torch.testing.assert_close(torch.from_numpy(found[row]), expected, atol=1e-5, rtol=1e-4)


@EACH
def test_its_weights_are_all_that_it_is(name):
    decoder, other = make(name), create_decoder(name, 9, 6, **SMALL[name]).eval()
    other.load_state_dict(decoder.state_dict())
    features = features_of(decoder)
    with torch.no_grad():
        assert torch.equal(decoder(features, TOKENS)[0], other(features, TOKENS)[0])
    pointers = [value.data_ptr() for value in decoder.state_dict().values() if value.numel()]
    assert len(set(pointers)) == len(pointers)  # safetensors keeps no tensor twice


@LOOKING
def test_attention_is_a_distribution_over_the_places(name):
    decoder = make(name)
    with torch.no_grad():
        taught = decoder.teach(features_of(decoder), TOKENS)
    assert taught.attention.shape == (3, 5, 6)
    torch.testing.assert_close(taught.attention.sum(dim=2), torch.ones(3, 5))
    found = generate(decoder, features_of(decoder), 5, width=3)
    for tokens, looked in zip(found.tokens, found.attention, strict=True):
        assert looked.shape == (len(tokens) + 1, 6)


@LOOKING
def test_the_attention_of_a_draft_is_that_of_its_words(name):
    decoder = make(name)
    features = features_of(decoder)
    found = generate(decoder, features, 5, width=4)
    for row, tokens in enumerate(found.tokens):
        with torch.no_grad():
            taught = decoder.teach(features[row : row + 1], torch.tensor([[BOS, *tokens]]))
        torch.testing.assert_close(found.attention[row], taught.attention[0], atol=1e-4, rtol=1e-3)


@EACH_MAP
def test_a_view_that_is_not_there_is_not_looked_at(name):
    decoder = make(name)
    features = features_of(decoder)
    absent = torch.full_like(features, math.nan)
    with torch.no_grad():
        one = decoder.teach(features, TOKENS)
        two = decoder.teach(torch.cat([features, absent], dim=1), TOKENS)
    torch.testing.assert_close(one.logits, two.logits, atol=1e-5, rtol=1e-4)
    assert two.attention is None or two.attention[..., 6:].abs().max() == 0
    both = torch.cat(
        [features_of(decoder, 9, (20, *SHAPE[1:])), absent[:1].expand(20, -1, -1, -1, -1)], 1
    )
    mean, scale = decoder.feature_mean.clone(), decoder.feature_scale.clone()
    decoder.set_feature_statistics(both)
    torch.testing.assert_close(decoder.feature_mean, mean)
    torch.testing.assert_close(decoder.feature_scale, scale)


@EACH_MAP
def test_left_is_not_right(name):
    decoder = make(name)
    features = features_of(decoder)
    with torch.no_grad():
        logits, _ = decoder(features, TOKENS)
        mirrored, _ = decoder(features.flip(4), TOKENS)
    assert (logits - mirrored).abs().max() > 1e-4  # the same set of vectors at other places


@EACH_MAP
def test_a_pooled_vector_is_a_map_of_one_place(name):
    decoder = make(name)
    pooled = torch.randn(3, 6)
    with torch.no_grad():
        logits, _ = decoder(pooled, TOKENS)
        same, _ = decoder(pooled.view(3, 6, 1, 1), TOKENS)
    assert torch.equal(logits, same)


def test_map_statistics_are_those_of_all_places():
    decoder = make("transformer")
    maps = torch.randn(150, 1, 6, 2, 3, generator=torch.Generator().manual_seed(4)) * 0.5 + 100
    decoder.set_feature_statistics(maps)
    places = maps.permute(0, 1, 3, 4, 2).reshape(-1, 6)
    torch.testing.assert_close(decoder.feature_mean, places.mean(dim=0))
    expected = places.std(dim=0, correction=0)
    torch.testing.assert_close(decoder.feature_scale, expected, atol=1e-4, rtol=1e-4)
    decoder.set_feature_statistics(maps[:1, :, :, :1, :1].half())  # one place has no deviation
    assert decoder.normalise(maps[:1]).isfinite().all()


def test_places_know_where_they_are():
    normalised = make("transformer").normalise(torch.randn(1, 1, 6, 2, 3))
    where = normalised[0, :, 6:8].tolist()
    assert where == [[-1, -1], [-1, 0], [-1, 1], [1, -1], [1, 0], [1, 1]]  # row, column


def test_the_doubly_stochastic_penalty_by_hand():
    decoder = make("attention_lstm", doubly_stochastic=2.0)
    taught = decoder.teach(features_of(decoder), TOKENS)
    looked = torch.zeros(3, 5, 6)
    looked[0, :, 0] = 1.0  # five looks at one place, none at the others
    looked[1, 0] = looked[1, 1] = looked[1, 2] = 1 / 3  # each place once
    looked[1, 3:, 0] = 9.0  # after the end
    looked[2] = 1 / 5  # each place once
    targets = torch.tensor([[4, 5, 6, 8, EOS], [7, 4, EOS, PAD, PAD], [8, 4, 5, 6, EOS]])
    loss = decoder.extra_loss(taught._replace(attention=looked), targets)
    assert loss.item() == pytest.approx(2.0 * (16 + 5) / 18)
    assert make("attention_lstm").extra_loss(taught, targets) is None
    assert make("lstm").extra_loss(taught, targets) is None


def test_heads_divide_the_size():
    with pytest.raises(ValueError, match=r"decoder\.heads=3 do not divide decoder\.hidden=8"):
        create_decoder("transformer", 9, 6, hidden=8, heads=3)


def test_positions_are_the_most_that_can_be_read():
    decoder = make("transformer", positions=4)
    features = features_of(decoder)
    with pytest.raises(ValueError, match="5 tokens: the decoder has 4 positions"):
        decoder(features, TOKENS)
    with pytest.raises(ValueError, match="max_length=4: the decoder has 4 positions"):
        generate(decoder, features, 4)
    decoder.output.bias.data[EOS] = -100.0
    assert [len(tokens) for tokens in generate(decoder, features, 3).tokens] == [3] * 3
    texts = ["opacity/left/mild/large/right", "opacity", "mild"]
    vocabulary = Vocabulary.build(texts, "annotation")
    assert joint_contexts(decoder, vocabulary, features, texts).shape == (3, 8)
