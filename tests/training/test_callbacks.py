import csv
from types import SimpleNamespace

import torch

from cascade.training.callbacks import MetricsFile


def epoch(metrics, number, **values):
    """One epoch as Lightning calls it: validation first, then what training logged."""
    trainer = SimpleNamespace(
        sanity_checking=False,
        current_epoch=number,
        global_step=10 * (number + 1),
        is_global_zero=True,
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
    assert float(second["seconds"]) >= 0


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
