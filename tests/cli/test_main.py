"""The door: help, version, sweeps, and what the checks of settings let pass."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import cascade as package
from cascade.cli.checks import check_settings, check_value
from cascade.cli.main import COMMANDS, arrange, main
from cascade.errors import InputError


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"], ["help", "trian"]], ids=str)
def test_the_overview_names_every_command(cascade, words):
    outcome = cascade(*words)
    assert outcome.status == 0
    assert all(re.search(rf"^  {command} ", outcome.out, flags=re.M) for command in COMMANDS)
    assert "Examples:" in outcome.out
    assert package.RESEARCH_NOTICE in outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_examples_of_itself(cascade, command):
    outcome = cascade(command, "--help")
    assert outcome.status == 0
    examples = outcome.out.partition("Example")[2]
    assert f"\n  cascade {command} " in examples
    assert "Exit status" in outcome.out
    text = outcome.out.replace(package.RESEARCH_NOTICE, "")
    assert max(map(len, text.splitlines())) <= 100
    assert cascade("help", command).out == outcome.out
    assert cascade(command, "seed=1", "-h").out == outcome.out


def test_help_imports_nothing_heavy():
    heavy = {"torch", "pandas", "numpy", "hydra", "omegaconf", "pydicom", "pytorch_lightning"}
    code = f"""
import sys
from cascade.cli.main import dispatch
for command in {list(COMMANDS)}:
    assert dispatch([command, "--help"]) == 0
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.splitlines()[-1].split()) & heavy


def test_python_m_cascade_says_its_version():
    run = [sys.executable, "-m", "cascade", "--version"]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout == f"cascade {package.__version__}\n"


def test_the_entry_point_hands_its_status_over(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cascade", "trian"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2


def test_cfg_job_prints_the_settings_and_does_nothing(cascade, tmp_path):
    outcome = cascade("mine", "collection=c", "--cfg", "job")
    assert outcome.status == 0
    assert "collection: c" in outcome.out
    assert not any(tmp_path.iterdir())


def test_options_may_stand_anywhere():
    assert arrange(["a=1,2", "-m", "out=x"]) == ["-m", "a=1,2", "out=x"]
    assert arrange(["a=1", "--cfg", "job", "~b"]) == ["--cfg", "job", "a=1", "~b"]
    with pytest.raises(InputError, match="'--seed=3'.*without dashes, seed=3"):
        arrange(["--seed=3"])


# --- sweeps


def test_a_job_that_fails_does_not_stop_the_others(cascade, collection, tmp_path):
    outcome = cascade(
        "mine", f"collection={collection}", "-m", "labels.min_studies=9999,1", "out=new"
    )
    assert outcome.status == 1
    failed, summary = [line for line in outcome.err.splitlines() if line.startswith("cascade: ")]
    assert failed.startswith("cascade: job 0 (labels.min_studies=9999): no label is carried by")
    assert summary == "cascade: 1 of 2 jobs failed"
    assert not (tmp_path / "new" / "0").exists()
    assert (tmp_path / "new" / "1" / "labels.json").is_file()

    again = cascade("mine", f"collection={collection}", "-m", "labels.min_studies=1,2", "out=new")
    assert again.status == 1  # job 1 is refused for what lies there, and that stays
    assert "job 1 (labels.min_studies=2)" in again.err
    assert "is not empty" in again.err
    assert (tmp_path / "new" / "1" / "labels.json").is_file()


def test_a_sweep_without_a_good_job_is_bad_input_and_leaves_nothing(cascade, collection, tmp_path):
    outcome = cascade(
        "mine", f"collection={collection}", "-m", "labels.min_studies=9998,9999", "out=new"
    )
    assert outcome.status == 2
    assert "2 of 2 jobs failed" in outcome.err
    assert not any(tmp_path.iterdir())


def test_a_wrong_choice_in_a_sweep_stops_it_at_once(cascade, collection, tmp_path):
    outcome = cascade("mine", f"collection={collection}", "-m", "labels=terms,trems", "out=new")
    assert outcome.status == 2
    assert "'trems' for labels" in outcome.line
    assert not any(tmp_path.iterdir())


# --- the checks


DEFAULTS = {
    "seed": 1,
    "rounds": 2,
    "data": {"root": None, "workers": 2, "columns": {"image": "image"}},
    "classifier": {"dropout": 0.2, "augment": {"shift": 0.1}},
    "trainer": {"devices": 1},
    "logger": {},
}


def changed(**settings):
    return check_settings("run", DEFAULTS | settings, DEFAULTS)


def test_settings_as_shipped_pass():
    assert changed() == DEFAULTS


def test_a_folder_whose_name_is_a_number_is_a_text():
    data = DEFAULTS["data"] | {"root": 2017}
    assert changed(data=data)["data"]["root"] == "2017"
    assert data["root"] == 2017


def test_what_lightning_is_told_is_its_own():
    assert changed(trainer={"devices": "auto", "fast_dev_run": True})
    assert changed(logger={"name": "x"})


def test_null_turns_augmentation_off_but_not_a_number():
    assert changed(classifier={"dropout": 0, "augment": None})["classifier"]["augment"] is None
    with pytest.raises(InputError, match="classifier.dropout=null: expected a number"):
        changed(classifier={"dropout": None, "augment": None})


def test_a_column_may_be_added_but_no_setting():
    columns = {"image": "image", "mesh": "MeSH"}
    assert changed(data=DEFAULTS["data"] | {"columns": columns})
    with pytest.raises(InputError, match="unknown setting 'data.worker': did you mean 'data.work"):
        changed(data=DEFAULTS["data"] | {"worker": 3})


@pytest.mark.parametrize("value", [True, "1", [1], {"a": 1}, None, 1.0, float("nan"), 0])
def test_a_whole_number_is_nothing_else(value):
    with pytest.raises(InputError, match="a whole number, 1 or more"):
        check_value("rounds", value, 2)


@pytest.mark.parametrize(("value", "fits"), [(0, True), (0.99, True), (1.0, False), (-0.1, False)])
def test_bounds(value, fits):
    if fits:
        assert check_value("classifier.dropout", value, 0.2) == value
    else:
        with pytest.raises(InputError, match="0 or more, less than 1"):
            check_value("classifier.dropout", value, 0.2)
