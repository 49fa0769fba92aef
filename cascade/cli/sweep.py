"""Sweeps of ``cascade train -m`` and ``cascade run -m``: which jobs there are, and where they lie.

Hydra numbers the jobs, and its launcher says when and where each starts; ``cascade.cli.jobs`` runs
it in the sweep's folder ``N``. ``resume=true`` runs the jobs that are not done.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cascade.cli.checks import check_value
from cascade.cli.explain import conf_dir, unknown_choice
from cascade.cli.search import Search, check_records
from cascade.errors import InputError

SWEPT = ("train", "run")
"""The commands whose jobs are processes with records; others sweep as Hydra does."""

RECORD, LOCK, SLOTS, SHARED = "job.json", ".lock", ".slots", "shared"
PLUGINS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit": "hydra_plugins.hydra_submitit_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
}
"""The launchers that the extra ``sweep`` installs."""

OWN = ("out", "resume", "launcher", "search", "hydra")
"""Settings of a sweep, not of its jobs."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is to be run.

    Attributes:
        command: ``train`` or ``run``.
        root: folder of the sweep.
        jobs: for each job its overrides, without those of the sweep itself.
        launcher: by its name in ``conf/launcher``.
        parallel: so many jobs at once on this machine.
        gpus: ids for ``CUDA_VISIBLE_DEVICES``, dealt out to the jobs that run at once.
        search: where the jobs are trials that Optuna chooses.
    """

    command: str
    root: Path
    jobs: list[list[str]]
    launcher: str = "basic"
    parallel: int = 1
    gpus: tuple[str, ...] = ()
    search: Search | None = None

    def folder(self, number: int) -> Path:
        """Where a job's run lies."""
        return self.root / str(number)

    def name(self, number: int) -> str:
        """A job's number and what it alone was given."""
        return f"job {number} ({' '.join(self.own(number))})"

    def own(self, number: int) -> list[str]:
        """A job's overrides that not all jobs have; all of them, where there is one job."""
        every = set.intersection(*map(set, self.jobs)) if len(self.jobs) > 1 else set()
        return [word for word in self.jobs[number] if word not in every]


def is_sweep(command: str, arguments: Sequence[str]) -> bool:
    """Whether the jobs of this command line are processes with records.

    Raises:
        InputError: settings of a sweep where there is none, or a launcher that is not installed.
    """
    several = any(word in ("-m", "--multirun") for word in arguments)
    given = dict(word.lstrip("+").partition("=")[::2] for word in arguments)
    launcher = given.get("launcher", "basic")
    asked = [key for key in ("launcher", "sweep", "resume") if key in given]
    if asked and not several:
        raise InputError(
            f"{asked[0]}= belongs to a sweep: add -m to run once for each of several values "
            f"(`cascade {command} --help`)"
        )
    if asked and command not in SWEPT:
        raise InputError(f"{asked[0]}= is for cascade {' -m and cascade '.join(SWEPT)} -m")
    plugin = PLUGINS.get(launcher)
    if plugin is not None and not _installed(plugin):
        raise InputError(f"launcher={launcher} needs: pip install 'cascade-cxr[sweep]'")
    if given.get("sweep") == "optuna" and not _installed("optuna"):
        raise InputError("sweep=optuna needs: pip install 'cascade-cxr[sweep]'")
    options = [word for word in arguments if word.startswith("-")]
    return several and command in SWEPT and set(options) <= {"-m", "--multirun"}


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package of all plugins
        return False


# --- before the jobs


def plan(command: str, arguments: Sequence[str]) -> tuple[Sweep, list[str]]:
    """The jobs of a command line, as Hydra will number them, and the words for Hydra.

    Raises:
        InputError: the folder holds another sweep, or this one and ``resume=true`` is not given.
    """
    from hydra import compose, initialize_config_dir
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.utils import setup_globals

    setup_globals()  # ${now:...}
    words = [word for word in arguments if word not in ("-m", "--multirun")]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parser = OverridesParser.create(config_loader=loader)
        parsed = parser.parse_overrides(words)
        swept = [each.get_key_element() for each in parsed if each.is_sweep_override()]
        if "out" in swept:
            raise InputError("out= is the folder of the whole sweep: each job has its own in it")
        single = [str(each.input_line) for each in parsed if not each.is_sweep_override()]
        config = compose(command, overrides=single, return_hydra_config=True)
        for group in ("sweep", "launcher"):
            name, options = config.hydra.runtime.choices.get(group), loader.get_group_options(group)
            if name is not None and name not in options:  # Hydra passes over an optional group
                raise InputError(unknown_choice(name, group, options))
        params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        every = parser.parse_overrides([*params, *words])
        for key, value in config.launcher.items():
            check_value(f"launcher.{key}", value, value)
        name = str(config.hydra.runtime.choices.launcher)
        search = _search(config, every, name) if "search" in config else None
        jobs: list[list[str]] = []
        if search is None:
            (found,) = BasicSweeper.split_arguments(every, None)
            jobs = [[word for word in job if _of_a_job(word)] for job in found]
        gpus = _gpus() if shares(name) else ()
        parallel = config.launcher.jobs or (len(gpus) if gpus else max(2, count_cores() // 2))
        most = len(jobs) if search is None else search.options["trials"]
        sweep = Sweep(
            command,
            Path(os.path.abspath(config.out)),
            jobs,
            name,
            max(1, min(parallel, count_cores(), most)) if shares(name) else 1,
            gpus,
            search,
        )
        _check_folder(sweep, resume=bool(config.resume))
    ours = [f"out={quoted(sweep.root)}"]
    if name == "joblib":
        ours.append(f"hydra.launcher.n_jobs={sweep.parallel}")
    kept = [word for word in arguments if _key(word) != "out"]
    return sweep, [*kept, *ours]


def _of_a_job(word: str) -> bool:
    return _key(word).partition(".")[0] not in OWN


def _search(config: Any, overrides: Sequence[Any], launcher: str) -> Search:
    """The space that the swept overrides span; the others are every trial's."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from omegaconf import OmegaConf

    if launcher not in ("basic", "joblib"):
        raise InputError(f"sweep=optuna runs on this machine: launcher=joblib, not {launcher}")
    options = OmegaConf.to_container(config.search)
    assert isinstance(options, dict)
    named = {str(key): value for key, value in options.items()}
    for key, value in named.items():
        check_value(f"search.{key}", value, value)
    last = {each.get_key_element(): each for each in overrides}
    space = {key: each for key, each in last.items() if each.is_sweep_override()}
    if not space:
        raise InputError("sweep=optuna has nothing to search: give KEY=A,B or KEY=interval(A,B)")
    kept = [each for key, each in last.items() if key not in space]
    ((fixed,),) = BasicSweeper.split_arguments(kept, None)
    return Search(space, [word for word in fixed if _of_a_job(word)], named, config.get("stage"))


def shares(launcher: str) -> bool:
    """Whether several jobs share this machine; SLURM gives each job its own part of one."""
    return launcher in ("joblib", "submitit_local")


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].partition("@")[0]


def quoted(path: Path) -> str:
    """A path as a value that Hydra reads back as it is."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _gpus() -> tuple[str, ...]:
    """The GPUs that may be used, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(filter(None, (name.strip() for name in visible.split(","))))
    try:
        asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    cards = [line for line in asked.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(map(str, range(len(cards))))


def _check_folder(sweep: Sweep, *, resume: bool) -> None:
    """Refuse what lies in the folder, unless it is this very sweep and is to be resumed."""
    if (sweep.root / "config.yaml").is_file():
        raise InputError(f"{sweep.root} holds a single run: choose another out= for the sweep")
    count = len(sweep.jobs) if sweep.search is None else sweep.search.options["trials"]
    records = {number: read_record(sweep.folder(number)) for number in range(count)}
    if not any(records.values()):
        return
    if not resume:
        raise InputError(
            f"{sweep.root} holds a sweep already: resume=true runs what is not done of it; "
            "otherwise choose another out="
        )
    if sweep.search is not None:
        check_records(sweep.search, list(records.values()), sweep.root)
        return
    for number, record in records.items():
        if record is None:
            continue
        before, now = _of_the_run(record["overrides"]), _of_the_run(sweep.jobs[number])
        if before != now or record["command"] != sweep.command:
            told = [" ".join(each[key] for key in sorted(each)) for each in (before, now)]
            differing = [word for word in record["overrides"] if word not in sweep.jobs[number]]
            other = [word for word in sweep.jobs[number] if word not in record["overrides"]]
            raise InputError(
                f"job {number} of {sweep.root} was {' '.join(differing) or told[0]} and would now "
                f"be {' '.join(other) or told[1]}: resume=true needs the settings that the sweep "
                "was begun with; for others choose another out="
            )
        if record["status"] == "done":
            _check_settings(sweep, number)


def _of_the_run(overrides: Sequence[str]) -> dict[str, str]:
    """The overrides that make a run what it is, by their keys; the rounds do, in a sweep."""
    from cascade.pipeline.settings import NO_PART_OF_A_RUN

    def is_free(key: str) -> bool:
        return any(f"{key}.".startswith(f"{free}.") for free in NO_PART_OF_A_RUN)

    words = {_key(word): word for word in overrides}
    return {key: word for key, word in words.items() if not is_free(key)}


def _check_settings(sweep: Sweep, number: int) -> None:
    """Whether a finished job was done with what its settings resolve to now."""
    from hydra import compose
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    from cascade.cli.support import plain
    from cascade.pipeline.settings import claim_run

    config = compose(sweep.command, overrides=sweep.jobs[number], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    claim_run(sweep.folder(number), plain(config))


def read_record(folder: Path) -> dict[str, Any] | None:
    """A job's ``job.json``, or None where there is none."""
    from cascade.io.files import read_json

    path = folder / RECORD
    return dict(read_json(path)) if path.is_file() else None
