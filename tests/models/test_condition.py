import math

import pytest
import torch

from cascade.errors import InputError
from cascade.labels.table import Label
from cascade.models.condition import Condition
from cascade.models.decoders import create_decoder
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.text.vocabulary import PAD, UNK, Vocabulary

ASKED = ["Chest pain.", "XXXX-year-old with chest pain", "pain"]
IMAGES = torch.rand(3, 1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
VIEWS = torch.ones(3, 1, dtype=torch.bool)


def condition(size=4):
    torch.manual_seed(0)
    made = Condition(Condition.learn_vocabulary(ASKED), size)
    made.missing.data.fill_(7.0)
    return made.eval()


def test_a_word_of_one_study_is_unknown_and_marks_are_one_token():
    vocabulary = Condition.learn_vocabulary([*ASKED, "XXXX pain"])
    assert vocabulary.tokens[4:] == ["<mark>", "pain", "chest"]
    tokens = Condition(vocabulary).tokens(["XXXX, severe chest pain", "", "XXXX"])
    mark = vocabulary.ids["<mark>"]
    assert tokens.tolist() == [
        [mark, UNK, UNK, vocabulary.ids["chest"], vocabulary.ids["pain"]],
        [PAD] * 5,
        [mark, *[PAD] * 4],
    ]


def test_few_texts_keep_their_rare_words():
    assert "cough" in Condition.learn_vocabulary(["", "cough"]).tokens
    with pytest.raises(InputError, match="no training study has an indication"):
        Condition.learn_vocabulary(["", " "])


def test_the_vector_is_that_of_the_last_word_whatever_stands_beside_it():
    made = condition()
    tokens = made.tokens(["chest pain", "pain", ""])
    with torch.no_grad():
        found = made(tokens)
        states, _ = made.rnn(made.embedding(tokens[:1]))
        alone = made(made.tokens(["pain"]))
    torch.testing.assert_close(found[0], states[0, 1])
    torch.testing.assert_close(found[1:2], alone)
    assert found[2].tolist() == [7.0] * 4


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 1, 2), (3, 2, 2, 1, 2)])
def test_it_stands_behind_the_features_of_every_place(shape):
    made = condition()
    features = torch.arange(math.prod(shape), dtype=torch.float32).view(shape)
    axis = 2 if len(shape) == 5 else 1
    tokens = made.tokens(["pain", "", "chest"])
    with torch.no_grad():
        joined, vector = made.join(features, tokens), made(tokens)
        missing = made.join(features, None)
    own, beside = joined.split([2, 4], dim=axis)
    assert torch.equal(own, features)
    places = beside.movedim(axis, -1).reshape(3, -1, 4)
    assert torch.equal(places, vector.unsqueeze(1).expand_as(places))
    assert (missing.split([2, 4], dim=axis)[1] == 7).all()


@pytest.mark.parametrize("name", ["lstm", "hierarchical_lstm", "attention_lstm", "transformer"])
def test_statistics_of_the_image_leave_the_condition_as_it_is(name):
    decoder = create_decoder(name, 9, 6)
    maps = torch.randn(8, 2, 4, 2, 2) * 3 + 5
    maps[0, 1] = math.nan
    decoder.set_feature_statistics(maps if decoder.input == "map" else maps[:, 0].mean(dim=(2, 3)))
    assert decoder.feature_mean[4:].tolist() == [0, 0]
    assert decoder.feature_scale[4:].tolist() == [1, 1]
    assert (decoder.feature_mean[:4] > 3).all()
    assert decoder.normalise(torch.randn(2, 6)).isfinite().all()


def make(name="lstm", **options):
    torch.manual_seed(0)
    labels = [Label("normal", "normal")]
    classifier = StudyClassifier(create_encoder("tiny", width=4), 1)
    vocabulary = Vocabulary.build(["normal", "opacity/left", "edema; mild"], "annotation")
    made = condition(16)
    decoder = create_decoder(name, len(vocabulary), 32 + 16, **options)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3.0)
    return Reader(
        classifier, labels, False, decoder, vocabulary, max_length=6, condition=made
    ).eval()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {"hidden": 8}),
        ("hierarchical_lstm", {"hidden": 8, "sentence": 8}),
        ("attention_lstm", {"hidden": 8, "attention": 4}),
        ("transformer", {"hidden": 8, "heads": 2, "layers": 1}),
    ],
)
def test_a_reader_passes_the_indications_on(name, options):
    reader = make(name, **options)
    none = reader.read(IMAGES, VIEWS)
    empty = reader.read(IMAGES, VIEWS, indications=["", "", ""])
    asked = reader.read(IMAGES, VIEWS, indications=["chest pain", "", "pain"])
    assert none.generated.words == empty.generated.words
    assert asked.generated.words[1] == pytest.approx(none.generated.words[1], abs=1e-5)
    for row in (0, 2):
        assert asked.generated.words[row] != pytest.approx(none.generated.words[row], abs=1e-4)
    assert torch.equal(asked.features, none.features)  # the image's alone
    if asked.generated.attention is not None:  # over places of the image, no other
        assert all(looked.shape[1] == 4 for looked in asked.generated.attention)
    features = reader.join(none.features, ["chest pain", "", "pain"])
    found = reader.alternatives(features, none.labels, 2)
    without = reader.alternatives(none.features, none.labels, 2)
    assert len(found) == len(without) == 3


def test_a_reader_without_condition_looks_at_no_indication():
    reader = make()
    reader.condition = None
    features = torch.randn(2, 32)
    assert reader.join(features, ["chest pain", ""]) is features
