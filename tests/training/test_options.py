"""What Lightning adds to a training: averages, early ends, precision, accumulation, loggers."""

import csv

import pytest
import torch

from cascade.errors import CascadeError, InputError
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.training.callbacks import EpochDraws, Pace
from cascade.training.classifier import ClassifierModule
from cascade.training.fit_classifier import classifier_task, fit_classifier
from cascade.training.fit_generator import fit_generator
from cascade.training.rates import HIGHEST, LOWEST, find_rate, suggest

EMA = {"_target_": "pytorch_lightning.callbacks.EMAWeightAveraging", "decay": 0.5}
STOP = {
    "_target_": "pytorch_lightning.callbacks.EarlyStopping",
    "monitor": "auto",
    "mode": "max",
    "patience": 2,
}


def classify(directory, tiny, settings):
    return fit_classifier(directory, tiny.train, tiny.val, tiny.cache, tiny.table, settings)


def generate(directory, tiny, settings):
    torch.manual_seed(0)
    network = StudyClassifier(create_encoder("tiny", width=4), 2).eval()
    reader = Reader(network, tiny.table.labels, False)
    return fit_generator(directory, reader, tiny.train, tiny.val, tiny.cache, tiny.table, settings)


FITS = pytest.mark.parametrize("fit", [classify, generate])


def rows(directory):
    with open(directory / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def plain_sgd(settings, **changes):
    settings["classifier"]["optimizer"] = {
        "name": "sgd",
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "schedule": "linear",
        "warmup": 0.0,
    }
    settings["classifier"].update(augment=None, dropout=0.0, balance="none", **changes)
    return settings


# --- an average of the weights


def test_the_average_is_scored_and_kept(tiny, settings, tmp_path, monkeypatch):
    passed, original = [], ClassifierModule.on_train_batch_end

    def note(self, *_):
        passed.append(self.network.head.weight.detach().clone())

    monkeypatch.setattr(ClassifierModule, "on_train_batch_end", note)
    settings["callbacks"] = {"ema": EMA}
    settings["classifier"]["epochs"] = 1
    reader, _ = classify(tmp_path, tiny, settings)
    monkeypatch.setattr(ClassifierModule, "on_train_batch_end", original)
    first, second, third = passed  # begins as the weights after the first step
    average = 0.25 * first + 0.25 * second + 0.5 * third
    assert torch.allclose(reader.classifier.head.weight, average, atol=1e-6)
    assert not torch.allclose(reader.classifier.head.weight, third, atol=1e-4)


class Killed(BaseException):
    """As if the process had been killed."""


@FITS
def test_the_average_survives_a_kill(fit, tiny, settings, tmp_path, monkeypatch):
    settings["callbacks"] = {"ema": EMA}
    for stage in ("classifier", "generator"):
        settings[stage]["epochs"] = 3
    whole, score = fit(tmp_path / "whole", tiny, settings)

    start = EpochDraws.on_train_batch_start

    def die(self, trainer, module, batch, index):
        if trainer.current_epoch == 2:
            raise Killed
        start(self, trainer, module, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(EpochDraws, "on_train_batch_start", die)
        with pytest.raises(Killed):
            fit(tmp_path / "killed", tiny, settings)
    resumed, again = fit(tmp_path / "killed", tiny, settings)
    assert len(rows(tmp_path / "killed")) == 3
    assert equal(whole, resumed)
    assert again == score
    saved = [
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)
        for name in ("whole", "killed")
    ]
    for kind in ("state_dict", "current_model_state"):  # the average, and what is trained on
        one, other = (each[kind] for each in saved)
        assert all(torch.equal(one[name], other[name]) for name in one)


# --- an early end


@FITS
def test_it_stops_where_the_score_stands_still_and_stays_stopped(
    fit, tiny, settings, tmp_path, monkeypatch
):
    settings["callbacks"] = {"stop": STOP}
    settings["encoder"]["unfreeze"] = 0
    for stage in ("classifier", "generator"):
        settings[stage]["epochs"] = 9
        settings[stage]["optimizer"].update(lr=1e-12, warmup=0.0)
    first, score = fit(tmp_path, tiny, settings)
    assert [row["epoch"] for row in rows(tmp_path)] == ["0", "1", "2"]  # the best and two in vain
    monkeypatch.setattr(Pace, "on_train_batch_end", lambda *_: pytest.fail("trained again"))
    again, same = fit(tmp_path, tiny, settings)
    assert equal(first, again)
    assert score == same


# --- steps of several batches


def test_two_batches_of_eight_are_one_of_sixteen(tiny, settings, tmp_path):
    tiny.train = tiny.train.select(range(16))
    settings = plain_sgd(settings, epochs=4)
    settings["encoder"] = {"name": "squeezenet1_1"}  # without batch norm
    settings["classifier"]["batch_size"] = 16
    classify(tmp_path / "16", tiny, settings)
    settings["classifier"]["batch_size"] = 8
    settings["trainer"]["accumulate_grad_batches"] = 2
    classify(tmp_path / "8", tiny, settings)
    for one, two in zip(rows(tmp_path / "16"), rows(tmp_path / "8"), strict=True):
        assert (one["step"], one["lr"]) == (two["step"], two["lr"])  # counted by optimizer steps
        for name in ("train/loss", "val/loss", "val/auroc"):
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-4)
    assert [row["step"] for row in rows(tmp_path / "8")] == ["1", "2", "3", "4"]
    rates = [float(row["lr"]) for row in rows(tmp_path / "8")]
    assert rates == pytest.approx([0.05, 0.0375, 0.025, 0.0125])


def test_a_step_schedule_counts_epochs(tiny, settings, tmp_path):
    settings = plain_sgd(settings, epochs=4)
    settings["classifier"]["optimizer"].update(schedule="step", every=2, drop=0.1)
    classify(tmp_path, tiny, settings)
    rates = [float(row["lr"]) for row in rows(tmp_path)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.005])


def test_a_plateau_follows_the_score(tiny, settings, tmp_path):
    settings = plain_sgd(settings, epochs=4)
    settings["encoder"]["unfreeze"] = 0
    settings["classifier"]["optimizer"].update(
        schedule="plateau", lr=1e-12, patience=1, drop=0.1, warmup=0.5
    )
    classify(tmp_path, tiny, settings)
    rates = [float(row["lr"]) / 1e-12 for row in rows(tmp_path)]
    # six of twelve steps rise; the score of epoch 0 is never beaten: after two in vain a tenth
    assert rates == pytest.approx([1 / 6, 4 / 6, 1.0, 0.1])


# --- precision, compilation, loggers


@FITS
def test_it_trains_in_bfloat16(fit, tiny, settings, tmp_path):
    settings["trainer"]["precision"] = "bf16-mixed"
    reader, score = fit(tmp_path, tiny, settings)
    assert 0 <= score <= 1
    assert all(value.dtype != torch.bfloat16 for value in reader.state_dict().values())


def test_a_compiled_network_keeps_its_names_and_weights(tiny, settings, tmp_path):
    settings["classifier"]["epochs"] = 1
    plain, score = classify(tmp_path / "plain", tiny, settings)
    settings["classifier"]["compile"] = "eager"
    compiled, same = classify(tmp_path / "compiled", tiny, settings)
    assert score == same
    assert equal(plain, compiled)
    saved = torch.load(tmp_path / "compiled/checkpoints/best.ckpt", weights_only=True)
    assert not [name for name in saved["state_dict"] if "_orig_mod" in name]


def test_loggers_write_beside_the_metrics(tiny, settings, tmp_path):
    pytest.importorskip("tensorboard")
    settings["trainer"]["log_every_n_steps"] = 1
    for name in ("CSVLogger", "TensorBoardLogger"):
        settings["logger"] = {
            "_target_": f"pytorch_lightning.loggers.{name}",
            "name": name,
            "version": "",
        }
        classify(tmp_path / name, tiny, settings)
        assert (tmp_path / name / "metrics.csv").is_file()
    assert list((tmp_path / "TensorBoardLogger" / "TensorBoardLogger").glob("events*"))
    with open(tmp_path / "CSVLogger" / "CSVLogger" / "metrics.csv", newline="") as file:
        names = set(csv.DictReader(file).fieldnames)
    assert {"lr-AdamW", "train/loss", "val/auroc"} <= names


def test_one_line_at_the_end(tiny, settings, tmp_path, caplog):
    caplog.set_level("INFO")
    _, score = classify(tmp_path / "classifier", tiny, settings)
    (line,) = [record.message for record in caplog.records if "is best" in record.message]
    assert line.startswith("classifier: 2 epochs, epoch ")
    assert f"(val/auroc {score:.4f}); " in line
    assert line.endswith(" s of training steps on the CPU")
    caplog.clear()
    classify(tmp_path / "classifier", tiny, settings)  # nothing is left to do
    (line,) = [record.message for record in caplog.records if "is best" in record.message]
    assert "2 epochs, 0 of them now, " in line


def test_pace_by_hand():
    pace = Pace()
    pace.studies, pace.seconds, pace.epochs = 300, 2.0, 3
    assert pace.summary(3, 1, "val/auroc", 0.75, "the CPU") == (
        "3 epochs, epoch 1 is best (val/auroc 0.7500); 150 studies/s, 2 s of training steps on "
        "the CPU"
    )


# --- the learning rate test


def test_the_range_test_finds_where_the_loss_falls_and_leaves_the_weights(tiny, settings, tmp_path):
    task = classifier_task(tiny.train, tiny.val, tiny.cache, tiny.table, plain_sgd(settings))
    before = {key: value.clone() for key, value in task.module.state_dict().items()}
    found = find_rate(task, tmp_path, settings)
    assert found.rates[0] >= LOWEST
    assert found.rates[-1] <= HIGHEST
    assert found.rates == sorted(found.rates)
    assert len(found.rates) == len(found.losses)
    assert found.suggested in found.rates
    after = task.module.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not list(tmp_path.iterdir())


def test_the_range_test_is_of_one_process(tiny, settings, tmp_path):
    task = classifier_task(tiny.train, tiny.val, tiny.cache, tiny.table, settings)
    settings["trainer"]["devices"] = 2
    with pytest.raises(InputError, match="find_lr=true takes one process"):
        find_rate(task, tmp_path, settings)


def test_the_suggestion_by_hand():
    # between 1e-3 and 1e-1 the loss falls by 1 a power of ten, elsewhere by less
    assert suggest([1e-4, 1e-3, 1e-2, 1e-1, 1.0], [3.0, 2.5, 1.5, 0.5, 0.9]) == 1e-2
    nan = float("nan")
    assert suggest([1e-4, 1e-3, 1e-2, 1e-1], [3.0, 2.0, 1.5, nan]) == 1e-4
    for losses in ([1.0, 1.0, 2.0], [1.0, nan, nan]):
        with pytest.raises(CascadeError, match="the loss fell at no rate"):
            suggest([0.1, 0.2, 0.3], losses)
