"""Sweeps: what each job records, what is run again, what is shared, and who gets which cores."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cascade.cli import jobs
from cascade.cli import sweep as sweeps
from cascade.cli.jobs import environment
from cascade.cli.sweep import Sweep, is_sweep, plan
from cascade.errors import InputError

SMALL = [
    "data.studies=90",
    "data.size=64",
    "data.image_size=32",
    "data.workers=1",
    "encoder.width=4",
    "decoder.hidden=16",
    "decoder.embedding=8",
    "classifier.epochs=2",
    "classifier.dropout=0.0",
    "decoder.dropout=0.0",
    "generator.epochs=2",
    "generator.copies=1",
    "labels.min_studies=4",
    "rounds=1",
    "evaluate.resamples=20",
    "callbacks=none",
    "trainer=cpu",
]


def record(out, number):
    return json.loads((out / str(number) / "job.json").read_text())


@pytest.fixture
def quick(monkeypatch):
    """Jobs that end at once: seed=13 fails, seed=66 is killed, all others are done."""
    begun = []

    def run(sweep, folder, slot, lock, hopeless):
        begun.append(int(folder.name))
        job = sweeps.read_record(folder)
        if "seed=66" in job["overrides"]:
            return -signal.SIGKILL, None
        if "seed=13" in job["overrides"]:
            jobs._write_record(folder, status="failed", reason="bad luck", exit_status=1)
            return 1, None
        score = 0.5 + 0.1 * int(folder.name)
        jobs._write_record(folder, status="done", exit_status=0, score=score, metric="BLEU")
        return 0, None

    monkeypatch.setattr(jobs, "_run_process", run)
    return begun


# --- records and the table


def test_every_job_leaves_a_record_and_a_row(cascade, quick, tmp_path):
    outcome = cascade("run", "-m", "seed=1,13,66", "rounds=1", "out=s")
    assert outcome.status == 1
    done, failed, killed = (record(tmp_path / "s", n) for n in range(3))
    assert done["overrides"] == ["seed=1", "rounds=1"]
    assert (done["status"], done["exit_status"], done["score"]) == ("done", 0, 0.5)
    assert (failed["status"], failed["reason"], failed["exit_status"]) == ("failed", "bad luck", 1)
    assert (killed["status"], killed["exit_status"]) == ("failed", 137)
    assert "SIGKILL" in killed["reason"]
    assert all(each["ended"] and each["attempts"] == 1 for each in (done, failed, killed))
    rows = [line for line in outcome.out.splitlines() if "seed=" in line]
    assert ["done" in row for row in rows] == [True, False, False]
    assert "failed: bad luck" in rows[1]
    assert "next: cascade compare s" in outcome.out
    assert "cascade: job 1 (seed=13): bad luck" in outcome.err
    assert "2 of 3 jobs failed" in outcome.err
    assert "resume=true runs only these again" in outcome.err


def test_torchrun_is_of_one_run(cascade, monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ["collection=x", "label_table=x", f"out={tmp_path / 'sweep'}"]
    outcome = cascade("train", "-m", "seed=1,2", *words)
    assert outcome.status == 2
    assert "torchrun starts one run: take -m away" in outcome.err
    assert not list(tmp_path.iterdir())


def test_resume_runs_only_what_is_not_done(cascade, quick, tmp_path):
    words = ["run", "-m", "seed=1,13,2", "out=s"]
    assert cascade(*words).status == 1
    again = cascade(*words)
    assert again.status == 2
    assert "holds a sweep already: resume=true" in again.line
    done = (tmp_path / "s" / "0" / "job.json").read_bytes()
    (tmp_path / "s" / "0" / "config.yaml").write_text("seed: 1\n")
    (tmp_path / "s" / "2" / "config.yaml").write_text("seed: 2\n")
    refused = cascade(*words, "resume=true")
    assert refused.status == 2  # what was done was done with other settings
    assert "holds a run with" in refused.line
    for number in (0, 2):
        (tmp_path / "s" / str(number) / "config.yaml").unlink()
    assert cascade(*words, "resume=true", "callbacks=none").status == 1
    assert quick == [0, 1, 2, 1]
    assert (tmp_path / "s" / "0" / "job.json").read_bytes() == done
    assert record(tmp_path / "s", 1)["attempts"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=1,3"], "job 1 of .* was seed=2 and would now be seed=3"),
        (["seed=1,2", "rounds=1"], "job 0 of .* would now be rounds=1"),
        (["rounds=1,2"], "job 0 of .* was seed=1 and would now be rounds=1"),
    ],
    ids=str,
)
def test_another_sweep_is_not_a_resumption(cascade, quick, words, said, tmp_path):
    assert cascade("run", "-m", "seed=1,2", "out=s").status == 0
    outcome = cascade("run", "-m", *words, "resume=true", "out=s")
    assert outcome.status == 2
    assert re.search(said, outcome.line)
    assert quick == [0, 1]


def test_more_values_at_the_end_are_more_jobs(cascade, quick, tmp_path):
    assert cascade("run", "-m", "seed=13", "out=s").status == 1
    assert cascade("run", "-m", "seed=13,2", "resume=true", "out=s").status == 1
    assert quick == [0, 0, 1]


def test_a_single_run_and_a_sweep_do_not_share_a_folder(cascade, quick, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "config.yaml").write_text("seed: 1\n")
    outcome = cascade("run", "-m", "seed=1,2", "out=s")
    assert outcome.status == 2
    assert "holds a single run" in outcome.line


def test_bad_input_in_every_job_leaves_nothing(cascade, tmp_path):
    words = ["label_table=nowhere", f"collection={tmp_path}", "seed=1,2"]
    outcome = cascade("train", "-m", *words, "out=new/s")
    assert outcome.status == 2
    assert "cascade: job 1 (seed=2): label_table=nowhere does not exist" in outcome.err
    assert not (tmp_path / "new" / "s").exists()


def test_a_job_that_another_process_has_is_left_to_it(cascade, quick, tmp_path):
    from cascade.data.locks import try_lock, unlock

    assert cascade("run", "-m", "seed=1,13", "out=s").status == 1
    lock = try_lock(tmp_path / "s" / "1" / ".lock")
    outcome = cascade("run", "-m", "seed=1,13", "out=s", "resume=true")
    unlock(tmp_path / "s" / "1" / ".lock", lock)
    assert "job 1 (seed=13): another process is at work on it" in outcome.err
    assert quick == [0, 1]


# --- words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "launcher=joblib", "seed=1"], "launcher= belongs to a sweep: add -m"),
        (["run", "resume=true"], "resume= belongs to a sweep: add -m"),
        (["mine", "-m", "launcher=joblib"], "launcher= is for cascade train -m and cascade run -m"),
        (["run", "-m", "launcher=jobilb", "seed=1"], "'jobilb' for launcher.*'joblib'"),
        (["run", "-m", "sweep=encoder"], "'encoder' for sweep.*did you mean 'encoders'"),
        (["run", "-m", "out=a,b"], "out= is the folder of the whole sweep"),
        (["run", "-m", "launcher=joblib", "launcher.jobs=0", "seed=1,2"], "launcher.jobs=0"),
    ],
    ids=str,
)
def test_wrong_words_are_one_line(cascade, quick, words, said):
    outcome = cascade(*words)
    assert outcome.status == 2
    assert re.search(said, outcome.line)
    assert quick == []


@pytest.mark.parametrize("launcher", ["joblib", "submitit", "submitit_local"])
def test_a_launcher_that_is_not_installed_names_the_extra(monkeypatch, launcher):
    monkeypatch.setattr(sweeps.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs: pip install 'cascade-cxr\[sweep\]'"):
        is_sweep("run", ["-m", f"launcher={launcher}", "seed=1,2"])


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("encoders", 11, "encoder=tiny"),
        ("decoders", 4, "decoder=lstm"),
        ("depth_data", 9, "encoder=tiny split.train_share=0.25"),
        ("rounds", 3, "rounds=1"),
        ("hyper", 18, "classifier.optimizer.lr=0.001"),
    ],
)
def test_shipped_sweeps_and_what_is_added_to_them(name, count, first, tmp_path):
    sweep, _ = plan("run", ["-m", f"sweep={name}", "seed=1,2", f"out={tmp_path}/s"])
    assert len(sweep.jobs) == 2 * count
    assert " ".join(sweep.own(0)).startswith(first)
    assert sweep.jobs[0][-1] == "seed=1"


def test_values_given_by_hand_replace_those_of_a_sweep(tmp_path):
    sweep, _ = plan("run", ["-m", "sweep=encoders", "encoder=tiny,resnet18", f"out={tmp_path}/s"])
    assert [sweep.own(n) for n in (0, 1)] == [["encoder=tiny"], ["encoder=resnet18"]]


def test_a_folder_of_any_name(cascade, quick, tmp_path):
    assert cascade("run", "-m", "seed=1,2", "out='a (1), b'").status == 0
    assert (tmp_path / "a (1), b" / "1" / "job.json").is_file()


# --- cores and GPUs


@pytest.fixture
def cores(monkeypatch):
    monkeypatch.setattr(sweeps, "count_cores", lambda: 8)
    monkeypatch.setattr(jobs, "count_cores", lambda: 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(sweeps, "_gpus", lambda: ())


def planned(tmp_path, *words):
    return plan("run", ["-m", "seed=range(20)", f"out={tmp_path}/s", *words])[0]


def test_processes_times_threads_stay_within_the_cores(tmp_path, cores):
    for wanted in (1, 2, 3, 5, 8, 100):
        sweep = planned(tmp_path, "launcher=joblib", f"launcher.jobs={wanted}")
        given = environment(sweep, 0, {})
        assert sweep.parallel == min(wanted, 8)
        assert sweep.parallel * int(given["OMP_NUM_THREADS"]) <= 8
        assert given["MKL_NUM_THREADS"] == given["CASCADE_CORES"] == given["OMP_NUM_THREADS"]
    sweep = planned(tmp_path, "launcher=joblib")
    assert sweep.parallel == 4
    assert environment(sweep, 0, {"OMP_NUM_THREADS": "1"})["OMP_NUM_THREADS"] == "1"
    assert environment(planned(tmp_path), 0, {"A": "b"}) == {"A": "b"}  # alone: all of it


def test_joblib_is_told_how_many(tmp_path, cores):
    words = ["-m", "seed=1,2,3", "launcher=joblib", "launcher.jobs=2", f"out={tmp_path}/s"]
    assert "hydra.launcher.n_jobs=2" in plan("run", words)[1]


def test_gpus_are_dealt_out(tmp_path, cores, monkeypatch):
    monkeypatch.setattr(sweeps, "_gpus", lambda: ("2", "5"))
    sweep = planned(tmp_path, "launcher=joblib")
    assert sweep.parallel == 2  # one a GPU
    seen = [environment(sweep, slot, {})["CUDA_VISIBLE_DEVICES"] for slot in range(4)]
    assert seen == ["2", "5", "2", "5"]


def test_the_gpus_that_may_be_used(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 1")
    assert sweeps._gpus() == ("3", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert sweeps._gpus() == ()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    listed = "GPU 0: A (UUID: x)\n  MIG 1g\nGPU 1: A (UUID: y)\n"
    done = subprocess.CompletedProcess([], 0, listed, "")
    monkeypatch.setattr(sweeps.subprocess, "run", lambda *a, **k: done)
    assert sweeps._gpus() == ("0", "1")


def test_jobs_at_once_have_places_of_their_own(tmp_path):
    from cascade.data.locks import unlock

    sweep = Sweep("run", tmp_path, [[], []], "joblib", 2)
    first, second = jobs._take_slot(sweep), jobs._take_slot(sweep)
    assert {path.stem for _, path in (first, second)} == {"0", "1"}
    unlock(first[1], first[0])
    third = jobs._take_slot(sweep)
    assert third[1] == first[1]
    for file, path in (second, third):
        unlock(path, file)


# --- a search


@pytest.fixture
def scored(monkeypatch):
    """Jobs that end at once, scored by how near the learning rate is to 0.01."""
    begun = []

    def run(sweep, folder, slot, lock, hopeless):
        begun.append(int(folder.name))
        job = sweeps.read_record(folder)
        rate = job["parameters"]["classifier.optimizer.lr"]
        score = 1 - abs(rate - 0.01) * 50
        (folder / "metrics.csv").write_text(f"epoch,step,val/auroc\n0,1,{score}\n1,2,{score}\n")
        reason = hopeless(folder)
        if reason is None:
            end = {"status": "done", "exit_status": 0, "score": score, "metric": "AUROC"}
            jobs._write_record(folder, **end)
        return 0, reason

    monkeypatch.setattr(jobs, "_run_process", run)
    return begun


SEARCH = [
    *("train", "-m", "sweep=optuna", "collection=c", "label_table=l", "search.startup=3"),
    *("search.grace=0", "search.trials=9"),
]


def rates(out):
    found = sorted(out.glob("*/job.json"), key=lambda path: int(path.parent.name))
    parameters = [json.loads(path.read_text())["parameters"] for path in found]
    return [each["classifier.optimizer.lr"] for each in parameters]


def test_a_search_learns_and_prunes(cascade, scored, tmp_path):
    outcome = cascade(*SEARCH, "search.trials=20", "out=s")
    assert outcome.status == 0
    assert scored == list(range(20))
    every = [record(tmp_path / "s", n) for n in range(20)]
    status = [each["status"] for each in every]
    assert status.count("done") >= 4
    assert "pruned" in status
    assert all("below the earlier" in each["reason"] for each in every if each["score"] is None)
    found = rates(tmp_path / "s")
    distance = [abs(rate - 0.01) for rate in found]
    assert sum(distance[10:]) < sum(distance[:10])
    assert all(0.0003 <= rate <= 0.03 for rate in found)
    assert set(every[0]["parameters"]) == {
        *("classifier.optimizer.lr", "generator.optimizer.lr", "classifier.dropout"),
        "decoder.hidden",
    }
    assert f"classifier.optimizer.lr={found[0]:.6g}" in every[0]["overrides"]


def test_a_search_that_goes_on_is_as_one_that_never_stopped(cascade, scored, tmp_path):
    assert cascade(*SEARCH, "out=whole").status == 0
    assert cascade(*SEARCH, "search.trials=4", "out=parts").status == 0
    path = tmp_path / "parts" / "3" / "job.json"  # as a kill would have left it
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "running"}))
    assert cascade(*SEARCH, "resume=true", "out=parts").status == 0
    assert scored[9:] == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8]
    assert rates(tmp_path / "parts") == rates(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["decoder.hidden=64,128"], "a search over decoder.hidden=128,256,512, now it is 64,128"),
        (["seed=2"], "job 0 .* is of another sweep"),
        (["search.trials=0"], "search.trials=0"),
        (["'encoder.width=tag(log,interval(0,4))'"], "encoder.width="),
        (["launcher=submitit_local"], "sweep=optuna runs on this machine"),
    ],
    ids=str,
)
def test_a_wrong_search_is_one_line(cascade, scored, words, said):
    assert cascade(*SEARCH, "search.trials=1", "out=s").status == 0
    outcome = cascade(*SEARCH, *[word.strip("'") for word in words], "resume=true", "out=s")
    assert outcome.status == 2
    assert re.search(said, outcome.line)
    assert scored == [0]


def test_optuna_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setattr(sweeps.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"sweep=optuna needs: pip install 'cascade-cxr\[sweep\]'"):
        is_sweep("run", ["-m", "sweep=optuna"])
    assert is_sweep("run", ["-m", "sweep=encoders"])


def test_spaces(tmp_path):
    from cascade.cli.search import distribution

    words = ["a=1,2", "b=interval(0,1)", "c=int(interval(1,5))", "d=tag(log,interval(1e-4,1))"]
    words += ["e=range(1,10,3)", "f=choice(x,y)"]
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found = [distribution(each) for each in OverridesParser.create().parse_overrides(words)]
    assert found[0].choices == ("1", "2")
    assert (found[1].low, found[1].high, found[1].log) == (0, 1, False)
    assert (type(found[2]).__name__, found[2].high) == ("IntDistribution", 5)
    assert (found[3].low, found[3].log) == (1e-4, True)
    assert (found[4].low, found[4].high, found[4].step) == (1, 7, 3)
    assert found[5].choices == ("x", "y")


def test_the_curve_of_a_run_spans_its_rounds(tmp_path):
    from cascade.cli.search import validation_curve

    for number, text in (
        (1, "epoch,val/bleu\n0,0.1\n1,nan\n2,0.3\n"),
        (2, "epoch,val/bleu\n0,0.4\n"),
    ):
        folder = tmp_path / f"round-{number}" / "generator"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(text)
    assert validation_curve("run", None, tmp_path) == {0: 0.1, 2: 0.3, 1000: 0.4}
    assert validation_curve("train", "generator", tmp_path) == {}


# --- whole sweeps, in processes


ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*words):
    return [sys.executable, "-m", "cascade", *map(str, words)]


def models(out):
    return {p.relative_to(out): p.read_bytes() for p in out.glob("[0-9]/model/model.safetensors")}


@pytest.mark.slow
def test_a_sweep_killed_in_its_second_job_is_finished_by_resume(tmp_path):
    out = tmp_path / "s"
    words = command("run", "-m", "seed=1,2,3", *SMALL, f"out={out}")
    process = subprocess.Popen(words, env=ALONE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    checkpoint = out / "1" / "round-1" / "classifier" / "checkpoints" / "last.ckpt"
    while not checkpoint.is_file() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [record(out, n)["status"] for n in (0, 1)] == ["done", "running"]
    assert not (out / "2").exists()
    time.sleep(1)  # the job went with its sweep: nobody writes any more
    written = max(path.stat().st_mtime_ns for path in out.rglob("*"))
    time.sleep(1.5)
    assert max(path.stat().st_mtime_ns for path in out.rglob("*")) == written
    first = (out / "0" / "job.json").read_bytes()
    done = subprocess.run(
        [*words, "resume=true"], env=ALONE, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "job 0 (seed=1): done already" in done.stderr
    assert "job 1 (seed=2): goes on" in done.stderr
    assert [record(out, n)["status"] for n in range(3)] == ["done"] * 3
    assert [record(out, n)["attempts"] for n in range(3)] == [1, 2, 1]
    assert (out / "0" / "job.json").read_bytes() == first
    # Once for all: the collection, its labels and its images.
    assert len(list((out / "shared").glob("collection-*[!w]"))) == 1
    assert len(list((out / "shared").glob("labels-*"))) == 1
    assert len(list((out / "shared" / "cache").iterdir())) == 1
    # What was killed ends as what was not.
    alone = command("run", "seed=2", *SMALL, f"out={tmp_path}/alone/1")
    subprocess.run(alone, env=ALONE, capture_output=True, check=True, timeout=300)
    assert models(tmp_path / "alone").items() <= models(out).items()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_job_that_is_killed_costs_only_itself(launcher, tmp_path):
    out = tmp_path / "s"
    words = [f"launcher={launcher}", "launcher.jobs=2", "seed=1,2,3", *SMALL, f"out={out}"]
    process = subprocess.Popen(
        command("run", "-m", *words), env=ALONE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    end = time.monotonic() + 120
    victim = None
    while victim is None and time.monotonic() < end:
        time.sleep(0.05)
        victim = job_process(out / "0")
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert [record(out, n)["status"] for n in range(3)] == ["failed", "done", "done"]
    assert b"1 of 3 jobs failed" in errors
    assert b"SIGKILL" in errors
    again = subprocess.run(
        command("run", "-m", *words, "resume=true"), env=ALONE, capture_output=True, timeout=300
    )
    assert again.returncode == 0, again.stderr
    assert [record(out, n)["attempts"] for n in range(3)] == [2, 1, 1]


@pytest.mark.slow
def test_a_parallel_sweep_that_is_killed_takes_its_jobs_along(tmp_path):
    out = tmp_path / "s"
    words = ["launcher=joblib", "launcher.jobs=2", "seed=1,2,3", *SMALL, f"out={out}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command("run", "-m", *words), env=ALONE, **quiet)
    end = time.monotonic() + 120
    while not all(job_process(out / name) for name in "01") and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.wait()
    time.sleep(4)
    assert [job_process(out / name) for name in "012"] == [None] * 3
    assert not (out / "2").exists()
    assert [record(out, n)["status"] for n in (0, 1)] == ["running"] * 2


def job_process(folder):
    """The process that runs a job: the one whose command line names its folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"cascade.cli.jobs" in words and os.fsencode(folder) in words:
            return int(path.parent.name)
    return None


@pytest.mark.slow
def test_train_sweeps_too(tmp_path, collection, labels):
    words = ["stage=classifier", f"collection={collection}", f"label_table={labels}"]
    words += ["encoder.width=4,6", "data.image_size=16", "classifier.epochs=1", "trainer=cpu"]
    words += ["split.train_share=0.9", "callbacks=none", f"out={tmp_path}/s"]
    done = subprocess.run(command("train", "-m", *words), env=ALONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for number in (0, 1):
        each = record(tmp_path / "s", number)
        assert each["metric"] == "validation AUROC (macro)"
        assert 0 <= each["score"] <= 1
