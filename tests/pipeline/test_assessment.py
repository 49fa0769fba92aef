"""The trivial system that is shown no image."""

import numpy as np
import pytest
import torch

from cascade.labels.table import Label
from cascade.models.condition import Condition
from cascade.models.decoders import create_decoder
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.pipeline.assessment import image_withheld
from cascade.text.vocabulary import Vocabulary

TEXTS = ["normal", "edema/mild", "opacity/left"]


def make(decoder=True, **kwargs):
    torch.manual_seed(0)
    labels = [Label("normal", "normal"), Label("edema", "edema")]
    classifier = StudyClassifier(create_encoder("tiny", width=4), len(labels))
    vocabulary = Vocabulary.build(TEXTS, "annotation") if decoder else None
    network = (
        create_decoder("lstm", len(vocabulary), 32, embedding=4, hidden=8) if decoder else None
    )
    return Reader(classifier, labels, False, network, vocabulary, max_length=6, **kwargs).eval()


@pytest.mark.parametrize("first_word", ["free", "label"])
def test_every_study_gets_what_the_decoder_writes_of_the_mean_feature(first_word):
    reader = make(first_word=first_word)
    features = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    [system] = image_withheld("round 2", reader, features, [""] * 3)
    mean = torch.from_numpy(features.mean(axis=0, keepdims=True))
    scores = torch.sigmoid(reader.classifier.classify(mean)).detach()
    expected = reader.vocabulary.decode(reader.draft(mean, scores).tokens[0])
    assert system.hypotheses == [expected] * 3
    assert system.trivial
    assert system.name == "image withheld (round 2)"
    assert system.probabilities is None


def test_a_reader_that_does_not_write_has_no_such_system():
    assert (
        image_withheld("round 1", make(decoder=False), np.zeros((2, 32), np.float32), [""] * 3)
        == []
    )


def test_a_decoder_that_reads_the_indication_is_shown_it_without_the_image():
    reader = make()
    reader.condition = Condition(Condition.learn_vocabulary(["pain", "cough"]), 8).eval()
    torch.manual_seed(1)
    reader.decoder = create_decoder("lstm", len(reader.vocabulary), 40, embedding=4, hidden=8)
    with torch.no_grad():
        for parameter in (*reader.decoder.parameters(), *reader.condition.parameters()):
            parameter.mul_(4.0)
    reader.eval()
    features = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    asked = ["pain", "", "cough", "pain"]
    [system] = image_withheld("round 1", reader, features, asked)
    assert system.hypotheses[0] == system.hypotheses[3]
    assert len(system.hypotheses) == 4
    mean = torch.from_numpy(features.mean(axis=0, keepdims=True))
    scores = torch.sigmoid(reader.classifier.classify(mean)).detach()
    for text, written in zip(asked, system.hypotheses, strict=True):
        found = reader.draft(reader.join(mean, [text]), scores)
        assert reader.vocabulary.decode(found.tokens[0]) == written
    assert "and its indication" in system.note
