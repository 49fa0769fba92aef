"""The ``cascade`` command: finds the room for a word, and turns every error into one line.

Nothing heavy is imported before it is needed: ``cascade --help`` answers in well under a second.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade import RESEARCH_NOTICE, __version__
from cascade.errors import CascadeError, InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMMANDS: dict[str, str] = {
    "demo": "the whole method on the built-in phantom collection",
    "prepare": "a raw download -> a collection",
    "mine": "a collection -> a label table",
    "train": "a collection and a label table -> a run (stage=classifier or stage=generator)",
    "relabel": "a run and its collection -> the next round's label table",
    "run": "the whole cascade: classify, generate, relabel, repeat",
    "evaluate": "scores beside the trivial baselines, and a page to look at",
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


def conf_dir() -> Path:
    """The folder of the shipped settings: inside the wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def overview() -> str:
    """The text of ``cascade --help``."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return f"""\
cascade {__version__}: reads chest X-rays: mines labels, trains the recurrent cascade, drafts annotations.
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


def _suggest(word: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}? " if close else ""


def _config_keys(command: str) -> list[str]:
    """Every dotted key that the command's settings have."""
    from hydra import compose, initialize_config_dir
    from omegaconf import DictConfig

    def walk(node: DictConfig, prefix: str) -> list[str]:
        keys = []
        for key in node:
            keys.append(f"{prefix}{key}")
            if not node._is_missing(key) and isinstance(node._get_node(key), DictConfig):
                child = node._get_node(key)
                if child is not None and not child._is_none():
                    keys += walk(child, f"{prefix}{key}.")
        return keys

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return walk(compose(command), "")


def explain_hydra_error(error: Exception, command: str) -> str:
    """One line that names the wrong setting and what would be right."""
    text = str(error)
    cause = str(error.__cause__ or "")
    override = re.search(r"Could not override '([^']+)'", text)
    if override is None:
        override = re.search(r"Key '([^']+)' is not in struct", text + cause)
    if override and ("not in struct" in text + cause or "Could not override" in text):
        key = override.group(1)
        keys = _config_keys(command)
        if key not in keys:
            hint = _suggest(key, keys)
            if not hint:
                hint = _suggest(key.rsplit(".", 1)[-1], [k for k in keys if "." not in k])
            return f"unknown setting {key!r}: {hint}`cascade {command} --cfg job` lists all settings"
    missing = re.search(r"Could not find '([^']+)'", text)
    if missing:
        group = missing.group(1).rsplit("/", 1)[0]
        options = re.findall(r"^\t(.+)$", text, flags=re.MULTILINE)
        name = missing.group(1).rsplit("/", 1)[-1]
        listed = f"; choices: {', '.join(options)}" if options else ""
        return f"unknown choice {name!r} for {group}{listed}. {_suggest(name, options)}".strip()
    absent = re.search(r"Missing mandatory value: (\S+)", text)
    if absent:
        return f"the setting {absent.group(1)} is needed: {absent.group(1)}=VALUE"
    lines = [line.strip() for line in (text + "\n" + cause).splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines[:2])) or type(error).__name__


def _run_command(command: str, arguments: list[str], run: Callable[[DictConfig], Any]) -> None:
    import hydra

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors come up to us, unprinted
    errors: list[BaseException] = []

    def task(config: DictConfig) -> Any:
        # Kept and raised below: Hydra would print it, and a sweep's other jobs should still run.
        try:
            return run(config)
        except Exception as error:
            _remove_empty_output()
            errors.append(error)
            return None

    program, sys.argv = sys.argv, [f"cascade-{command}", *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(task)()
    finally:
        sys.argv = program
    if errors:
        raise errors[0]


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
        hint = _suggest(command, list(COMMANDS))
        return _fail(
            f"unknown command {command!r}: {hint}commands are {', '.join(COMMANDS)}; "
            "`cascade --help` explains them",
            2,
        )
    module = importlib.import_module(f"cascade.cli.{command}")
    if "-h" in rest or "--help" in rest:
        print(f"{module.HELP.strip()}\n\n{SHARED_HELP}\n{RESEARCH_NOTICE}")
        return 0
    return run_guarded(command, rest, module.run)


def _remove_empty_output() -> None:
    """Hydra makes the output folder before a command begins; one that stayed empty goes."""
    import contextlib

    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.initialized():
        with contextlib.suppress(OSError):
            Path(HydraConfig.get().runtime.output_dir).rmdir()


def run_guarded(command: str, rest: list[str], run: Callable[[DictConfig], Any]) -> int:
    """Run a command under Hydra; an error becomes one line and a status."""
    debug = any(word.replace("+", "") in ("debug=true", "debug=True", "debug=1") for word in rest)
    try:
        _run_command(command, rest, run)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from the last finished step", 130)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except Exception as error:
        if debug:
            raise
        if isinstance(error, CascadeError):
            return _fail(str(error), error.exit_status)
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        if isinstance(error, HydraException | OmegaConfBaseException):
            return _fail(explain_hydra_error(error, command), InputError.exit_status)
        if isinstance(error, MemoryError):
            return _fail("out of memory: lower batch_size or image_size", 1)
        return _fail(
            f"internal error, please report it: {type(error).__name__}: {error} "
            "(debug=true shows the traceback)",
            1,
        )
    return 0


def main() -> None:
    """Entry point of the ``cascade`` command."""
    sys.exit(dispatch(sys.argv[1:]))
