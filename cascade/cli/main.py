"""The ``cascade`` command: finds the room for a word, and turns every error into one line.

Nothing heavy is imported before it is needed: ``cascade --help`` answers in well under a second.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cascade import RESEARCH_NOTICE, __version__
from cascade.cli.explain import conf_dir, explain, suggest
from cascade.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from cascade.cli.sweep import Sweep

COMMANDS: dict[str, str] = {
    "demo": "the whole method on the built-in phantom collection",
    "prepare": "a raw download -> a collection",
    "mine": "a collection -> a label table",
    "train": "a collection and a label table -> a run (stage=classifier or stage=generator)",
    "relabel": "a run and its collection -> the next round's label table",
    "run": "the whole cascade: classify, generate, relabel, repeat",
    "evaluate": "scores beside the trivial baselines, and a page to look at",
    "compare": "runs, evaluations or a sweep -> one leaderboard, and a page to look at",
    "annotate": "a folder or zip of radiographs and a model -> draft annotations",
}

SHARED_HELP = """\
Every setting is a Hydra override (key=value, no dashes); the ones shared by all commands:
  out=DIR        where the results go
  seed=N         every random choice follows from it
  debug=true     show the traceback of an error
  -m             run once for each of several values (a sweep): seed=1,2,3
  --cfg job      print the settings and stop

Exit status: 0 done, 1 failed in mid-work, 2 wrong usage or bad input.
"""


def overview() -> str:
    """The text of ``cascade --help``."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    purpose = "mines labels, trains the recurrent cascade, drafts annotations."
    return f"""\
cascade {__version__}: reads chest X-rays: {purpose}
{RESEARCH_NOTICE}

Usage: cascade COMMAND [key=value ...]

Commands:
{commands}

Examples:
  cascade demo
  cascade prepare data=openi data.root=downloads/openi out=collections/openi
  cascade run data=nih data.root=downloads/nih out=runs/nih
  cascade annotate source=archive/ model=runs/nih/model out=annotations

`cascade COMMAND --help` explains one command with examples.
"""


def _fail(message: str, status: int) -> int:
    line = " ".join(message.split())
    print(f"cascade: {line}", file=sys.stderr)
    return status


def dispatch(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    words = list(arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        if words[1:] and words[1] in COMMANDS:
            words = [words[1], "--help"]
        else:
            print(overview(), end="")
            return 0
    if words[0] in ("--version", "version"):
        print(f"cascade {__version__}")
        return 0
    command, rest = words[0], words[1:]
    if command not in COMMANDS:
        hint = suggest(command, list(COMMANDS))
        return _fail(
            f"unknown command {command!r}: {hint}{hint and ' '}commands are {', '.join(COMMANDS)}; "
            "`cascade --help` explains them",
            2,
        )
    module = importlib.import_module(f"cascade.cli.{command}")
    if "-h" in rest or "--help" in rest:
        print(f"{module.HELP.strip()}\n\n{SHARED_HELP}\n{RESEARCH_NOTICE}")
        return 0
    try:
        rest = arrange(rest, getattr(module, "POSITIONAL", None))
    except InputError as error:
        return _fail(str(error), error.exit_status)
    return run_guarded(command, rest, module.run)


_FLAGS = {
    "-m": False,
    "--multirun": False,
    "--cfg": True,
    "-c": True,
    "--package": True,
    "-p": True,
    "--resolve": False,
    "--hydra-help": False,
    "--info": True,
    "--config-dir": True,
    "-cd": True,
}
"""Hydra's options that make sense here, and whether a value follows."""


def arrange(words: Sequence[str], positional: str | None = None) -> list[str]:
    """The options first, then the settings: Hydra refuses settings on both sides of ``-m``.

    Args:
        words: of the command line, after the command.
        positional: the setting that words without ``=`` are a list for, of a command that has one.

    >>> arrange(["seed=1,2", "-m", "out=x"])
    ['-m', 'seed=1,2', 'out=x']
    >>> arrange(["a b", "metric=bleu4", "c"], "runs")
    ['metric=bleu4', "runs=['a b','c']"]

    Raises:
        InputError: an option that does not exist; a setting given twice over.
    """
    options, settings = [], []
    rest = iter(words)
    for word in rest:
        flag, equals, _ = word.partition("=")
        if not word.startswith("-"):
            settings.append(word)
        elif flag in _FLAGS:
            options.append(word)
            if _FLAGS[flag] and not equals:
                options += [value for value in [next(rest, None)] if value is not None]
        else:
            hint = f"{word.lstrip('-')}" if equals else f"{word.lstrip('-')}=VALUE"
            raise InputError(f"unknown option {word!r}: settings are given without dashes, {hint}")
    if positional is not None:
        settings = _gather(settings, positional)
    return options + settings


def _gather(settings: Sequence[str], key: str) -> list[str]:
    """Words without ``=``, and those that are there on disk, as one list for Hydra."""
    bare = [w for w in settings if w[:1] not in "+~" and ("=" not in w or os.path.exists(w))]
    kept = [word for word in settings if word not in bare]
    if not bare:
        return kept
    if any(word.startswith(f"{key}=") for word in kept):
        raise InputError(f"give the folders as words or as {key}=[A,B], not both")
    quoted = (word.replace("\\", "\\\\").replace("'", "\\'") for word in bare)
    return [*kept, f"{key}=[{','.join(chr(39) + word + chr(39) for word in quoted)}]"]


def run_guarded(command: str, rest: list[str], run: Callable[[DictConfig], Any]) -> int:
    """Run a command under Hydra; an error becomes one line and a status."""
    status, lines = attempt(command, rest, run)
    tell(lines)
    return status


def tell(lines: Sequence[str]) -> None:
    """Say what went wrong, a line each."""
    for line in lines:
        _fail(line, 1)


def attempt(
    command: str, rest: list[str], run: Callable[[DictConfig], Any], *, alone: bool = False
) -> tuple[int, list[str]]:
    """Run a command under Hydra; returns its status and what is to be told about errors.

    The jobs of a sweep that fail are told after the others have run; the status is 2 where bad
    input stopped every one, otherwise 1. ``alone``: it is one job of a sweep.
    """
    from cascade.cli.jobs import finish, from_launcher
    from cascade.cli.search import run_search
    from cascade.cli.sweep import is_sweep, plan

    debug = any(word.lstrip("+").lower() in ("debug=true", "debug=1") for word in rest)
    jobs: list[tuple[str, Exception | None]] = []
    sweep = None
    try:
        if not alone and is_sweep(command, rest):
            if "RANK" in os.environ and os.environ.get("WORLD_SIZE") != "1":
                raise InputError(
                    "torchrun starts one run: take -m away, or torchrun (launcher=...)"
                )
            sweep, rest = plan(command, rest)
        if sweep is not None and sweep.search is not None:
            run_search(sweep)
        else:
            _run_hydra(command, rest, run, jobs, sweep)
    except KeyboardInterrupt:
        more = "" if sweep is None else " with resume=true"
        return 130, [f"interrupted; the same command{more} goes on from the last finished step"]
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code)), []
    except BrokenPipeError:  # `cascade mine ... | head` has read enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what Python flushes at its end
        return 1, []
    except Exception as error:
        jobs.append(("", from_launcher(error)))
    finally:
        together = sys.modules.get("cascade.training.together")
        if together is not None:  # the processes that trained along
            together.dismiss()
    failures = [error for _, error in jobs if error is not None]
    if failures and debug:
        raise failures[0]
    explained = [explain(error, command) for error in failures]
    if sweep is not None:
        status, lines = finish(sweep)
        lines = [line for line, _ in explained] + lines
        return max([status, *(each for _, each in explained)]), lines
    if not failures:
        return 0, []
    if len(jobs) == 1:
        return explained[0][1], [explained[0][0]]
    names = [name for name, error in jobs if error is not None]
    lines = [
        f"{name}: {line}" if name else line
        for name, (line, _) in zip(names, explained, strict=True)
    ]
    hopeless = len(failures) == len(jobs) and all(status == 2 for _, status in explained)
    return 2 if hopeless else 1, [*lines, f"{len(failures)} of {len(jobs)} jobs failed"]


def _run_hydra(
    command: str,
    arguments: list[str],
    run: Callable[[DictConfig], Any],
    jobs: list[tuple[str, Exception | None]],
    sweep: Sweep | None = None,
) -> None:
    """Let Hydra compose the settings and run the job, or each job of a sweep, into ``jobs``.

    The jobs of a planned sweep leave records instead.
    """
    import hydra

    from cascade.cli.jobs import run_job
    from cascade.cli.output import NewOutput, job_name

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors come up to us, unprinted
    process = os.getpid()
    output = NewOutput(command, arguments)

    def record(config: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig

        assert sweep is not None
        run_job(sweep, int(HydraConfig.get().job.num))

    def task(config: DictConfig) -> None:
        # Kept and told afterwards: Hydra would print it, and a sweep's other jobs should still run.
        failure: Exception | None = None
        try:
            run(config)
        except Exception as error:
            failure = error
        except KeyboardInterrupt:
            output.tidy(bad_input=False)
            raise
        if failure is not None:
            output.tidy(bad_input=explain(failure, command)[1] == InputError.exit_status)
            if os.getpid() != process:  # a launcher's worker: the list would stay there
                raise failure
        jobs.append((job_name(arguments), failure))

    program, sys.argv = sys.argv, [f"cascade-{command}", *arguments]
    try:
        main = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)
        main(task if sweep is None else record)()
    finally:
        sys.argv = program
        output.close()


def main() -> None:
    """Entry point of the ``cascade`` command; under ``torchrun`` the first process leads."""
    if "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
        from cascade.training import together

        if os.environ["RANK"] != "0":
            sys.exit(together.follow())
        together.join()
    sys.exit(dispatch(sys.argv[1:]))
