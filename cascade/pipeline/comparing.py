"""What run, evaluation and sweep folders hold, read for the leaderboard. Needs no torch.

What cannot be read of one run is that run's row, and never the end of the comparison; a folder that
holds no run at all is the user's mistake.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from cascade.errors import InputError
from cascade.evaluation.fingerprint import rows_sha256
from cascade.evaluation.leaderboard import Curve, Entry, RowsKey
from cascade.evaluation.leaderboard_differences import Answers
from cascade.evaluation.significance import Difference, Figure
from cascade.io.files import read_json
from cascade.labels.table import disease_owners, read_label_table
from cascade.pipeline.names import (
    SPEED_FILE,
    VALIDATION_AUROC,
    VALIDATION_BLEU,
    predictions_of,
)
from cascade.pipeline.settings import NO_PART_OF_A_RUN, flatten

METRICS_FILE = "metrics.json"
STAGES = ("classifier", "generator")
USUAL = {
    "failed": "it did not say why",
    "running": "still running",
    "pruned": "stopped early: behind the other trials on validation",
}
"""What a job that is not done can be, and what is said of it where it says nothing itself."""
CURVES = {"classifier": ("val/auroc", "val/loss"), "generator": ("val/bleu", "val/loss")}
"""Of which column a stage's learning curve is; the first that is there."""
VALIDATION = {VALIDATION_BLEU: "validation_bleu", VALIDATION_AUROC: "validation_auroc"}
"""What ``rounds.json`` says of a round, as metrics to rank by."""
NO_SETTING = (
    *NO_PART_OF_A_RUN,
    "seed",
    "hydra",
    "sweep",
    "launcher",
    "resume",
    "search",
    "paths",
    "data.cache",
    "data.workers",
    "classifier.workers",
    "trainer.accelerator",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
)
"""What does not change what is trained, with all below it."""

Json = Mapping[str, Any]


def read_entries(folders: Sequence[str | Path]) -> list[Entry]:
    """The entries of runs, evaluations and folders that hold several of them.

    Raises:
        InputError: a folder that is not there, or holds no run.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        for run in _runs_of(Path(folder)):
            found.setdefault(run.resolve(), run)
    entries = []
    for path, name in _names(list(found)).items():
        entries += _read(path, name)
    told = [set(entry.overrides) for entry in entries if entry.overrides]
    shared = set.intersection(*told) if len(told) > 1 else set()
    for entry in entries:
        entry.overrides = [word for word in entry.overrides if word not in shared]
    return entries


def _runs_of(folder: Path) -> list[Path]:
    if not folder.exists():
        raise InputError(f"{folder} does not exist")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name a run, an evaluation or a sweep's folder")
    if folder.name == "evaluation" and (folder.parent / "config.yaml").is_file():
        return [folder.parent]
    if _is_run(folder):
        return [folder]
    inside = [child for child in folder.iterdir() if child.is_dir()]
    runs = [child for child in inside if _is_run(child) or child.name.isdigit()]
    if not any(map(_is_run, runs)):
        raise InputError(
            f"{folder} holds no run: name the out= folder of `cascade run`, of `cascade evaluate` "
            "or of a sweep"
        )
    return sorted(runs, key=lambda run: (not run.name.isdigit(), _number(run.name), run.name))


def _is_run(folder: Path) -> bool:
    marks = ("config.yaml", "job.json", METRICS_FILE, f"evaluation/{METRICS_FILE}")
    return any((folder / mark).is_file() for mark in marks)


def _number(name: str) -> int:
    return int(name) if name.isdigit() else 0


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Each path by what tells it from the others; a job of a sweep is a number."""
    above = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    names = {path: path.relative_to(above).as_posix() for path in paths}
    return {path: f"job {name}" if name.isdigit() else name for path, name in names.items()}


def _read(path: Path, name: str) -> list[Entry]:
    """The entries of one run or evaluation: one, or one a system."""
    alone = (path / METRICS_FILE).is_file() and not (path / "config.yaml").is_file()
    folder = path if alone else path / "evaluation"
    entry = Entry(name)
    try:
        _read_job(entry, path)
        if not alone:
            _read_settings(entry, path)
        if entry.status != "done":
            return [entry]
        if not (folder / METRICS_FILE).is_file():
            entry.status, entry.reason = "unfinished", _how_far(path)
            return [entry]
        document = read_json(folder / METRICS_FILE)
        return _read_systems(entry, document, path, folder, alone)
    except InputError as error:
        entry.status, entry.reason = "damaged", str(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        entry.status = "damaged"
        entry.reason = f"{folder / METRICS_FILE} is not an evaluation's ({type(error).__name__})"
    return [entry]


def _read_job(entry: Entry, path: Path) -> None:
    """What a sweep noted of the job, where it did."""
    if not (path / "job.json").is_file():
        return
    job = read_json(path / "job.json")
    if not isinstance(job, dict):
        raise InputError(f"{path / 'job.json'} is not a job's")
    entry.overrides = [str(word) for word in job.get("overrides") or []]
    seconds = job.get("seconds")
    if isinstance(seconds, int | float):
        entry.cost["job_seconds"] = float(seconds)
    status = str(job.get("status") or "done")
    if status != "done":
        entry.status = status if status in USUAL else "unfinished"
        entry.reason = str(job.get("reason") or USUAL.get(status, status))


def _read_settings(entry: Entry, path: Path) -> None:
    file = path / "config.yaml"
    if not file.is_file():
        return
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise InputError(f"{file} holds no settings")
    flat = flatten(settings)
    seed = settings.get("seed")
    entry.seed = seed if isinstance(seed, int) else None
    entry.settings = {key: value for key, value in flat.items() if not _is_no_setting(key)}


def _is_no_setting(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in NO_SETTING)


def _how_far(path: Path) -> str:
    """Why a run has no evaluation, and what would give it one."""
    if (path / "model").is_dir():
        alone = (path / "metrics.csv").is_file()
        more = (
            "`cascade evaluate model=DIR/model ...` does" if alone else "the same command goes on"
        )
        return f"trained{_validation_text(path)}, but not evaluated: {more}"
    for folder in sorted(path.glob("round-*"), key=_round_of, reverse=True):
        for stage in reversed(STAGES):
            if (folder / stage).is_dir():
                rows = _read_curve_file(folder / stage / "metrics.csv")
                epochs = "" if rows is None else f", {len(rows)} epochs done"
                return f"stopped at the {stage} of {folder.name}{epochs}: the same command goes on"
    if not any((path / mark).is_file() for mark in ("config.yaml", "job.json")):
        return "nothing in it"
    return "stopped before any training: the same command goes on"


def _validation_text(path: Path) -> str:
    try:
        facts = read_json(path / "model" / "config.json")["facts"]
        told = [f"{key} {value}" for key, value in facts.items() if key.startswith("validation")]
    except (InputError, KeyError, TypeError, AttributeError):
        return ""
    return f" ({', '.join(told)})" if told else ""


def _round_of(folder: Path) -> int:
    return _number(folder.name.rpartition("-")[2])


def _read_systems(
    entry: Entry, document: Json, path: Path, folder: Path, alone: bool
) -> list[Entry]:
    """Fill the entry with what its evaluation says; one entry a system where no run is known."""
    systems = {str(system["name"]): system for system in document["systems"]}
    own = [name for name, system in systems.items() if not system["trivial"]]
    trivial = {
        name: _figures(name, system, document)
        for name, system in systems.items()
        if system["trivial"]
    }
    if not own:
        raise InputError(f"{folder / METRICS_FILE} holds trivial systems only")
    meta = document["meta"]
    chosen, validation = own, dict[str, Figure]()
    if not alone:
        system, validation = _chosen(entry, path, document, own)
        chosen = [system]
        entry.cost |= _read_cost(entry, path)
        entry.curves = _read_curves(entry, path)
    entries = []
    for system in chosen:
        answers = functools.partial(_read_answers, path, folder, system, entry.settings)
        tests = {
            str(row["metric"]): Difference(
                str(row["metric"]),
                str(row["first"]),
                system,
                *(_float(row[end]) for end in ("value", "low", "high")),
            )
            for row in document["differences"]
            if row["second"] == system and row["first"] in trivial
        }
        one = Entry(
            entry.name if len(chosen) == 1 else f"{entry.name}: {system}",
            settings=entry.settings,
            seed=entry.seed,
            system=system,
            figures=_figures(system, systems[system], document) | validation,
            trivial=trivial,
            tests=tests,
            rows=_rows_key(meta, folder, system),
            labels=_labels(document, system),
            cost=entry.cost | _reports_per_second(folder, system),
            curves=entry.curves,
            commit=None if meta.get("commit") is None else str(meta["commit"]),
            page=str(folder / "index.html") if (folder / "index.html").is_file() else None,
            overrides=entry.overrides,
            problems=list(entry.problems),
            answers=answers,
        )
        entries.append(one)
    return entries


def _chosen(
    entry: Entry, path: Path, document: Json, own: Sequence[str]
) -> tuple[str, dict[str, Figure]]:
    """The system of ``RUN/model``, the round best on validation, and its validation scores."""
    main = str(document["main"])
    main = main if main in own else own[-1]
    if not (path / "rounds.json").is_file():
        return main, {}
    try:
        chosen = read_json(path / "rounds.json")
        scores = chosen["rounds"][int(chosen["chosen"]) - 1]
        validation = {
            name: Figure(float(scores[key])) for key, name in VALIDATION.items() if key in scores
        }
    except (InputError, KeyError, IndexError, TypeError, ValueError) as error:
        entry.problems.append(f"rounds.json cannot be read ({error}): the last round counts")
        return main, {}
    system = f"round {chosen['chosen']}"
    return (system, validation) if system in own else (main, {})


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _figures(name: str, system: Json, document: Json) -> dict[str, Figure]:
    found = {
        str(metric): Figure(*(_float(figure.get(end)) for end in ("value", "low", "high")))
        for metric, figure in system["figures"].items()
    }
    rows = [row for row in document["labels"] if row["system"] == name and row["auroc"] is not None]
    for metric in ("brier", "calibration_error"):
        values = [float(row[metric]) for row in rows if row.get(metric) is not None]
        if values:
            found.setdefault(f"macro_{metric}", Figure(float(np.mean(values))))
    return found


def _labels(document: Json, system: str) -> str:
    rows = [row for row in document["labels"] if row["system"] == system]
    return json.dumps(sorted([str(r["label"]), r["positives"], r["negatives"]] for r in rows))


def _rows_key(meta: Json, folder: Path, system: str) -> RowsKey:
    sha256 = meta.get("rows_sha256")
    if sha256 is None:
        table = _reports(folder, system)
        if table is not None and len(table) == meta["studies"]:
            sha256 = rows_sha256(table["study_id"].tolist(), table["reference"].tolist())
    return RowsKey(
        split=str(meta["split"]),
        studies=int(meta["studies"]),
        kind=str(meta["kind"]),
        tokenizer=str(meta["tokenizer"]),
        sha256=str(sha256 or f"unknown: {folder}"),
    )


def _reports_per_second(folder: Path, system: str) -> dict[str, float]:
    """From image to draft, as the evaluation took it; nothing of evaluations before it was kept."""
    try:
        told = read_json(predictions_of(folder, system) / SPEED_FILE)
        return {"reports_per_second": float(told["studies"]) / float(told["seconds"])}
    except (InputError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return {}


def _reports(folder: Path, system: str) -> pd.DataFrame | None:
    """The system's ``reports.csv``, or None where there is none that can be read."""
    path = predictions_of(folder, system) / "reports.csv"
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError):  # pandas raises ValueErrors for what is not CSV
        return None
    return table if {"study_id", "reference", "hypothesis"} <= set(table.columns) else None


def _read_answers(path: Path, folder: Path, system: str, settings: Json | None) -> Answers | None:
    """The predictions, with patients and truth where the run tells them."""
    table = _reports(folder, system)
    scores: pd.DataFrame | None
    try:
        scores = pd.read_parquet(predictions_of(folder, system) / "probabilities.parquet")
        scores["study_id"] = scores["study_id"].astype(str)
    except (OSError, ValueError, KeyError):
        scores = None
    if table is not None:
        ids = table["study_id"].tolist()
    elif scores is not None:
        ids = scores["study_id"].tolist()
    else:
        return None
    if scores is not None:
        scores = scores.set_index("study_id").reindex(ids)
    return Answers(
        ids,
        patients=_patients(path, settings, ids),
        references=None if table is None else table["reference"].tolist(),
        hypotheses=None if table is None else table["hypothesis"].tolist(),
        truth=_truth(path, ids),
        probabilities=None if scores is None or scores.isna().any(axis=None) else scores,
    )


def _patients(path: Path, settings: Json | None, ids: Sequence[str]) -> list[str] | None:
    named = (settings or {}).get("collection")
    folder = Path(str(named)) if named else path / "collection"
    try:
        table = pd.read_parquet(folder / "studies.parquet", columns=["study_id", "patient_id"])
    except (OSError, ValueError):
        return None
    found = table.set_index("study_id")["patient_id"].reindex(list(ids))
    return None if found.isna().any() else found.astype(str).tolist()


def _truth(path: Path, ids: Sequence[str]) -> pd.DataFrame | None:
    """The diseases of the first round's label table: what detection was scored against."""
    try:
        table = read_label_table(path / "round-1" / "labels")
    except (InputError, OSError, ValueError, KeyError):
        return None
    values, owners = table.rows(ids), np.array(disease_owners(table.labels))
    truth = pd.DataFrame(index=range(len(ids)), columns=table.diseases, dtype=float)
    for index, disease in enumerate(table.diseases):
        own = values[:, owners == index]
        column = np.full(len(ids), math.nan)
        for value in (0, -1, 1):  # present if any is, then uncertain, then absent
            column[(own == value).any(axis=1)] = value
        truth[disease] = column
    return truth


def _stage_folders(path: Path) -> list[tuple[int, str, Path]]:
    rounds = sorted(path.glob("round-*"), key=_round_of)
    return [(_round_of(folder), stage, folder / stage) for folder in rounds for stage in STAGES]


def _read_curve_file(path: Path) -> pd.DataFrame | None:
    try:
        table = pd.read_csv(path).apply(pd.to_numeric, errors="coerce")
    except (OSError, ValueError):
        return None
    return table if "epoch" in table.columns and len(table) else None


def _read_curves(entry: Entry, path: Path) -> list[Curve]:
    curves = []
    for number, stage, folder in _stage_folders(path):
        if not (folder / "metrics.csv").is_file():
            continue
        table = _read_curve_file(folder / "metrics.csv")
        if table is None:
            entry.problems.append(f"{folder.parent.name}/{stage}/metrics.csv cannot be read")
            continue
        metric = next((name for name in CURVES[stage] if name in table.columns), None)
        if metric is not None:
            known = table[["epoch", metric]].dropna()
            epochs = tuple(int(epoch) + 1 for epoch in known["epoch"])
            values = tuple(float(value) for value in known[metric])
            curves.append(Curve(number, stage, metric, epochs, values))
    return curves


def _read_cost(entry: Entry, path: Path) -> dict[str, float]:
    """Parameters, seconds of training over all rounds, its speed, the bundle's size."""
    cost: dict[str, float] = {}
    model = path / "model"
    if model.is_dir():
        size = sum(file.stat().st_size for file in model.iterdir() if file.is_file())
        cost["bundle_mb"] = size / 1e6
        try:
            cost["parameters"] = float(read_json(model / "config.json")["facts"]["parameters"])
        except (InputError, KeyError, TypeError, ValueError):
            entry.problems.append("model/config.json does not tell the parameters")
    seconds, images, looking = 0.0, 0.0, 0.0
    settings = entry.settings or {}
    for _, stage, folder in _stage_folders(path):
        table = _read_curve_file(folder / "metrics.csv")
        if table is None or not {"seconds", "step"} <= set(table.columns):
            continue
        spent = float(table["seconds"].sum())
        seconds += spent
        if stage == "classifier":
            batch = settings.get("classifier.batch_size", 0)
            images += float(table["step"].max()) * batch * settings.get("data.views", 1)
            looking += spent
    if seconds > 0:
        cost["training_seconds"] = seconds
    if looking > 0 and images > 0:
        cost["images_per_second"] = images / looking
    return cost
