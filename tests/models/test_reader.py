import pytest
import torch

from cascade.labels.table import Label
from cascade.models.decoders import create_decoder
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.text.vocabulary import Vocabulary

LABELS = [
    Label("normal", "normal"),
    Label("lung/hypoinflation#1", "lung/hypoinflation"),
    Label("lung/hypoinflation#2", "lung/hypoinflation"),
    Label("edema", "edema"),
]
TEXTS = ["normal", "lung/hypoinflation/mild", "opacity/left"]  # none of edema


def make(decoder=True, **kwargs):
    torch.manual_seed(0)
    classifier = StudyClassifier(create_encoder("tiny", width=4), len(LABELS))
    vocabulary = Vocabulary.build(TEXTS, "annotation") if decoder else None
    network = (
        create_decoder("lstm", len(vocabulary), 32, embedding=4, hidden=8) if decoder else None
    )
    return Reader(classifier, LABELS, False, network, vocabulary, max_length=6, **kwargs).eval()


IMAGES = torch.rand(3, 1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
VIEWS = torch.ones(3, 1, dtype=torch.bool)


def test_a_disease_owns_its_contexts():
    reader = make()
    assert reader.diseases == ["normal", "lung/hypoinflation", "edema"]
    assert reader.owners == [0, 1, 1, 2]
    reading = reader.read(IMAGES, VIEWS)
    assert reading.features.shape == (3, 32)
    assert reading.labels.shape == (3, 4)
    assert torch.equal(reading.diseases[:, 1], reading.labels[:, 1:3].amax(dim=1))
    assert torch.equal(reading.diseases[:, 2], reading.labels[:, 3])
    assert len(reading.drafts) == 3
    assert ((reading.confidences > 0) & (reading.confidences <= 1)).all()


def scores(best):
    return torch.eye(4)[[best]]


@pytest.mark.parametrize(
    ("best", "words"),
    [(0, ["normal"]), (1, ["lung", "hypoinflation"]), (2, ["lung", "hypoinflation"])],
)
def test_the_first_word_is_the_likeliest_label(best, words):
    reader = make(first_word="label")
    generated = reader.draft(torch.randn(1, 32), scores(best))
    written = [reader.vocabulary.tokens[i] for i in generated.tokens[0]]
    assert written[: len(words)] == words


def test_a_disease_without_a_word_leaves_the_draft_free():
    reader, free = make(first_word="label"), make(first_word="free")
    features = torch.randn(1, 32)
    assert reader.draft(features, scores(3)).tokens == free.draft(features, scores(3)).tokens


def test_free_drafts_ask_no_label():
    reader = make()
    features = torch.randn(1, 32)
    drafts = [reader.draft(features, scores(best)).tokens for best in range(4)]
    assert all(draft == drafts[0] for draft in drafts)


def test_without_a_decoder_there_is_no_draft():
    reader = make(decoder=False)
    reading = reader.read(IMAGES, VIEWS)
    assert (reading.drafts, reading.confidences) == (None, None)
    with pytest.raises(ValueError, match="no decoder: train stage=generator"):
        reader.draft(reading.features, reading.labels)


def test_first_word_has_two_choices():
    with pytest.raises(ValueError, match="unknown first_word 'any'"):
        make(first_word="any")


def test_a_reading_without_drafts_is_the_rest_of_it():
    reader = make()
    whole, part = reader.read(IMAGES, VIEWS), reader.read(IMAGES, VIEWS, drafts=False)
    assert torch.equal(whole.features, part.features)
    assert torch.equal(whole.diseases, part.diseases)
    assert (part.drafts, part.confidences, part.generated) == (None, None, None)
    assert [len(words) for words in whole.generated.words] == [
        len(tokens) + 1 for tokens in whole.generated.tokens
    ]


@pytest.mark.parametrize("method", ["groups", "sample"])
def test_alternatives_are_distinct_texts(method):
    reader = make()
    reading = reader.read(IMAGES, VIEWS)
    found = reader.alternatives(reading.features, reading.labels, 3, method)
    for row, generated in enumerate(found):
        texts = [reader.vocabulary.decode(tokens) for tokens in generated.tokens]
        assert 1 <= len(texts) == len(set(texts)) <= 3
        if method == "groups":
            assert texts[0] == reading.drafts[row]


def test_alternatives_need_a_method_and_a_decoder():
    with pytest.raises(ValueError, match="unknown method 'best'"):
        make().alternatives(torch.randn(1, 32), scores(0), 2, "best")
    with pytest.raises(ValueError, match="no decoder"):
        make(decoder=False).alternatives(torch.randn(1, 32), scores(0), 2)


def test_the_reader_keeps_sequences_from_repeating():
    reader = make(no_repeat=1)
    reader.decoder.output.bias.data[2] = -50.0  # EOS
    tokens = reader.draft(torch.randn(4, 32), scores(0).expand(4, -1)).tokens
    assert all(len(set(row)) == len(row) for row in tokens)


def test_a_drawn_draft_depends_on_the_seed_and_not_on_its_neighbours():
    reader = make(decoding="sample", temperature=3.0, seed=4)
    features = torch.randn(40, 32, generator=torch.Generator().manual_seed(1))
    best = torch.eye(4)[torch.zeros(40, dtype=torch.long)]
    whole = reader.draft(features, best)
    assert len(whole.tokens) == len(whole.words) == 40
    assert len(whole.log_probabilities) == len(whole.confidences) == 40
    assert len(set(map(tuple, whole.tokens))) > 10
    parts = [reader.draft(features[a:b], best[a:b]) for a, b in ((0, 1), (1, 17), (17, 40))]
    assert [tokens for part in parts for tokens in part.tokens] == whole.tokens
    assert reader.draft(features, best).tokens == whole.tokens
    reader.seed = 5
    assert reader.draft(features, best).tokens != whole.tokens


def test_a_beam_is_searched_where_its_width_is_asked_for():
    reader, plain = make(decoding="sample", temperature=9.0), make()
    features = torch.randn(9, 32, generator=torch.Generator().manual_seed(1))
    best = torch.eye(4)[torch.zeros(9, dtype=torch.long)]
    assert reader.draft(features, best, width=1).tokens == plain.draft(features, best, 1).tokens
    assert reader.draft(features, best).tokens != plain.draft(features, best).tokens


def test_alike_images_are_not_drawn_alike():
    """One random number for all studies would give all of them the same words here."""
    reader = make(decoding="sample")
    for parameter in reader.decoder.parameters():
        parameter.data.zero_()  # every word is as likely as the next
    features = torch.randn(300, 32, generator=torch.Generator().manual_seed(1))
    found = reader.draft(features, torch.eye(4)[torch.zeros(300, dtype=torch.long)])
    allowed = len(reader.vocabulary) - 3
    ended = sum(not tokens for tokens in found.tokens) / 300
    assert ended == pytest.approx(1 / allowed, abs=0.06)


def test_a_reader_decodes_in_one_of_two_ways():
    with pytest.raises(ValueError, match="unknown decoding 'greedy'"):
        make(decoding="greedy")
