"""``sweep=optuna``: trials are the jobs of a sweep, and each is chosen by how the others scored.

Hydra's own Optuna plugin asks for an Optuna before 3.0, and prunes nothing; this drives Optuna
itself. What is known of a study is in the jobs' records: there is no data base, and ``resume=true``
goes on from them.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.errors import InputError

if TYPE_CHECKING:
    from cascade.cli.sweep import Sweep

ROUND = 1000
"""Steps of one round: later rounds are compared with later rounds."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        space: Hydra's sweep of each setting, by its key.
        fixed: overrides of every trial.
        options: the settings ``search.*``.
        stage: what ``cascade train`` trains.
    """

    space: dict[str, Any]
    fixed: list[str]
    options: dict[str, Any]
    stage: str | None

    def overrides(self, parameters: dict[str, Any]) -> list[str]:
        """A trial's overrides."""
        return [*self.fixed, *(f"{key}={_written(value)}" for key, value in parameters.items())]

    def written(self) -> dict[str, str]:
        """The space as it is given, for the records."""
        return {key: _given(each) for key, each in self.space.items()}


def _given(override: Any) -> str:
    return str(override.input_line).partition("=")[2]


def _written(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def distribution(override: Any) -> Any:
    """Optuna's distribution of what Hydra reads: an interval, a range, or a choice of texts.

    Raises:
        InputError: an interval that is none.
    """
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    value, key = override.value(), override.get_key_element()
    if isinstance(value, RangeSweep):
        numbers = list(override.sweep_iterator())
        if all(isinstance(number, int) for number in numbers):
            return IntDistribution(min(numbers), max(numbers), step=abs(int(value.step)))
    if not isinstance(value, IntervalSweep):
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    log = "log" in value.tags
    kind: Any = IntDistribution if isinstance(value.start, int) else FloatDistribution
    try:
        return kind(value.start, value.end, log=log)
    except ValueError as error:
        raise InputError(f"{key}={_given(override)}: {error}") from error


def check_records(search: Search, records: Sequence[dict[str, Any] | None], root: Path) -> None:
    """Refuse to go on with a search over another space or with other settings.

    Raises:
        InputError: they differ.
    """
    for number, record in enumerate(records):
        if record is None:
            continue
        before, now = record.get("space"), search.written()
        if before is not None and before != now:
            key = next(key for key in {**before, **now} if before.get(key) != now.get(key))
            raise InputError(
                f"{root} is a search over {key}={before.get(key)}, now it is {now.get(key)}: "
                "choose another out="
            )
        if before is None or record["overrides"] != search.overrides(record["parameters"]):
            raise InputError(
                f"job {number} of {root} is of another sweep: resume=true needs the settings that "
                "it was begun with; for others choose another out="
            )


def run_search(sweep: Sweep) -> None:
    """Run the trials that are not done; each leaves a job's record, with its ``parameters``."""
    import optuna
    from optuna.trial import TrialState, create_trial

    from cascade.cli.jobs import run_job
    from cascade.cli.sweep import read_record

    search = sweep.search
    assert search is not None
    options = search.options
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {key: distribution(override) for key, override in search.space.items()}
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if options["prune"]:
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=min(3, options["startup"]), n_warmup_steps=options["grace"]
        )
    study = optuna.create_study(direction="maximize", pruner=pruner)
    waiting: list[tuple[int, dict[str, Any] | None]] = []
    for number in range(options["trials"]):
        record = read_record(sweep.folder(number)) or {}
        curve = validation_curve(sweep.command, search.stage, sweep.folder(number))
        if record.get("status") in ("done", "pruned"):
            done = record["status"] == "done" and record["score"] is not None
            value = record["score"] if done else max(curve.values(), default=None)
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE if done else TrialState.PRUNED,
                    params=record["parameters"],
                    distributions=space,
                    value=value,
                    intermediate_values=curve,
                )
            )
        else:
            waiting.append((number, record.get("parameters")))
        sweep.jobs.append(search.overrides(record.get("parameters") or {}))

    def run(number: int, parameters: dict[str, Any] | None) -> bool:
        # By its number: a search that goes on chooses as one that never stopped.
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=options["startup"],
            seed=options["seed"] * 10007 + number,
            constant_liar=sweep.parallel > 1,
        )
        if parameters is not None:
            study.enqueue_trial(parameters)
        trial = study.ask(space)
        sweep.jobs[number] = search.overrides(trial.params)

        told: set[int] = set()

        def hopeless(folder: Path) -> str | None:
            seen = validation_curve(sweep.command, search.stage, folder)
            for step in sorted(seen.keys() - told):
                trial.report(seen[step], step)
            told.update(seen)
            if seen and trial.should_prune():
                last = max(seen)
                return f"{seen[last]:.4f} in epoch {last % ROUND + 1}: below the earlier trials"
            return None

        facts = {"parameters": trial.params, "space": search.written()}
        run_job(sweep, number, facts, hopeless)
        record = read_record(sweep.folder(number)) or {}
        state = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
        ended = state.get(record.get("status", ""), TrialState.FAIL)
        study.tell(trial, record.get("score") if ended == TrialState.COMPLETE else None, ended)
        return record.get("exit_status") != InputError.exit_status

    try:
        if waiting and run(*waiting[0]):  # what is bad input for the first is for all
            _run_all(run, waiting[1:], sweep.parallel)
    finally:
        begun = [n for n in range(len(sweep.jobs)) if read_record(sweep.folder(n))]
        del sweep.jobs[max(begun, default=-1) + 1 :]


def _run_all(
    run: Callable[[int, dict[str, Any] | None], bool],
    waiting: Sequence[tuple[int, dict[str, Any] | None]],
    parallel: int,
) -> None:
    if parallel == 1:
        for trial in waiting:
            run(*trial)
        return
    with ThreadPoolExecutor(parallel) as pool:
        try:
            for future in [pool.submit(run, *trial) for trial in waiting]:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def validation_curve(command: str, stage: str | None, folder: Path) -> dict[int, float]:
    """A job's validation score after each epoch so far, from its ``metrics.csv``."""
    if command == "train":
        files, column = (
            [folder / "metrics.csv"],
            "val/auroc" if stage == "classifier" else "val/bleu",
        )
    else:
        files, column = sorted(folder.glob("round-*/generator/metrics.csv")), "val/bleu"
    curve = {}
    for path in files:
        number = int(path.parent.parent.name.partition("-")[2]) - 1 if command == "run" else 0
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except FileNotFoundError:
            continue
        for row in rows:
            value = float(row.get(column) or "nan")
            if math.isfinite(value):
                curve[number * ROUND + int(float(row["epoch"]))] = value
    return curve
