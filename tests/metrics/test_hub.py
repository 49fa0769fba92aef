"""RadEval in a process of its own, by stand-ins: the package and its weights are not at hand."""

import os
import sys
import time

import pytest

from cascade.cli.checks import RULES, check_value
from cascade.errors import InputError
from cascade.evaluation.scoring import evaluate
from cascade.evaluation.systems import Rows, System
from cascade.evaluation.tables import as_json, format_tables, write_evaluation
from cascade.metrics.caption import NotRunError
from cascade.metrics.hub import HUB_METRICS, HubOptions, hub_figures, hub_scores, system_scores

START = """
import json, os, signal, socket, subprocess, sys, time
class RadEval:
    def __init__(self, metrics, show_progress):
        self.metrics = metrics
    def __call__(self, refs, hyps):
"""
KNOWN = """
print("a progress bar")
same = sum(a == b for a, b in zip(refs, hyps)) / len(refs)
return {"f1": same, "nested": {"micro": {"f1": 0.5}}, "rows": [1.0], "who": self.metrics[0]}
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Writes a package ``radeval`` whose call runs the given lines."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(body):
        lines = "".join(f"        {line}\n" for line in body.strip().splitlines())
        (tmp_path / "radeval").mkdir(exist_ok=True)
        (tmp_path / "radeval" / "__init__.py").write_text(START.lstrip() + lines, encoding="utf-8")

    return write


def test_figures_are_flat_and_numbers_alone(stand_in):
    stand_in(KNOWN)
    found = hub_scores("chexbert", ["a", "ü\n"], ["a", "b"])
    assert found == {"f1": 0.5, "nested.micro.f1": 0.5}


def test_one_load_scores_all_systems(stand_in):
    stand_in("self.calls = getattr(self, 'calls', 0) + 1\nreturn {'calls': self.calls}")
    found = system_scores("radgraph", {"one": ["a"], "two": ["b"]}, ["a"])
    assert found == {"one": {"calls": 1.0}, "two": {"calls": 2.0}}


@pytest.mark.parametrize(
    ("name", "asked"),
    [("chexbert", "f1chexbert"), ("radgraph", "radgraph"), ("radcliq", "radcliq")],
)
def test_radeval_s_own_name_is_asked_for(stand_in, name, asked):
    stand_in(f"return {{'right': float(self.metrics == [{asked!r}])}}")
    assert hub_scores(name, ["a"], ["a"]) == {"right": 1.0}


def test_the_hub_is_offline_in_the_child_alone(stand_in, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    stand_in("return {k: float(os.environ[k]) for k in ('HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE')}")
    assert set(hub_scores("chexbert", ["a"], ["a"]).values()) == {1.0}
    assert os.environ["HF_HUB_OFFLINE"] == "0"


@pytest.mark.parametrize(
    "call",
    ["socket.create_connection(('127.0.0.1', 9), 1)", "socket.getaddrinfo('example.org', 443)"],
)
def test_nothing_reaches_the_network(stand_in, call):
    stand_in(call)
    with pytest.raises(NotRunError, match="no network here: Cascade downloads nothing"):
        hub_scores("chexbert", ["a"], ["a"])


def test_missing_weights_are_one_line_without_a_folder_of_this_machine(stand_in, tmp_path):
    stand_in(f"raise OSError('no file {tmp_path}/hub/chexbert.pth' + chr(10) + 'more')")
    with pytest.raises(NotRunError) as told:
        hub_scores("chexbert", ["a"], ["a"])
    assert str(told.value) == (
        "RadEval failed offline (OSError: no file .../chexbert.pth); weights are expected as "
        "bert-base-uncased in HF_HOME, chexbert.pth of StanfordAIMI/RRG_scorers in "
        "XDG_CACHE_HOME/chexbert; Cascade downloads nothing"
    )


def test_a_missing_package_is_named(stand_in):
    with pytest.raises(NotRunError, match="the package RadEval is not installed: pip install"):
        hub_scores("radcliq", ["a"], ["a"])
    stand_in("import a_package_of_radeval")
    with pytest.raises(NotRunError, match="the package a_package_of_radeval is not installed"):
        hub_scores("radcliq", ["a"], ["a"])


def test_radeval_may_import_itself_by_its_old_name(stand_in):
    stand_in("import RadEval as old\nreturn {'same': float(old.RadEval is RadEval)}")
    assert hub_scores("radgraph", ["a"], ["a"]) == {"same": 1.0}


def test_a_hang_is_ended_with_all_that_it_started(stand_in, tmp_path):
    stand_in(
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)"
    )
    began = time.monotonic()
    with pytest.raises(NotRunError, match=r"longer than 3 seconds \(evaluate.hub_seconds\)"):
        hub_scores("chexbert", ["a"], ["a"], seconds=3)
    assert time.monotonic() - began < 30
    for pid in (tmp_path / "pids").read_text().split():
        for _ in range(100):
            if not is_running(pid):
                break
            time.sleep(0.05)
        assert not is_running(pid)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended with status -9"),
        ("os._exit(0)", "ended without an answer"),
        ("sys.exit('enough')", "SystemExit: enough"),
        ("return {}", "without figures"),
        ("return None", "AttributeError"),
    ],
)
def test_a_crash_costs_that_metric_alone(stand_in, body, reason):
    stand_in(body)
    with pytest.raises(NotRunError, match=reason):
        hub_scores("chexbert", ["a"], ["a"])


def test_another_python(stand_in, tmp_path, monkeypatch):
    stand_in("return {'ran': 1.0}")
    assert hub_scores("chexbert", ["a"], ["a"], python=sys.executable) == {"ran": 1.0}
    monkeypatch.chdir(tmp_path)
    relative = os.path.relpath(sys.executable)
    assert hub_scores("chexbert", ["a"], ["a"], python=relative) == {"ran": 1.0}
    with pytest.raises(NotRunError, match=r"^evaluate.hub_python cannot be started: No such file"):
        hub_scores("chexbert", ["a"], ["a"], python=str(tmp_path / "no-python"))


def test_wrong_calls():
    with pytest.raises(InputError, match="unknown 'green', expected chexbert, radgraph, radcliq"):
        hub_scores("green", ["a"], ["a"])
    with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
        hub_scores("chexbert", ["a"], ["a", "b"])
    with pytest.raises(InputError, match="unknown 'green'"):
        hub_figures(HubOptions(("green",)), {}, [], "report")


def test_what_is_asked_for_and_what_is_not(stand_in):
    stand_in(
        "if self.metrics == ['radgraph']: raise OSError('gone')\nreturn {'f1': float(len(refs))}"
    )
    options = HubOptions.of_settings(
        {"hub": ["chexbert", "radgraph", "chexbert"], "hub_seconds": 60, "hub_python": None}
    )
    assert options == HubOptions(("chexbert", "radgraph"), 60.0)
    figures, not_run = hub_figures(options, {"one": ["a"]}, ["a"], "report")
    assert figures == {"one": {"hub.chexbert.f1": 1.0}}
    assert "OSError: gone" in not_run.pop("radgraph")
    assert not_run == {
        "RadCliQ": "not asked for: evaluate.hub=[radcliq]; Cascade downloads nothing"
    }
    nothing = hub_figures(HubOptions(("chexbert",)), {"one": ["a"]}, ["a"], "annotation")
    assert nothing == ({"one": {}}, {"chexbert": "reads free text: not run for annotations"})


def test_nothing_is_started_unless_it_is_named(monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)
    figures, not_run = hub_figures(HubOptions(), {"one": ["a"]}, ["a"], "report")
    assert figures == {"one": {}}
    assert list(not_run) == ["CheXbert F1, RadGraph F1, RadCliQ"]


def test_figures_of_every_system_are_written_and_shown(stand_in, tmp_path):
    stand_in(KNOWN)
    references = ["the heart is large", "no effusion"]
    found = evaluate(
        Rows(["study-1", "study-2"], ["p", "q"], references),
        [System("mine", ["the heart is large", ""])],
        kind="report",
        resamples=20,
        hub=HubOptions(("chexbert",)),
    )
    assert any(system.trivial for system in found.systems)
    systems = as_json(found)["systems"]
    assert all("hub.chexbert.f1" in system["figures"] for system in systems)
    assert systems[0]["figures"]["hub.chexbert.f1"] == {"value": 0.5, "low": None, "high": None}
    assert "chexbert" not in found.meta["not_run"]
    assert any("neither intervals nor differences" in note for note in found.notes)
    written = {path.name: path for path in write_evaluation(found, tmp_path / "out")}
    lines = written["hub.csv"].read_text().splitlines()
    assert lines[:2] == ["system,metric,value", "mine,hub.chexbert.f1,0.5"]
    assert len(lines) == 1 + 2 * len(found.systems)
    assert "CheXbert F1, by RadEval" in format_tables(found)
    page = written["index.html"].read_text(encoding="utf-8")
    assert "nested.micro.f1" in page


def test_without_it_there_is_no_file_and_no_table(tmp_path):
    rows = Rows(["1", "2"], ["p", "q"], ["large heart", "no effusion"])
    found = evaluate(rows, [System("mine", ["", ""])], kind="report", resamples=0)
    assert "hub.csv" not in {path.name for path in write_evaluation(found, tmp_path)}
    assert "by RadEval" not in format_tables(found)
    assert any("not asked for: evaluate.hub=[" in why for why in found.meta["not_run"].values())


def test_the_settings_know_the_same_names():
    assert RULES["evaluate.hub"].choices == tuple(HUB_METRICS)
    assert check_value("evaluate.hub", ["radcliq"], []) == ["radcliq"]
    with pytest.raises(InputError, match=r"expected some of chexbert, radgraph, radcliq, as"):
        check_value("evaluate.hub", ["green"], [])
