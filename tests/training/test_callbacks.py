import csv
from types import SimpleNamespace

import pytest
import torch

from cascade.models.encoders import create_encoder
from cascade.training.callbacks import GradualUnfreezing, MetricsFile
from cascade.training.classifier import ClassifierModule
from cascade.training.fit_classifier import fit_classifier


def epoch(metrics, number, **values):
    """One epoch as Lightning calls it: validation first, then what training logged."""
    trainer = SimpleNamespace(
        sanity_checking=False,
        current_epoch=number,
        global_step=10 * (number + 1),
        is_global_zero=True,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.25}, {"lr": 0.5}])],
        callback_metrics={key: torch.tensor(value) for key, value in values.items()},
    )
    metrics.on_train_epoch_start(trainer, None)
    metrics.on_validation_epoch_end(trainer, None)
    metrics.on_train_epoch_end(trainer, None)
    return trainer


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_an_epoch(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    epoch(metrics, 0, loss=0.5)
    epoch(metrics, 1, loss=0.25, bleu=1.0)
    first, second = read(tmp_path / "metrics.csv")
    assert (first["epoch"], first["step"], first["loss"], first["bleu"]) == ("0", "10", "0.5", "")
    assert (second["epoch"], second["step"], second["bleu"]) == ("1", "20", "1.0")
    assert (float(second["seconds"]) >= 0, second["lr"]) == (True, "0.5")


def test_rows_survive_a_state_dict_and_the_epoch_that_is_done_again(tmp_path):
    before = MetricsFile(tmp_path / "metrics.csv")
    epoch(before, 0, loss=0.5)
    torch.save(before.state_dict(), tmp_path / "state.pt")
    epoch(before, 1, loss=9.0)  # killed before its checkpoint was written
    after = MetricsFile(tmp_path / "metrics.csv")
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    epoch(after, 1, loss=0.25)
    rows = read(tmp_path / "metrics.csv")
    assert [(row["epoch"], row["loss"]) for row in rows] == [("0", "0.5"), ("1", "0.25")]


def test_a_second_validation_of_an_epoch_replaces_the_first(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    trainer = epoch(metrics, 0, loss=0.5)
    metrics.on_validation_epoch_end(trainer, None)
    assert [row["epoch"] for row in metrics.rows] == [0]


def test_a_sanity_check_is_no_epoch(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.on_validation_epoch_end(SimpleNamespace(sanity_checking=True), None)
    metrics.on_train_epoch_end(SimpleNamespace(callback_metrics={}, is_global_zero=True), None)
    assert not (tmp_path / "metrics.csv").exists()


class Killed(Exception):
    pass


def gradually(directory, tiny, settings, kill_at=None):
    """Fit with one more stage an epoch; returns the reader and the open stages of each epoch."""
    settings["encoder"].update(gradual=1, unfreeze=2)
    settings["classifier"].update(epochs=4, dropout=0.0, augment=None)
    opened = []
    original = ClassifierModule.training_step

    def step(self, batch, index):
        if self.current_epoch == kill_at:
            raise Killed
        encoder = self.network.encoder
        if index == 0:
            trains = [module.training for module in encoder.stages]
            opens = [all(p.requires_grad for p in stage.parameters()) for stage in encoder.stages]
            assert trains == opens
            opened.append(opens.count(True))
        return original(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClassifierModule, "training_step", step)
        reader, _ = fit_classifier(
            directory, tiny.train, tiny.val, tiny.cache, tiny.table, settings
        )
    return reader, opened


def test_one_more_stage_opens_every_so_many_epochs(tiny, settings, tmp_path):
    reader, opened = gradually(tmp_path, tiny, settings)
    assert opened == [0, 1, 2, 2]
    assert reader.classifier.encoder.open_stages == 2


def test_gradual_unfreezing_survives_a_kill(tiny, settings, tmp_path):
    settings["classifier"]["optimizer"]["layer_decay"] = 0.5
    whole, _ = gradually(tmp_path / "whole", tiny, settings)
    with pytest.raises(Killed):
        gradually(tmp_path / "killed", tiny, settings, kill_at=2)
    resumed, opened = gradually(tmp_path / "killed", tiny, settings)
    assert opened == [2, 2]
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.state_dict().items())


def test_a_depth_that_was_never_reached_is_said(tiny, settings, tmp_path, caplog):
    settings["encoder"]["gradual"] = 5
    fit_classifier(tmp_path, tiny.train, tiny.val, tiny.cache, tiny.table, settings)
    assert "encoder.gradual=5 opened 0 of 4 stages in 2 epochs" in caplog.text


def test_gradual_is_an_epoch_count_of_the_encoder_alone():
    encoder = create_encoder("tiny", width=4)
    encoder.unfreeze(3)
    callback = GradualUnfreezing(encoder, 2)
    opened = []
    for number in range(8):
        callback.on_train_epoch_start(SimpleNamespace(current_epoch=number), None)
        opened.append(encoder.open_stages)
    assert opened == [0, 0, 1, 1, 2, 2, 3, 3]
