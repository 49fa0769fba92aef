from types import SimpleNamespace

import pytest
import torch

from cascade.labels.table import Label
from cascade.metrics.nlg import annotation_words
from cascade.models.condition import Condition
from cascade.models.decoders import create_decoder
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.text.vocabulary import BOS, EOS, PAD, UNK, Vocabulary
from cascade.training.report_generator import (
    FeatureDataModule,
    FeatureDataset,
    ReportGeneratorModule,
    TextBatch,
)

TEXTS = ["normal", "opacity/left", "opacity/right"]
VOCABULARY = Vocabulary.build(TEXTS, "annotation")  # 4 opacity, 5 left, 6 normal, 7 right


def dataset(texts=TEXTS, copies=1, max_length=9):
    count = len(texts)
    features = torch.arange(count * copies, dtype=torch.float32).view(count, copies, 1)
    return FeatureDataset(features, torch.zeros(count, 1), texts, VOCABULARY, max_length)


def test_a_batch_is_padded_words():
    batch = dataset().__getitems__([1, 0])
    assert batch.tokens.tolist() == [[BOS, 4, 5, EOS], [BOS, 6, EOS, PAD]]
    assert batch.features.tolist() == [[1.0], [0.0]]
    assert batch.references == ["opacity/left", "normal"]
    assert dataset()[2].tokens.tolist() == [[BOS, 4, 7, EOS]]


def test_targets_are_cut_but_references_are_not():
    batch = dataset(["opacity/left/strange"], max_length=1)[0]
    assert batch.tokens.tolist() == [[BOS, 4, EOS]]
    assert batch.references == ["opacity/left/strange"]


def test_words_that_training_lacks_are_unknown():
    assert dataset(["opacity/strange"])[0].tokens.tolist() == [[BOS, 4, UNK, EOS]]


def test_each_read_takes_one_of_the_copies():
    data = dataset(["normal"], copies=3)
    seen = {data[0].features.item() for _ in range(50)}
    assert seen == {0.0, 1.0, 2.0}


def batches(epoch, seed=1, weights=None):
    module = FeatureDataModule(
        dataset(TEXTS * 8, copies=4), dataset(), batch_size=5, weights=weights, seed=seed
    )
    module.trainer = SimpleNamespace(global_rank=0, world_size=1, current_epoch=epoch)
    return torch.cat([batch.features for batch in module.train_dataloader()]).flatten().tolist()


def test_order_and_copies_follow_seed_and_epoch():
    assert batches(0) == batches(0)
    assert batches(0) != batches(1)
    assert batches(0) != batches(0, seed=2)
    assert sorted(int(value) // 4 for value in batches(0)) == list(range(24))  # each study once


def test_weights_choose_the_studies():
    weights = torch.zeros(24).double()
    weights[3] = 1.0
    assert {int(value) // 4 for value in batches(0, weights=weights.numpy())} == {3}


def test_validation_is_in_order():
    module = FeatureDataModule(dataset(), dataset(), batch_size=1, weights=None, seed=0)
    (batch,) = module.val_dataloader()  # four times the batch size
    assert batch.references == TEXTS


def reader():
    torch.manual_seed(0)
    classifier = StudyClassifier(create_encoder("tiny", width=4), 1)
    decoder = create_decoder("gru", len(VOCABULARY), 32, embedding=4, hidden=8)
    labels = [Label("normal", "normal")]
    return Reader(classifier, labels, False, decoder, VOCABULARY, max_length=4).eval()


def test_the_cnn_is_no_part_of_it():
    module = ReportGeneratorModule(reader(), {}, 0.0, annotation_words)
    assert {name.split(".")[0] for name in module.state_dict()} == {"decoder"}


def test_training_is_teacher_forcing():
    module = ReportGeneratorModule(reader(), {}, 0.0, annotation_words)
    module.log = lambda *_, **__: None
    tokens = torch.tensor([[BOS, 4, 5, EOS], [BOS, 6, EOS, PAD]])
    batch = TextBatch(torch.randn(2, 32), torch.zeros(2, 1), tokens, ["", ""])
    logits, _ = module.decoder(batch.features, tokens[:, :3])
    logs = logits.log_softmax(dim=2)
    picked = [logs[0, 0, 4], logs[0, 1, 5], logs[0, 2, EOS], logs[1, 0, 6], logs[1, 1, EOS]]
    expected = -torch.stack(picked).mean()
    assert module.training_step(batch, 0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_validation_scores_free_drafts_against_the_text_as_written():
    whole = reader()
    module = ReportGeneratorModule(whole, {}, 0.0, annotation_words)
    logged = {}
    module.log = lambda name, value, **_: logged.__setitem__(name, float(value))
    # Forced by its output's bias: "opacity" until it is cut after four words.
    whole.decoder.output.bias.data[4] = 50.0
    tokens = torch.tensor([[BOS, 4, EOS]] * 2)
    references = ["opacity/opacity/opacity/opacity", "opacity/left/opacity/opacity"]
    with torch.no_grad():
        module.validation_step(
            TextBatch(torch.randn(2, 32), torch.zeros(2, 1), tokens, references), 0
        )
    module.on_validation_epoch_end()
    assert logged["val/exact"] == 0.5
    # Corpus precisions: 1-grams 4 + 3 of 8, 2-grams 3 + 1 of 6,
    # 3-grams 2 + 0 of 4, 4-grams 1 + 0 of 2; equal lengths, no brevity penalty.
    p = [7 / 8, 4 / 6, 2 / 4, 1 / 2]
    bleus = [
        p[0],
        (p[0] * p[1]) ** (1 / 2),
        (p[0] * p[1] * p[2]) ** (1 / 3),
        (p[0] * p[1] * p[2] * p[3]) ** (1 / 4),
    ]
    assert logged["val/bleu"] == pytest.approx(sum(bleus) / 4)
    logged.clear()
    module.on_validation_epoch_end()  # nothing is carried into the next epoch
    assert logged == {}


def test_a_reader_without_decoder_cannot_be_trained():
    whole = reader()
    whole.decoder = None
    with pytest.raises(ValueError, match="no decoder to train"):
        ReportGeneratorModule(whole, {}, 0.0, annotation_words)


def trained(**options):
    module = ReportGeneratorModule(reader(), {}, 0.0, annotation_words, **options)
    module.logged = {}
    module.log = lambda name, value, **_: module.logged.__setitem__(name, float(value))
    return module


TOKENS = torch.tensor([[BOS, 4, 5, EOS], [BOS, 6, EOS, PAD]])
BATCH = TextBatch(torch.randn(2, 32), torch.zeros(2, 1), TOKENS, ["", ""])


def test_own_words_are_read_in_the_place_of_true_ones():
    module = trained()
    module.decoder.output.bias.data[7] = 50.0  # the decoder always thinks of 7
    read = module.own_words(BATCH.features, TOKENS[:, :-1], 1.0)
    assert read.tolist() == [[BOS, 7, 7], [BOS, 7, EOS]]
    assert module.own_words(BATCH.features, TOKENS[:, :-1], 0.0).tolist() == [
        [BOS, 4, 5],
        [BOS, 6, EOS],
    ]
    many = torch.tensor([[BOS, *[4] * 400]]).expand(4, -1)
    torch.manual_seed(0)
    share = (module.own_words(torch.randn(4, 32), many, 0.3) == 7).float().mean()
    assert share.item() == pytest.approx(0.3, abs=0.05)


def test_own_words_follow_what_was_read_and_end_no_text():
    module = trained()
    module.decoder.output.bias.data[[PAD, BOS, UNK, EOS]] = 90.0
    read = module.own_words(BATCH.features, TOKENS[:, :-1], 1.0)
    assert (read[:, 0] == BOS).all()
    assert (read[0, 1:] >= 4).all()
    module.decoder.train()
    module.own_words(BATCH.features, TOKENS[:, :-1], 0.5)
    assert module.decoder.training


def test_the_chance_of_own_words_rises_to_its_end():
    module = trained(scheduled_sampling=0.4)
    for max_epochs, epoch, expected in ((5, 0, 0.0), (5, 2, 0.2), (5, 4, 0.4), (1, 0, 0.4)):
        module._trainer = SimpleNamespace(
            max_epochs=max_epochs, global_rank=0, world_size=1, current_epoch=epoch
        )
        assert module.own_word_probability() == pytest.approx(expected)
    assert trained().own_word_probability() == 0.0  # without a trainer, too


def test_scheduled_sampling_is_scored_against_the_true_words():
    module = trained(scheduled_sampling=1.0)
    module._trainer = SimpleNamespace(max_epochs=1, global_rank=0, world_size=1, current_epoch=0)
    module.decoder.output.bias.data[7] = 50.0
    logits, _ = module.decoder(BATCH.features, torch.tensor([[BOS, 7, 7], [BOS, 7, EOS]]))
    logs = logits.log_softmax(dim=2)
    picked = [logs[0, 0, 4], logs[0, 1, 5], logs[0, 2, EOS], logs[1, 0, 6], logs[1, 1, EOS]]
    expected = -torch.stack(picked).mean()
    with torch.no_grad():
        found = module.training_step(BATCH, 0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_labels_are_learnt_beside_the_words():
    torch.manual_seed(0)
    module, plain = trained(auxiliary=0.5), trained()
    plain.decoder.load_state_dict(module.decoder.state_dict())
    labels = torch.tensor([[1.0], [float("nan")]])
    batch = BATCH._replace(labels=labels)
    with torch.no_grad():
        _, states = module.decoder(batch.features, TOKENS[:, :-1])
        logit = module.label_head(states[0, 1:].mean(dim=0))  # the words 4 and 5
        named = torch.nn.functional.softplus(-logit).item()
        loss = module.training_step(batch, 0).item()
        assert module.logged["train/labels"] == pytest.approx(named, rel=1e-5)
        assert loss == pytest.approx(plain.training_step(batch, 0).item() + 0.5 * named, rel=1e-5)


def test_labels_come_with_their_studies():
    data = dataset()
    data.labels = torch.tensor([[0.0], [1.0], [2.0]])
    assert data.__getitems__([2, 0]).labels.tolist() == [[2.0], [0.0]]
    assert dataset()[0].labels is None


def test_half_precision_maps_become_whole():
    maps = torch.randn(3, 1, 1, 4, 2, 2).half()
    data = FeatureDataset(maps, torch.zeros(3, 1), TEXTS, VOCABULARY, 9)
    batch = data.__getitems__([1, 2])
    assert batch.features.dtype == torch.float32
    assert torch.equal(batch.features, maps[1:, 0].float())


def test_what_a_decoder_adds_to_the_loss_is_added_in_training_alone():
    whole = reader()
    whole.decoder = create_decoder(
        "attention_lstm", len(VOCABULARY), 32, embedding=4, hidden=8, doubly_stochastic=1.0
    ).eval()
    module = ReportGeneratorModule(whole, {}, 0.0, annotation_words)
    logged = {}
    module.log = lambda name, value, **_: logged.__setitem__(name, float(value))
    batch = BATCH._replace(features=torch.randn(2, 1, 32, 2, 2))
    with torch.no_grad():
        loss = module.training_step(batch, 0).item()
        taught = module.decoder.teach(batch.features, TOKENS[:, :-1])
        extra = module.decoder.extra_loss(taught, TOKENS[:, 1:]).item()
        module.validation_step(batch, 0)
        module.on_validation_epoch_end()
    assert extra > 0
    assert loss == pytest.approx(logged["val/loss"] + extra, rel=1e-5)


def conditioned():
    whole = reader()
    whole.condition = Condition(Condition.learn_vocabulary(["pain", "cough"]), 4)
    whole.decoder = create_decoder("gru", len(VOCABULARY), 36, embedding=4, hidden=8)
    return whole.eval()


def test_the_condition_is_trained_beside_the_decoder():
    whole = conditioned()
    module = ReportGeneratorModule(whole, {}, 0.0, annotation_words)
    module.log = lambda *_, **__: None
    assert {name.split(".")[0] for name in module.state_dict()} == {"decoder", "condition"}
    batch = BATCH._replace(indications=whole.condition.tokens(["pain", ""]))
    logits, _ = module.decoder(whole.join(batch.features, ["pain", ""]), TOKENS[:, :-1])
    logs = logits.log_softmax(dim=2)
    picked = [logs[0, 0, 4], logs[0, 1, 5], logs[0, 2, EOS], logs[1, 0, 6], logs[1, 1, EOS]]
    loss = module.training_step(batch, 0)
    assert loss.item() == pytest.approx(-torch.stack(picked).mean().item(), rel=1e-5)
    loss.backward()
    assert whole.condition.embedding.weight.grad.abs().sum() > 0
    assert whole.condition.missing.grad.abs().sum() > 0
    module.validation_step(batch, 0)


def test_indications_are_hidden_in_training_alone():
    whole = conditioned()
    module = ReportGeneratorModule(whole, {}, 0.0, annotation_words, hidden=1.0)
    batch = BATCH._replace(indications=whole.condition.tokens(["pain", "cough"]))
    plain = whole.join(batch.features)
    module.eval()
    assert not torch.equal(module.known(batch), plain)
    module.train()
    assert torch.equal(module.known(batch), plain)
    module.hidden = 0.5
    torch.manual_seed(0)
    many = batch._replace(
        features=torch.zeros(1000, 32), indications=whole.condition.tokens(["pain"] * 1000)
    )
    whole.condition.missing.data.fill_(9.0)
    share = (module.known(many)[:, 35] == 9).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.06)


def test_indications_come_with_their_studies():
    data = dataset()
    data.indications = torch.tensor([[4, 5], [6, 0], [0, 0]])
    assert data.__getitems__([2, 0]).indications.tolist() == [[0, 0], [4, 5]]
    assert dataset()[0].indications is None
