import csv
import json
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from cascade.data.datasets import StudyDataset
from cascade.data.transforms import Augment, to_unit
from cascade.errors import CascadeError, InputError
from cascade.labels.table import Label, LabelTable
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.training.callbacks import MetricsFile
from cascade.training.classifier import ClassifierModule
from cascade.training.features import extract_features
from cascade.training.fit_classifier import create_classifier, fit_classifier
from cascade.training.fit_generator import fit_generator
from cascade.training.report_generator import ReportGeneratorModule


def classify(directory, tiny, settings, **kwargs):
    return fit_classifier(
        directory, tiny.train, tiny.val, tiny.cache, tiny.table, settings, **kwargs
    )


def untrained(tiny):
    """A reader without decoder on random features."""
    torch.manual_seed(0)
    network = StudyClassifier(create_encoder("tiny", width=4), 2).eval()
    return Reader(network, tiny.table.labels, False)


def generate(directory, tiny, settings, **kwargs):
    return fit_generator(
        directory,
        untrained(tiny),
        tiny.train,
        tiny.val,
        tiny.cache,
        tiny.table,
        settings,
        **kwargs,
    )


FITS = pytest.mark.parametrize("fit", [classify, generate])


def weights(reader):
    return {name: value.clone() for name, value in reader.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def epochs(directory):
    with open(directory / "metrics.csv", newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


@FITS
def test_the_same_seed_gives_the_same_weights(fit, tiny, settings, tmp_path):
    torch.manual_seed(1)
    first, score = fit(tmp_path / "1", tiny, settings)
    torch.manual_seed(2)  # what happened before does not matter
    second, again = fit(tmp_path / "2", tiny, settings)
    assert equal(weights(first), weights(second))
    assert score == again
    other, _ = fit(tmp_path / "3", tiny, {**settings, "seed": 6})
    assert not equal(weights(first), weights(other))


def test_a_classifier_run_leaves_its_files(tiny, settings, tmp_path):
    reader, score = classify(tmp_path, tiny, settings)
    assert epochs(tmp_path) == [0, 1]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]
    assert 0.0 <= score <= 1.0
    assert reader.decoder is None
    assert not reader.classifier.training
    saved = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    state = reader.classifier.state_dict()
    assert all(torch.equal(state[key.removeprefix("network.")], saved[key]) for key in saved)
    pictures = to_unit(torch.from_numpy(tiny.cache.pixels[24:])).unsqueeze(1)
    assert (reader.suitability(pictures) <= 1).float().mean() > 0.9


def test_a_generator_run_freezes_the_cnn(tiny, settings, tmp_path):
    before = weights(untrained(tiny))
    calls = []
    reader, score = generate(tmp_path, tiny, settings, progress=lambda *a: calls.append(a))
    assert all(torch.equal(reader.state_dict()[key], before[key]) for key in before)
    assert epochs(tmp_path) == [0, 1]
    assert 0.0 <= score <= 1.0
    assert calls == [(24, 48), (48, 48), (12, 12)]  # training in two copies, validation once
    assert reader.max_length == 6
    assert not reader.decoder.training


def test_only_training_texts_make_the_vocabulary(tiny, settings, tmp_path):
    tiny.val.texts[:] = ["zebra/left"] * 12
    tiny.train.texts[0] = ""  # takes no part
    reader, _ = generate(tmp_path, tiny, settings)
    assert reader.vocabulary.tokens[4:] == ["opacity", "left", "right", "normal"]


WORDS = {"target": "impression", "max_length": 30}


def test_each_tokenizer_trains_and_references_stay_as_written(tiny, settings, tmp_path):
    reports = {"normal": "1. Clear lungs.", "opacity/left": "Left opacity, seen by Dr. XXXX."}
    for records in (tiny.train, tiny.val):
        records.texts[:] = [reports.get(text, "XXXX.") for text in records.texts]
    settings["generator"].update(WORDS, marks="drop", list_numbers="drop", epochs=1)
    for name in ("words", "cased", "bpe", "wordpiece"):
        settings["generator"]["tokenizer"] = name
        reader, score = generate(tmp_path / name, tiny, settings)
        assert reader.vocabulary.tokenizer.name == name
        assert 0.0 <= score <= 1.0
        ids = reader.vocabulary.encode("Left opacity, seen by Dr. XXXX.")
        assert reader.vocabulary.decode(ids) == "Left opacity, seen."
        assert tiny.val.texts[2] == "XXXX."


def test_targets_that_marks_leave_empty_take_no_part(tiny, settings, tmp_path):
    tiny.train.texts[:] = ["XXXX.", *["Clear."] * 23]
    calls = []
    settings["generator"].update(WORDS, marks="drop", augment=None)
    generate(tmp_path, tiny, settings, progress=lambda *a: calls.append(a))
    assert calls[0] == (23, 23)


def test_cut_targets_are_told(tiny, settings, tmp_path, caplog):
    settings["generator"].update(max_length=1)
    generate(tmp_path, tiny, settings)
    assert "16 of 24 training texts are longer than generator.max_length=1" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "bert"}, "unknown generator.tokenizer=bert: expected one of auto, annotat"),
        ({"tokenizer": "bpe"}, "tokenizer=bpe does not fit generator.target=annotation: take"),
        ({**WORDS, "tokenizer": "annotation"}, "annotation does not fit generator.target=impress"),
        ({"marks": "drop"}, "generator.marks=drop is for reports"),
        ({"lowercase": True}, "generator.lowercase=True is for reports"),
        ({**WORDS, "marks": "hide"}, "unknown marks 'hide'"),
        ({**WORDS, "tokenizer": "bpe", "vocabulary_size": 9}, "vocabulary_size=9 is too small"),
        ({"vocabulary_size": 4}, "vocabulary_size=4 leaves no room for words"),
        ({"min_count": 99}, "no word occurs 99 times"),
    ],
)
def test_words_that_do_not_fit_together(options, message, tiny, settings, tmp_path):
    settings["generator"].update(options)
    with pytest.raises(InputError, match=message):
        generate(tmp_path, tiny, settings)


class Killed(BaseException):
    """As if the process had been killed: no handler of ours knows it."""


def kill_at(monkeypatch, epoch, error):
    original = MetricsFile.on_train_epoch_start

    def start(self, trainer, module):
        if trainer.current_epoch == epoch:
            raise error
        original(self, trainer, module)

    monkeypatch.setattr(MetricsFile, "on_train_epoch_start", start)


STEPS = {classify: ClassifierModule, generate: ReportGeneratorModule}


def with_chance(settings):
    """Dropout in both stages, augmentation, and words that the decoder draws itself."""
    settings["classifier"].update(dropout=0.5, epochs=3)
    settings["generator"].update(epochs=3, scheduled_sampling=0.5)
    settings["decoder"]["dropout"] = 0.5
    return settings


@FITS
def test_a_killed_fit_resumes_and_ends_as_if_it_had_not_been(
    fit, tiny, settings, tmp_path, monkeypatch
):
    settings = with_chance(settings)
    whole, score = fit(tmp_path / "whole", tiny, settings)
    with monkeypatch.context() as patch:
        kill_at(patch, 1, Killed())
        with pytest.raises(Killed):
            fit(tmp_path / "killed", tiny, settings)
    assert epochs(tmp_path / "killed") == [0]
    torch.manual_seed(99)  # what happens in between does not matter
    resumed, again = fit(tmp_path / "killed", tiny, settings)
    assert epochs(tmp_path / "killed") == [0, 1, 2]
    assert equal(weights(whole), weights(resumed))
    assert score == again


@FITS
def test_a_fit_killed_amid_an_epoch_repeats_it_bit_by_bit(
    fit, tiny, settings, tmp_path, monkeypatch
):
    settings = with_chance(settings)
    whole, score = fit(tmp_path / "whole", tiny, settings)
    kind, steps = STEPS[fit], []
    original = kind.training_step

    def step(self, batch, index):
        steps.append((self.current_epoch, index))
        if len(steps) == 5:  # three batches an epoch
            raise Killed
        return original(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "training_step", step)
        with pytest.raises(Killed):
            fit(tmp_path / "killed", tiny, settings)
        assert steps == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
        resumed, again = fit(tmp_path / "killed", tiny, settings)
    assert steps[5:] == [(epoch, index) for epoch in (1, 2) for index in range(3)]
    assert epochs(tmp_path / "killed") == [0, 1, 2]
    assert equal(weights(whole), weights(resumed))
    assert score == again


def test_a_resume_goes_on_after_the_last_epoch_though_an_earlier_was_best(
    tiny, settings, tmp_path, monkeypatch
):
    settings["classifier"].update(epochs=3)
    settings["classifier"]["optimizer"].update(lr=1e-12, warmup=0.0)  # no epoch beats the first
    settings["encoder"]["unfreeze"] = 0
    with monkeypatch.context() as patch:
        kill_at(patch, 2, Killed())
        with pytest.raises(Killed):
            classify(tmp_path, tiny, settings)
    saved = tmp_path / "checkpoints"
    states = [torch.load(saved / f"{name}.ckpt", weights_only=True) for name in ("best", "last")]
    assert [state["epoch"] for state in states] == [0, 1]


KILL = """
import os, pickle, signal, sys
from pathlib import Path
from cascade.training.callbacks import EpochDraws
fit, given = pickle.loads(Path(sys.argv[1]).read_bytes())
start = EpochDraws.on_train_batch_start
def die(self, trainer, module, batch, index):
    if (trainer.current_epoch, index) == (1, 1):
        os.kill(os.getpid(), signal.SIGKILL)
    start(self, trainer, module, batch, index)
EpochDraws.on_train_batch_start = die
fit(*given)
"""


@pytest.mark.slow
def test_a_fit_ended_by_kill_9_resumes_bit_by_bit(tiny, settings, tmp_path):
    settings = with_chance(settings)
    given = tiny.train, tiny.val, tiny.cache, tiny.table, settings
    for name, fit, first in (
        ("classifier", fit_classifier, []),
        ("generator", fit_generator, [untrained(tiny)]),
    ):
        killed = tmp_path / f"{name}-killed"
        call = tmp_path / "call"
        call.write_bytes(pickle.dumps((fit, (killed, *first, *given))))
        done = subprocess.run([sys.executable, "-c", KILL, str(call)], timeout=200)
        assert done.returncode == -signal.SIGKILL
        assert epochs(killed) == [0]
        whole, score = fit(tmp_path / name, *first, *given)
        again = [untrained(tiny)] if first else []
        resumed, same = fit(killed, *again, *given)
        assert equal(weights(whole), weights(resumed))
        assert score == same


def test_a_finished_fit_called_again_trains_nothing(tiny, settings, tmp_path, monkeypatch):
    first, score = classify(tmp_path, tiny, settings)
    kill_at(monkeypatch, 0, Killed())
    again, same = classify(tmp_path, tiny, settings)
    assert equal(weights(first), weights(again))
    assert score == same
    assert epochs(tmp_path) == [0, 1]


def test_an_interrupt_comes_through_and_the_next_one_too(tiny, settings, tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        kill_at(patch, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            classify(tmp_path, tiny, settings)
    assert signal.getsignal(signal.SIGINT) is handler
    classify(tmp_path, tiny, settings)
    assert epochs(tmp_path) == [0, 1]


@FITS
def test_diverged_training_is_an_error(fit, tiny, settings, tmp_path):
    settings["trainer"]["gradient_clip_val"] = None
    for stage in ("classifier", "generator"):
        settings[stage]["optimizer"] = {
            "name": "sgd",
            "lr": 1e38,
            "weight_decay": 1e4,  # their product is infinite in float32
            "schedule": "constant",
            "warmup": 0.0,
        }
    with pytest.raises(CascadeError, match="lower the learning rate") as caught:
        fit(tmp_path, tiny, settings)
    assert caught.value.exit_status == 1


def test_a_label_without_positives_is_named(tiny, settings, tmp_path):
    frame = tiny.table.values.assign(edema=np.float32(0))
    labels = [*tiny.table.labels, Label("edema", "edema")]
    tiny.table = LabelTable(frame, labels, False, {})
    with pytest.raises(InputError, match="no training study with an image carries .* 'edema'"):
        classify(tmp_path, tiny, settings)


def test_a_table_of_another_collection_is_named(tiny, settings, tmp_path):
    tiny.table.values.index = [f"other{row}" for row in range(36)]
    with pytest.raises(InputError, match="no train study with an image carries a label"):
        classify(tmp_path, tiny, settings)


def test_a_validation_split_without_labels_is_named(tiny, settings, tmp_path):
    tiny.table.values = tiny.table.values.iloc[:24]
    with pytest.raises(InputError, match="no val study with an image carries a label"):
        classify(tmp_path, tiny, settings)


def test_studies_without_text_are_an_error_that_names_the_target(tiny, settings, tmp_path):
    tiny.train.texts[:] = [""] * 24
    with pytest.raises(InputError, match=r"no train study .*\(generator.target=annotation\)"):
        generate(tmp_path, tiny, settings)


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        (classify, {"encoder": {"name": "vgg"}}, "unknown encoder 'vgg'"),
        (classify, {"encoder": {"name": "resnet18", "width": 4}}, "width"),
        (classify, {"encoder": {"name": "tiny", "unfreeze": 9}}, "has 0 to 4 stages"),
        (classify, {"encoder": {"name": "tiny", "weights": "absent.pth"}}, "does not exist"),
        (generate, {"decoder": {"name": "rnn"}}, "unknown decoder 'rnn'"),
        (generate, {"decoder": {"name": "gru", "heads": 4}}, "heads"),
    ],
)
def test_a_wrong_setting_is_one_line(stage, change, message, tiny, settings, tmp_path):
    with pytest.raises(InputError, match=message):
        stage(tmp_path, tiny, {**settings, **change})
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("balance", "even", "unknown balance 'even'"),
        ("optimizer", {"name": "adam"}, "unknown optimizer 'adam'"),
    ],
)
@FITS
def test_a_wrong_choice_of_training_is_one_line(fit, key, value, message, tiny, settings, tmp_path):
    for stage in ("classifier", "generator"):
        old = settings[stage][key]
        settings[stage][key] = {**old, **value} if isinstance(value, dict) else value
    with pytest.raises(InputError, match=message):
        fit(tmp_path, tiny, settings)


@FITS
def test_balance_normal_needs_that_label(fit, tiny, settings, tmp_path):
    tiny.table = LabelTable(
        tiny.table.values[["opacity"]], [Label("opacity", "opacity")], False, {}
    )
    settings["classifier"]["balance"] = settings["generator"]["balance"] = "normal"
    with pytest.raises(InputError, match="needs a label named normal"):
        fit(tmp_path, tiny, settings)


def test_the_next_round_keeps_the_encoder_under_a_new_head(tiny, settings, tmp_path, monkeypatch):
    reader, _ = classify(tmp_path / "1", tiny, settings)
    frame = tiny.table.values.assign(**{"opacity#2": tiny.table.values["opacity"]})
    labels = [*tiny.table.labels, Label("opacity#2", "opacity")]
    tiny.table = LabelTable(frame, labels, False, {})
    settings["classifier"]["optimizer"]["lr"] = 0.0  # so that what was kept can be seen
    settings["encoder"]["unfreeze"] = 0
    before = weights(reader.classifier.encoder)
    second, _ = classify(tmp_path / "2", tiny, settings, start_from=reader.classifier)
    assert epochs(tmp_path / "2") == [0]  # next_epochs
    assert second.classifier.head.weight.shape[0] == 3
    assert equal(before, weights(second.classifier.encoder))


def test_create_classifier_takes_weights_and_depth(tmp_path):
    source = create_encoder("tiny", width=4)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    made = create_classifier(
        {"name": "tiny", "width": 4, "weights": str(tmp_path / "w.pth"), "unfreeze": 1}, 3, 0.5
    )
    assert equal(made.encoder.state_dict(), source.state_dict())
    assert made.encoder.open_stages == 1
    assert (made.head.out_features, made.dropout.p) == (3, 0.5)


def test_create_classifier_takes_pooling_and_fusion():
    head = {"pooling": "lse", "fusion": "max", "lse_r": 4.0, "attention": 8}
    assert create_classifier({"name": "tiny"}, 3, 0.5, head).resolved() == head
    with pytest.raises(InputError, match="unknown pooling 'avg', expected one of mean, max"):
        create_classifier({"name": "tiny"}, 3, 0.5, {"pooling": "avg"})


@pytest.mark.parametrize(
    ("pooling", "fusion"),
    [("max", "max"), ("lse", "mean"), ("noisy_or", "attention"), ("gated_attention", "attention")],
)
def test_places_and_views_are_pooled_as_the_settings_say(pooling, fusion, tiny, settings, tmp_path):
    settings["classifier"] |= {"pooling": pooling, "fusion": fusion, "attention": 4}
    settings["classifier"]["optimizer"]["layer_decay"] = 0.5
    tiny.train.image_rows[:] = [[row, (row + 3) % 24] if row % 2 else [row] for row in range(24)]
    reader, _ = classify(tmp_path / "1", tiny, settings)
    assert reader.classifier.resolved()["pooling"] == pooling
    assert all(bool(value.isfinite().all()) for value in reader.state_dict().values())
    second, _ = classify(tmp_path / "2", tiny, settings, start_from=reader.classifier)
    assert second.classifier.resolved()["fusion"] == fusion
    dataset = StudyDataset(tiny.train, tiny.cache, tiny.table)
    _, scores = extract_features(second.classifier, dataset, False, 7, [None])
    batch = dataset.__getitems__(range(24))
    reading = second.eval().read(to_unit(batch.images), batch.views)
    assert torch.allclose(scores, reading.labels, atol=1e-5)


def test_a_round_may_ask_for_another_pooling(tiny, settings, tmp_path):
    first, _ = classify(tmp_path / "1", tiny, settings)
    assert first.classifier.resolved()["pooling"] == "mean"
    settings["classifier"]["pooling"] = "max"
    second, _ = classify(tmp_path / "2", tiny, settings, start_from=first.classifier)
    assert second.classifier.resolved()["pooling"] == "max"


def test_settings_of_before_pool_by_the_mean(tiny, settings, tmp_path):
    for key in ("pooling", "fusion", "lse_r", "attention"):
        del settings["classifier"][key]
    reader, _ = classify(tmp_path, tiny, settings)
    assert reader.classifier.resolved()["pooling"] == "mean"
    assert set(reader.state_dict()) >= {"classifier.head.weight", "classifier.head.bias"}
    assert not [name for name in reader.state_dict() if "pooling" in name or "fusion" in name]


def test_features_are_those_of_the_network_copy_by_copy(tiny):
    reader = untrained(tiny)
    dataset = StudyDataset(tiny.val, tiny.cache, tiny.table)
    calls = []
    features, scores = extract_features(
        reader.classifier,
        dataset,
        False,
        5,
        [None, Augment(seed=1)],
        progress=lambda *a: calls.append(a),
    )
    assert features.shape == (12, 2, 32)
    images = to_unit(torch.from_numpy(tiny.cache.pixels[24:])).view(12, 1, 1, 32, 32)
    with torch.no_grad():
        output = reader.classifier.forward_all(images, torch.ones(12, 1, dtype=torch.bool))
        plain, expected = output.features, output.logits.sigmoid()
    assert torch.allclose(features[:, 0], plain, atol=1e-5)
    assert not torch.allclose(features[:, 1], plain, atol=1e-3)
    assert torch.allclose(scores, expected, atol=1e-5)
    assert calls == [(5, 24), (10, 24), (12, 24), (17, 24), (22, 24), (24, 24)]


def test_a_study_of_two_views_trains_too(tiny, settings, tmp_path):
    tiny.train.image_rows[:] = [[row, (row + 3) % 24] if row % 2 else [row] for row in range(24)]
    reader, _ = classify(tmp_path, tiny, settings)
    assert all(bool(value.isfinite().all()) for value in reader.state_dict().values())


@pytest.mark.parametrize("name", ["attention_lstm", "transformer"])
def test_a_decoder_of_maps_is_trained_on_maps(name, tiny, settings, tmp_path, caplog):
    small = {"attention_lstm": {"embedding": 8, "attention": 4}, "transformer": {"heads": 2}}
    decoder = {"name": name, "hidden": 16, **small[name]}
    with caplog.at_level("INFO"):
        reader, score = generate(tmp_path, tiny, {**settings, "decoder": decoder})
    assert 0.0 <= score <= 1.0
    assert "feature maps of 24 studies in 2 copies" in caplog.text
    pictures = to_unit(torch.from_numpy(tiny.cache.pixels[24:])).unsqueeze(1).unsqueeze(1)
    reading = reader.read(pictures, torch.ones(12, 1, dtype=torch.bool))
    assert reading.features.shape == (12, 32)
    for tokens, looked in zip(reading.generated.tokens, reading.generated.attention, strict=True):
        assert looked.shape == (len(tokens) + 1, 4)  # 2 x 2 places of a picture of 32 px


def test_maps_of_features_are_those_that_are_pooled(tiny):
    network = untrained(tiny).classifier
    tiny.train.image_rows[0] = [0, 30]  # one study of two views
    dataset = StudyDataset(tiny.train, tiny.cache, tiny.table)
    pooled, scores = extract_features(network, dataset, False, 7, [None])
    maps, again = extract_features(network, dataset, False, 7, [None], maps=True)
    assert maps.shape == (24, 1, 2, 32, 2, 2)
    assert maps.dtype == torch.float16
    assert torch.equal(scores, again)
    assert maps[1:, :, 1].isnan().all()
    mean = maps.float().mean(dim=(4, 5))
    torch.testing.assert_close(mean.nanmean(dim=2), pooled, atol=2e-3, rtol=1e-2)


def test_maps_that_do_not_fit_are_refused_before_the_work(tiny, settings, tmp_path):
    decoder = {"name": "transformer", "hidden": 16, "heads": 2}
    generator = {**settings["generator"], "map_memory": 1e-6}
    with pytest.raises(InputError, match=r"24 studies in 2 copies, 1 x 32 x 2 x 2 each, take"):
        generate(tmp_path, tiny, {**settings, "decoder": decoder, "generator": generator})


def test_a_decoder_needs_a_position_for_each_word(tiny, settings, tmp_path):
    decoder = {"name": "transformer", "hidden": 16, "heads": 2, "positions": 6}
    with pytest.raises(InputError, match=r"give decoder\.positions=7 or more"):
        generate(tmp_path, tiny, {**settings, "decoder": decoder})


def test_own_words_and_labels_in_training(tiny, settings, tmp_path):
    chosen = {**settings["generator"], "scheduled_sampling": 0.5, "auxiliary": 0.5}
    reader, _ = generate(tmp_path / "1", tiny, {**settings, "generator": chosen})
    again, _ = generate(tmp_path / "2", tiny, {**settings, "generator": chosen})
    plain, _ = generate(tmp_path / "3", tiny, settings)
    assert equal(weights(reader), weights(again))
    assert weights(reader).keys() == weights(plain).keys()  # the layer for the labels is left
    assert not equal(weights(reader), weights(plain))
    with open(tmp_path / "1" / "metrics.csv", newline="") as file:
        assert all(float(row["train/labels"]) > 0 for row in csv.DictReader(file))


def test_a_folders_tokenizer_needs_a_folder(tiny, settings, tmp_path):
    chosen = {**settings["generator"], "target": "impression", "tokenizer": "folder"}
    with pytest.raises(InputError, match="give decoder=gpt2 decoder.folder=PATH"):
        generate(tmp_path, tiny, {**settings, "generator": chosen})


def test_a_gpt2_of_a_folder_is_trained_on_its_own_words(tiny, settings, tmp_path, caplog):
    from transformers import GPT2Config, GPT2LMHeadModel

    from cascade.text.subwords import byte_letters

    folder = tmp_path / "gpt2"
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 32}
    GPT2LMHeadModel(GPT2Config(vocab_size=257, **sizes)).save_pretrained(folder)
    names = [*byte_letters(), "<|endoftext|>"]
    ids = {name: index for index, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    chosen = {**settings["generator"], "target": "impression", "tokenizer": "folder"}
    decoder = {"name": "gpt2", "folder": str(folder)}
    with caplog.at_level("INFO"):
        reader, _ = generate(
            tmp_path / "run", tiny, {**settings, "generator": chosen, "decoder": decoder}
        )
    assert "258 of 260 tokens known to it" in caplog.text  # PAD and UNK are not
    assert (reader.decoder.hidden, len(reader.vocabulary)) == (8, 260)
    del decoder["folder"]
    with pytest.raises(InputError, match="holds no config.json"):
        generate(
            tmp_path / "x", tiny, {**settings, "decoder": {**decoder, "folder": str(tmp_path)}}
        )


def test_the_papers_decoder_from_settings(tiny, settings, tmp_path):
    chosen = {**settings["generator"], "decoding": "sample", "first_word": "label", "epochs": 1}
    decoder = {"name": "lstm", "embedding": 8, "hidden": 16, "project": "pca"}
    reader, _ = generate(tmp_path, tiny, {**settings, "generator": chosen, "decoder": decoder})
    assert (reader.decoding, reader.seed, reader.temperature) == ("sample", 5, 1.0)
    axes = reader.decoder.axes  # of 32 features, of training studies alone
    torch.testing.assert_close(axes.T @ axes, torch.eye(16), atol=1e-5, rtol=0)


def test_a_decoding_that_is_none_is_refused_before_the_work(tiny, settings, tmp_path):
    chosen = {**settings["generator"], "decoding": "greedy"}
    with pytest.raises(InputError, match="decoding=greedy: expected one of beam, sample"):
        generate(tmp_path, tiny, {**settings, "generator": chosen})


def test_a_hierarchical_decoder_needs_sentences(tiny, settings, tmp_path):
    decoder = {"name": "hierarchical_lstm", "embedding": 8, "hidden": 16, "sentence": 8}
    chosen = {**settings, "decoder": decoder}
    with pytest.raises(InputError, match="no token of the vocabulary ends a sentence"):
        generate(tmp_path / "1", tiny, chosen)
    reports = {"normal": "No mass. Clear.", "opacity/left": "Mass on the left. Else clear."}
    for records in (tiny.train, tiny.val):
        records.texts[:] = [reports.get(text, "Mass. On the right.") for text in records.texts]
    chosen["generator"] = {**settings["generator"], "target": "findings"}
    reader, score = generate(tmp_path / "2", tiny, chosen)
    assert 0.0 <= score <= 1.0
    assert int(reader.decoder.sentence_ends.sum()) == 1


ASKING = {"condition": "indication", "condition_size": 8, "condition_hidden": 0.2}


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_a_decoder_that_reads_the_indication_from_settings(name, tiny, settings, tmp_path):
    for records in (tiny.train, tiny.val):
        records.indications = [("Chest pain", "", "Cough")[i % 3] for i in range(len(records))]
    tiny.val.indications[0] = "zebra"
    sizes = {"gru": {"embedding": 8}, "transformer": {"heads": 2}}
    decoder = {"name": name, "hidden": 16, **sizes[name]}
    chosen = {**settings, "decoder": decoder, "generator": {**settings["generator"], **ASKING}}
    reader, _ = generate(tmp_path / "1", tiny, chosen)
    again, _ = generate(tmp_path / "2", tiny, chosen)
    assert equal(weights(reader), weights(again))
    assert not reader.condition.training
    assert sorted(reader.condition.vocabulary.tokens[5:]) == ["chest", "cough", "pain"]
    assert reader.condition.missing.abs().sum() > 0  # learnt


def test_a_condition_that_cannot_be_is_one_line(tiny, settings, tmp_path):
    def fit(decoder, **options):
        chosen = {**settings["generator"], **ASKING, **options}
        return generate(tmp_path, tiny, {**settings, "generator": chosen, "decoder": decoder})

    gru = {"name": "gru", "embedding": 8, "hidden": 16}
    with pytest.raises(InputError, match="condition=history: expected one of none, indication"):
        fit(gru, condition="history")
    with pytest.raises(InputError, match="no training study has an indication"):
        fit(gru)
    with pytest.raises(InputError, match=r"decoder\.project=pca .* knows no indication"):
        fit({**gru, "project": "pca"})


def critical(settings, **options):
    further = {"epochs": 2, "reward": "labels", "lr": 0.01, "weight": 0.2, **options}
    generator = {**settings["generator"], "epochs": 1, "self_critical": further}
    return {**settings, "generator": generator}


def rows_of(directory):
    with open(directory / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_self_critical_epochs_follow_and_resume(tiny, settings, tmp_path, monkeypatch):
    settings["decoder"]["dropout"] = 0.0
    chosen = critical(settings)
    whole, score = generate(tmp_path / "whole", tiny, chosen)
    rows = rows_of(tmp_path / "whole")
    assert [row["train/reward_drawn"] != "" for row in rows] == [False, True, True]
    assert all(0 <= float(row["val/reward"]) <= 1 for row in rows)
    assert score == max(float(row["val/bleu"]) for row in rows)
    with monkeypatch.context() as patch:
        kill_at(patch, 2, Killed())
        with pytest.raises(Killed):
            generate(tmp_path / "killed", tiny, chosen)
    resumed, again = generate(tmp_path / "killed", tiny, chosen)
    assert epochs(tmp_path / "killed") == [0, 1, 2]
    assert equal(weights(whole), weights(resumed))
    assert score == again


def test_the_epoch_may_be_chosen_by_the_reward(tiny, settings, tmp_path):
    chosen = critical(settings)
    chosen["generator"]["monitor"] = "reward"
    reader, score = generate(tmp_path, tiny, chosen)
    best = max(rows_of(tmp_path), key=lambda row: float(row["val/reward"]))
    assert score == float(best["val/bleu"])  # what a card tells is BLEU all the same
    assert not reader.decoder.training


def test_self_critical_settings_that_are_none(tiny, settings, tmp_path):
    with pytest.raises(InputError, match="reward=bleu: expected one of cider, labels"):
        generate(tmp_path, tiny, critical(settings, reward="bleu"))
    chosen = {**settings, "generator": {**settings["generator"], "monitor": "loss"}}
    with pytest.raises(InputError, match="monitor=loss: expected one of bleu, reward"):
        generate(tmp_path, tiny, chosen)


def test_random_crops_in_training_and_the_centre_afterwards(tiny, settings, tmp_path):
    settings["classifier"]["augment"]["crop"] = 24
    settings["generator"]["augment"]["crop"] = 24
    reader, score = classify(tmp_path / "c", tiny, settings)
    assert reader.classifier.encoder.crop == 24
    assert score > 0
    images = torch.rand(1, 1, 1, 32, 32)
    views = torch.ones(1, 1, dtype=torch.bool)
    whole, centre = (
        reader.classifier(picture, views) for picture in (images, images[..., 4:28, 4:28])
    )
    assert torch.equal(whole, centre)
    whole = fit_generator(
        tmp_path / "g", reader, tiny.train, tiny.val, tiny.cache, tiny.table, settings
    )[0]
    assert whole.decoder is not None


def test_a_decoder_reads_the_pictures_that_the_classifier_learned_on(tiny, settings, tmp_path):
    settings["generator"]["augment"]["crop"] = 24
    with pytest.raises(InputError, match=r"trained on crop=None.* give .*crop=null"):
        generate(tmp_path, tiny, settings)
    settings["classifier"]["augment"]["crop"] = 33
    with pytest.raises(InputError, match=r"classifier.augment.crop=33"):
        classify(tmp_path, tiny, settings)


def test_every_choice_of_loss_trains_and_changes_something(tiny, settings, tmp_path):
    tiny.table.values.iloc[0, 1] = -1.0
    chosen = {"loss": "asymmetric", "uncertain": "soft", "class_weights": "effective"}
    settings["classifier"].update(chosen, normal_share=0.5)
    whole, score = classify(tmp_path / "whole", tiny, settings)
    again, _ = classify(tmp_path / "again", tiny, settings)
    assert equal(weights(whole), weights(again))
    assert 0.0 <= score <= 1.0
    plain = {**settings, "classifier": {**settings["classifier"], "loss": "bce"}}
    other, _ = classify(tmp_path / "other", tiny, plain)
    assert not equal(weights(whole), weights(other))


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_a_reader_comes_calibrated(method, tiny, settings, tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.training.calibrate.LEAST", 2)
    settings["classifier"]["calibration"] = method
    reader, _ = classify(tmp_path, tiny, settings)
    assert reader.calibration.method == method
    assert reader.calibration.kept == []
    assert reader.calibration.agreement.studies == 12
    assert reader.operating_points["opacity"]["positives"] == 8
    threshold = reader.operating_points["opacity"]["best_f1"]["threshold"]
    images = to_unit(torch.from_numpy(tiny.cache.pixels[24:])).view(12, 1, 1, 32, 32)
    said = reader.read(images, torch.ones(12, 1, dtype=torch.bool)).diseases[:, 1]
    assert torch.isclose(said, torch.tensor(threshold)).any()  # it is one of the scores


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"loss": "asymmetric"}, "'asymmetric' is not for exclusive labels"),
        ({"soft_range": [0.9, 0.1]}, "soft_range"),
        ({"class_weights": "sqrt"}, "unknown class_weights"),
    ],
)
def test_a_loss_that_cannot_be_is_said_before_training(choice, words, tiny, settings, tmp_path):
    settings["classifier"].update(choice)
    tiny.table.exclusive = True
    with pytest.raises(InputError, match=words):
        classify(tmp_path, tiny, settings)
    assert not (tmp_path / "checkpoints").exists()


def test_data_dropout_needs_a_normal_label(tiny, settings, tmp_path):
    settings["classifier"]["normal_share"] = 0.258
    tiny.table.values.columns = ["clear", "opacity"]
    tiny.table.labels[0] = Label("clear", "clear")
    with pytest.raises(InputError, match="normal_share=0.258 needs a label named normal"):
        classify(tmp_path, tiny, settings)
