"""Trained systems ranked beside trivial ones: seeds pooled, other rows apart, differences tested.

``cascade.pipeline.comparing`` reads the entries from disk, ``leaderboard_tables`` and
``leaderboard_page`` show the board. Entries that differ by their seed alone are one configuration.
Entries scored on other rows come into a table of their own and are never ranked together.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cascade.errors import InputError
from cascade.evaluation.leaderboard_differences import (
    DETECTION,
    Answers,
    Comparison,
    compare,
    resample,
)
from cascade.evaluation.seeds import spread
from cascade.evaluation.significance import RESAMPLES, Difference, Figure
from cascade.evaluation.statistics import METRICS, NEITHER_IS_BETTER, sign, verdict

NAMES = METRICS | {
    "macro_brier": "Brier (macro) ↓",
    "macro_calibration_error": "Calibration error (macro) ↓",
    "validation_bleu": "Validation BLEU (mean of 1 to 4)",
    "validation_auroc": "Validation AUROC (macro)",
    "empty": "Empty",
    "distinct": "Distinct",
}
NOT_RANKED = NEITHER_IS_BETTER | {"empty", "distinct"}
DEFAULTS = {
    "annotation": ("macro_f1_abnormal", "macro_auroc"),
    "report": ("clin_macro_f1_abnormal", "bleu4", "macro_auroc"),
}
"""By kind of text, the metric that ranks where none is named: the first that every run has. Always
writing "normal" scores well on most figures, and nothing on the first of these."""
COSTS = {
    "parameters": "parameters",
    "training_seconds": "training, s",
    "images_per_second": "images/s",
    "reports_per_second": "reports/s",
    "bundle_mb": "bundle, MB",
    "job_seconds": "whole job, s",
}


@dataclasses.dataclass(frozen=True)
class RowsKey:
    """What must be equal for figures to be figures of one thing.

    Attributes:
        sha256: of ``rows_sha256``; a text of its own where the rows cannot be told.
    """

    split: str
    studies: int
    kind: str
    tokenizer: str
    sha256: str

    @property
    def known(self) -> bool:
        """Whether the rows could be told."""
        return not self.sha256.startswith("unknown")


@dataclasses.dataclass(frozen=True)
class Curve:
    """One learning curve: a validation metric by epoch."""

    round: int
    stage: str
    metric: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]


@dataclasses.dataclass
class Entry:
    """One trained system of one run, or of an evaluation without its run.

    Attributes:
        name: what tables call the run, unique.
        status: done, or failed, running, unfinished, damaged with its ``reason``.
        settings: dotted keys that say what was trained; None where no run is known.
        seed: of the training.
        system: its name in the evaluation.
        figures: of the system, by metric.
        trivial: of each trivial system on the same rows.
        tests: by metric, the stored paired difference to the best trivial system.
        rows: what it was scored on.
        labels: the labels and how often each is present and absent in the rows.
        cost: of ``COSTS``, as far as known.
        page: path of the evaluation's page.
        problems: what could not be read beside the scores.
        answers: reads the predictions, or gives None.
    """

    name: str
    status: str = "done"
    reason: str = ""
    settings: dict[str, Any] | None = None
    seed: int | None = None
    system: str = ""
    figures: dict[str, Figure] = dataclasses.field(default_factory=dict)
    trivial: dict[str, dict[str, Figure]] = dataclasses.field(default_factory=dict)
    tests: dict[str, Difference] = dataclasses.field(default_factory=dict)
    rows: RowsKey | None = None
    labels: str = ""
    cost: dict[str, float] = dataclasses.field(default_factory=dict)
    curves: list[Curve] = dataclasses.field(default_factory=list)
    commit: str | None = None
    page: str | None = None
    overrides: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    answers: Callable[[], Answers | None] = lambda: None


@dataclasses.dataclass
class Configuration:
    """Entries that differ by their seed alone.

    Attributes:
        label: the settings that no other configuration shares, or the run's name.
        settings: values of the board's ``differing`` keys; None where it has no such setting.
        scores: by metric, mean over seeds; the interval is Student's t over seeds, or of one seed
            the bootstrap's over patients.
        deviation: by metric, between seeds; NaN for one.
        against_trivial: verdict on the ranking metric: better, worse, unclear, or "" untested.
        tested: what was behind it, for print.
        first: this configuration against the leader; None for the leader itself.
    """

    label: str
    entries: list[Entry]
    settings: dict[str, Any]
    scores: dict[str, Figure]
    deviation: dict[str, float]
    cost: dict[str, float]
    rank: int | None = None
    against_trivial: str = ""
    tested: str = ""
    first: Comparison | None = None

    @property
    def seeds(self) -> int:
        """How many seeds."""
        return len(self.entries)

    def score(self, metric: str) -> Figure:
        """A figure, NaN where there is none."""
        return self.scores.get(metric, Figure(math.nan))


@dataclasses.dataclass
class Group:
    """Configurations scored on the same rows, best first; those without the metric last."""

    rows: RowsKey
    metric: str
    configurations: list[Configuration]
    trivial: dict[str, tuple[str, float]]
    notes: list[str]
    same_labels: bool = True

    @property
    def metrics(self) -> list[str]:
        """Metrics that some configuration has, the ranking one first, in the house's order."""
        had = {m for c in self.configurations for m, f in c.scores.items() if f.value == f.value}
        return [self.metric, *(m for m in NAMES if m in had and m != self.metric)]


@dataclasses.dataclass
class Leaderboard:
    """All groups, and what could not be ranked."""

    groups: list[Group]
    differing: list[str]
    unfinished: list[Entry]
    notes: list[str]


def name_of(metric: str) -> str:
    """What tables call a metric.

    >>> name_of("macro_auroc"), name_of("micro_recall")
    ('AUROC (macro)', 'micro recall')
    """
    return NAMES.get(metric, metric.replace("_", " "))


def find_metric(name: str, known: Sequence[str]) -> str:
    """The metric of a name as people write it.

    >>> find_metric("auroc", ["exact", "macro_auroc"]), find_metric("BLEU-4", ["bleu4"])
    ('macro_auroc', 'bleu4')

    Raises:
        InputError: no run has it, or nothing can be ranked by it.
    """
    wanted = name.strip().lower().replace("-", "_")
    for candidate in (wanted, f"macro_{wanted}", wanted.replace("_", "")):
        if candidate in NOT_RANKED:
            raise InputError(
                f"metric={name}: it describes a system, neither more nor less of it is better"
            )
        if candidate in known:
            return candidate
    choices = ", ".join(m for m in known if m not in NOT_RANKED)
    raise InputError(f"metric={name}: no run has it; there are {choices}")


def build_leaderboard(
    entries: Sequence[Entry],
    metric: str | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    strict: bool = False,
) -> Leaderboard:
    """Pool, rank and test.

    Args:
        entries: at least one.
        metric: a name as ``find_metric`` takes it; None for ``DEFAULTS`` of the rows' kind.
        resamples: of the paired bootstrap.
        seed: of its draws.
        strict: refuse entries of different rows.

    Raises:
        InputError: an unknown metric; with ``strict``, entries of different rows.
    """
    done = [entry for entry in entries if entry.status == "done" and entry.rows is not None]
    known = list(dict.fromkeys(m for entry in done for m in entry.figures))
    wanted = find_metric(metric, known) if metric is not None and known else None
    parts = _divide(done, wanted)
    if strict and len(parts) > 1:
        told = "; ".join(
            f"{_describe(rows)} ({len(members)} run{'s' * (len(members) > 1)}, such as "
            f"{members[0].name})"
            for rows, _, members in parts
        )
        raise InputError(f"the runs were scored on different rows, not to be ranked: {told}")
    differing = differing_settings(done)
    board = Leaderboard([], differing, [e for e in entries if e not in done], [])
    for rows, chosen, members in parts:
        board.groups.append(_group(rows, chosen, members, differing, resamples, seed, board.notes))
    board.groups.sort(key=lambda group: -sum(c.seeds for c in group.configurations))
    board.notes += [f"{entry.name}: {text}" for entry in done for text in entry.problems]
    commits = list(dict.fromkeys(entry.commit for entry in done if entry.commit))
    if len(commits) > 1:
        board.notes.append(f"The runs are of different commits: {', '.join(commits)}.")
    return board


def _describe(rows: RowsKey) -> str:
    studies = "study" if rows.studies == 1 else "studies"
    known = f"rows {rows.sha256[:8]}" if rows.known else "rows unknown"
    return f"{rows.studies} {studies} of {rows.split}, {rows.kind}, {rows.tokenizer}, {known}"


def _divide(entries: Sequence[Entry], wanted: str | None) -> list[tuple[RowsKey, str, list[Entry]]]:
    """Entries by rows; where labels are what is ranked, by these too."""
    by_rows: dict[RowsKey, list[Entry]] = {}
    for entry in entries:
        assert entry.rows is not None
        by_rows.setdefault(entry.rows, []).append(entry)
    parts = []
    for rows, members in by_rows.items():
        metric = wanted or _usual_metric(rows.kind, members)
        if metric in DETECTION:
            by_labels: dict[str, list[Entry]] = {}
            for entry in members:
                by_labels.setdefault(entry.labels, []).append(entry)
            parts += [(rows, metric, found) for found in by_labels.values()]
        else:
            parts.append((rows, metric, members))
    return parts


def _usual_metric(kind: str, members: Sequence[Entry]) -> str:
    usual = DEFAULTS.get(kind, DEFAULTS["report"])
    had = [{m for m, f in entry.figures.items() if not math.isnan(f.value)} for entry in members]
    for metrics in (set.intersection(*had), set.union(*had)):
        found = next((metric for metric in usual if metric in metrics), None)
        if found is not None:
            return found
    return usual[0]


def differing_settings(entries: Sequence[Entry]) -> list[str]:
    """Keys whose values are not the same in all entries that have settings, in their own order."""
    every = [entry.settings for entry in entries if entry.settings is not None]
    keys = dict.fromkeys(key for settings in every for key in settings)
    return [key for key in keys if len({_plain(settings.get(key)) for settings in every}) > 1]


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def setting_text(value: Any) -> str:
    """A setting for print.

    >>> setting_text(None), setting_text(True), setting_text(0.001), setting_text([1, 2])
    ('–', 'true', '0.001', '1, 2')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(setting_text, value)) if isinstance(value, list) else str(value)


def _group(
    rows: RowsKey,
    metric: str,
    members: Sequence[Entry],
    differing: Sequence[str],
    resamples: int,
    seed: int,
    notes: list[str],
) -> Group:
    pooled: dict[str, list[Entry]] = {}
    for entry in members:
        own = entry.settings is None
        key = entry.name if own else _plain(entry.settings)
        found = pooled.setdefault(key, [])
        twin = next((e for e in found if e.seed == entry.seed), None)
        if twin is not None:
            notes.append(
                f"{entry.name} has the settings and the seed of {twin.name}, which alone counts."
            )
            continue
        found.append(entry)
    configurations = [_configuration(found, differing) for found in pooled.values()]
    scored = [c for c in configurations if not math.isnan(c.score(metric).value)]
    scored.sort(key=lambda c: -sign(metric) * c.score(metric).value)
    for place, configuration in enumerate(scored):
        above = scored[place - 1]
        tied = place > 0 and above.score(metric).value == configuration.score(metric).value
        configuration.rank = above.rank if tied else place + 1
        _test_against_trivial(configuration, metric)
    others = [c for c in configurations if c.rank is None]
    group = Group(rows, metric, scored + others, _best_trivial(members), [])
    _compare_with_first(group, scored, resamples, seed)
    _add_notes(group, members)
    return group


def _configuration(entries: list[Entry], differing: Sequence[str]) -> Configuration:
    settings = entries[0].settings
    own = {key: settings.get(key) for key in differing} if settings is not None else {}
    told = [f"{key}={setting_text(value)}" for key, value in own.items() if value is not None]
    scores: dict[str, Figure] = {}
    deviation: dict[str, float] = {}
    for metric in dict.fromkeys(m for entry in entries for m in entry.figures):
        figures = [e.figures.get(metric, Figure(math.nan)) for e in entries]
        over = spread([figure.value for figure in figures])
        deviation[metric] = over.sd
        scores[metric] = Figure(over.mean, over.low, over.high) if len(entries) > 1 else figures[0]
    cost = {}
    for name in COSTS:
        values = [entry.cost[name] for entry in entries if name in entry.cost]
        if values:
            cost[name] = sum(values) / len(values)
    label = ", ".join(told) or entries[0].name
    return Configuration(label, entries, own, scores, deviation, cost)


def _best_trivial(members: Sequence[Entry]) -> dict[str, tuple[str, float]]:
    """By metric, the best trivial system that stands beside any entry."""
    best: dict[str, tuple[str, float]] = {}
    for entry in members:
        for name, figures in entry.trivial.items():
            for metric, figure in figures.items():
                if math.isnan(figure.value):
                    continue
                ahead = best.get(metric)
                if ahead is None or sign(metric) * (figure.value - ahead[1]) > 0:
                    best[metric] = (name, figure.value)
    return best


def _test_against_trivial(configuration: Configuration, metric: str) -> None:
    tests = [entry.tests[metric] for entry in configuration.entries if metric in entry.tests]
    trivial = [figures for entry in configuration.entries for figures in entry.trivial.values()]
    if len(tests) < configuration.seeds:
        configuration.tested = "not tested" if any(metric in c for c in trivial) else ""
        return
    told = [verdict(test) for test in tests]
    better, worse = told.count("better"), told.count("worse")
    total = len(tests)
    configuration.against_trivial = {better: "better", worse: "worse"}.get(total, "unclear")
    if total > 1 and configuration.against_trivial == "unclear":
        configuration.tested = f"{better} better, {worse} worse of {total} seeds"
    elif total > 1:
        configuration.tested = f"in each of {total} seeds"


def _compare_with_first(
    group: Group, ranked: Sequence[Configuration], resamples: int, seed: int
) -> None:
    if len(ranked) < 2:
        return
    metric = group.metric
    samples = resample(
        {
            entry.name: (entry.answers, entry.figures.get(metric, Figure(math.nan)).value)
            for configuration in ranked
            for entry in configuration.entries
        },
        metric,
        group.rows.kind,
        group.rows.tokenizer,
        resamples,
        seed,
    )
    for configuration in ranked[1:]:
        leader, other = (
            (
                c.score(metric),
                [e.figures.get(metric, Figure(math.nan)).value for e in c.entries],
                [samples.draws.get(e.name) for e in c.entries],
            )
            for c in (ranked[0], configuration)
        )
        configuration.first = compare(leader, other)
    group.notes += samples.notes


def _add_notes(group: Group, members: Sequence[Entry]) -> None:
    if not group.rows.known:
        group.notes.append(
            "Which rows these are cannot be told (no rows_sha256 in metrics.json, no reports.csv): "
            "evaluate again with this version to compare with others."
        )
    ranked = [c for c in group.configurations if c.rank is not None]
    if group.metric.startswith("validation"):
        group.notes.append(
            f"{name_of(group.metric)} is what each training states of its own validation studies; "
            "whether these were the same is not checked, and no trivial system has it."
        )
    elif group.trivial.get(group.metric) is None:
        group.notes.append(f"No trivial system has {name_of(group.metric)} on these rows.")
    if len(ranked) > 1 and any(c.seeds == 1 for c in ranked):
        group.notes.append(
            "Of one seed the interval is over patients: it says how sure the score of that one "
            "model is, not how another training would turn out. Several seeds say that."
        )
    if len({entry.labels for entry in members if entry.labels}) > 1:
        group.same_labels = False
        group.notes.append(
            "The runs were scored against different labels: AUROC, AP, Brier and calibration error "
            "of one row are not those of another. metric=auroc makes a table for each."
        )


def first_of(group: Group) -> Configuration | None:
    """The leader, or None where nothing has the metric."""
    return next((c for c in group.configurations if c.rank == 1), None)


def beats_trivial(group: Group, configuration: Configuration) -> bool | None:
    """Whether a configuration's score is above the best trivial one; None where there is none."""
    best: Mapping[str, tuple[str, float]] = group.trivial
    if group.metric not in best or configuration.rank is None:
        return None
    value = configuration.score(group.metric).value
    return sign(group.metric) * (value - best[group.metric][1]) > 0
