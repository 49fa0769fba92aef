import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from cascade.models.decoders import create_decoder
from cascade.models.generation import generate, generate_diverse, sample
from cascade.text.vocabulary import BOS, EOS, PAD, Vocabulary

END = 8  # of a sentence, among 9 ids
FEATURES = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
TOKENS = torch.tensor(
    [[BOS, 4, END, 5, 6, END], [BOS, 7, 7, END, 4, END], [BOS, END, END, 4, EOS, PAD]]
)


def make(feedback=False, strong=3.0, **options):
    torch.manual_seed(0)
    sizes = {"embedding": 5, "hidden": 8, "layers": 2, "sentence": 7, **options}
    decoder = create_decoder("hierarchical_lstm", 9, 6, feedback=feedback, **sizes)
    decoder.sentence_ends[END] = True
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(strong)
    return decoder.eval()


@torch.no_grad()
def states_of(decoder, tokens, features=FEATURES):
    normalised = decoder.normalise(features)
    state, found = decoder.start(normalised), []
    for word in tokens.unbind(1):
        _, state = decoder.step(normalised, word, state)
        found.append(state)
    return found


@pytest.mark.parametrize("feedback", [False, True])
def test_steps_give_what_teacher_forcing_gives(feedback):
    decoder = make(feedback)
    normalised = decoder.normalise(FEATURES)
    with torch.no_grad():
        taught = decoder.teach(FEATURES, TOKENS)
        state, out = decoder.start(normalised), []
        for word in TOKENS.unbind(1):
            logits, state = decoder.step(normalised, word, state)
            out.append(logits)
    torch.testing.assert_close(torch.stack(out, dim=1), taught.logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("feedback", [False, True])
def test_the_sentence_state_changes_where_a_sentence_ends_and_nowhere_else(feedback):
    found = states_of(make(feedback), TOKENS)
    for row in range(3):
        for place in range(1, TOKENS.shape[1]):
            same = [
                torch.equal(found[place][part][row], found[place - 1][part][row]) for part in (1, 2)
            ]
            assert same == [TOKENS[row, place] != END] * 2


def test_a_topic_follows_from_the_image_and_the_number_of_sentences():
    tokens = torch.tensor([[BOS, 4, 5, END, 6, 6], [BOS, 7, END, 6, 6, PAD]])
    alike, other = FEATURES[[0, 0]], FEATURES[[0, 1]]
    for feedback in (False, True):
        decoder = make(feedback)
        with torch.no_grad():
            logits = decoder.teach(alike, tokens).logits
            image = decoder.teach(other, tokens).logits
        # What is said after the first sentence does not know what it was, unless it is fed back.
        known = not torch.allclose(logits[0, 3:6], logits[1, 2:5], atol=1e-5)
        assert known == feedback
        assert (image[0, 3:6] - image[1, 2:5]).abs().max() > 1e-3


def test_after_a_sentence_the_end_is_the_stop_decision_by_hand():
    decoder = make()
    with torch.no_grad():
        taught = decoder.teach(FEATURES, TOKENS)
        for place, state in enumerate(states_of(decoder, TOKENS)):
            words = decoder.output(taught.states[:, place])
            stop = decoder.stop(state[1])[:, 0].sigmoid()
            own = taught.logits[:, place].softmax(dim=1)
            without = words.clone()
            without[:, EOS] = -torch.inf
            decided = (1 - stop).unsqueeze(1) * without.softmax(dim=1)
            decided[:, EOS] = stop
            at = ((TOKENS[:, place] == END) | (TOKENS[:, place] == BOS)).unsqueeze(1)
            torch.testing.assert_close(own, torch.where(at, decided, words.softmax(dim=1)))


def test_the_sentence_lstm_works_once_a_sentence_and_sees_the_image_once():
    decoder, seen = make(), {"rows": 0, "image": 0}
    decoder.sentences.register_forward_pre_hook(
        lambda _, inputs: seen.__setitem__("rows", seen["rows"] + len(inputs[0]))
    )
    decoder.pool.register_forward_pre_hook(lambda *_: seen.__setitem__("image", seen["image"] + 1))
    with torch.no_grad():
        decoder.teach(FEATURES, TOKENS)
    assert seen == {"rows": 3 + 6, "image": 1}  # three beginnings, six ends


REPORTS = ["The heart is large. No effusion.", "Clear lungs. There is a mass! Normal heart."]


def test_two_sentences_are_learned_by_heart():
    torch.manual_seed(3)
    vocabulary = Vocabulary.build([*REPORTS, "Normal"], "words")
    decoder = create_decoder(
        "hierarchical_lstm", len(vocabulary), 6, embedding=16, hidden=24, sentence=16
    )
    assert decoder.load_initial(vocabulary) == f"2 of {len(vocabulary)} tokens end a sentence"
    rows = [torch.tensor(vocabulary.encode(text)) for text in [*REPORTS, "Normal"]]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        logits, _ = decoder(FEATURES, tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)
        loss.backward()
        optimizer.step()
    decoder.eval()
    for width in (1, 3):
        found = generate(decoder, FEATURES, 20, width)
        # A text that ends in mid-sentence is learned too.
        assert [vocabulary.decode(ids) for ids in found.tokens] == [*REPORTS, "Normal"]
    assert [one.tokens[0] for one in generate_diverse(decoder, FEATURES, 20, 2)] == found.tokens
    assert [one.tokens[0] for one in sample(decoder, FEATURES, 20, top_p=0.01)] == found.tokens


@pytest.mark.parametrize(
    ("tokenizer", "texts", "ends"),
    [
        ("words", ["No mass, 2.5 cm. Clear?"], {".", "?"}),
        ("annotation", ["opacity/left; cardiomegaly"], {";"}),
        ("cased", ["Normal!"], {"!"}),
        ("bpe", ["No mass. Clear lungs. No mass . Clear"], {".", "Ġ."}),
    ],
)
def test_what_ends_a_sentence_is_known_by_its_token(tokenizer, texts, ends):
    size = 300 if tokenizer == "bpe" else None
    vocabulary = Vocabulary.build(texts, tokenizer, size=size)
    decoder = create_decoder("hierarchical_lstm", len(vocabulary), 6)
    decoder.load_initial(vocabulary)
    found = {vocabulary.tokens[i] for i in decoder.sentence_ends.nonzero().flatten().tolist()}
    assert found <= {".", "!", "?", ";", "Ġ.", "Ġ!", "Ġ?"}
    assert ends & set(vocabulary.tokens) <= found
    other = create_decoder("hierarchical_lstm", len(vocabulary), 6)
    other.load_state_dict(decoder.state_dict())  # a bundle needs nothing else
    assert torch.equal(other.sentence_ends, decoder.sentence_ends)


def test_a_vocabulary_without_sentences_is_refused():
    vocabulary = Vocabulary.build(["normal"], "annotation")
    decoder = create_decoder("hierarchical_lstm", len(vocabulary), 6)
    with pytest.raises(ValueError, match=r"no token of the vocabulary ends a sentence \(;\)"):
        decoder.load_initial(vocabulary)
