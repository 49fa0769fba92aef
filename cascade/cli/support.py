"""What the command modules share: plain settings, the output directory, logging."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig


OF_THE_SWEEP = ("launcher", "resume", "search")
"""Settings that say how jobs are run; no job's own settings have them."""


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved settings as plain values, checked.

    Raises:
        InputError: a needed setting is missing, or one is of another type, range or choice.
    """
    from omegaconf import OmegaConf

    from cascade.cli.checks import check_settings

    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        wanted = " ".join(f"{key}=..." for key in missing)
        raise InputError(f"{config.command} needs {wanted} (`cascade {config.command} --help`)")
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    named = {str(key): value for key, value in settings.items()}
    checked = check_settings(config.command, named, shipped_defaults(config.command))
    _show_log()
    return {key: value for key, value in checked.items() if key not in OF_THE_SWEEP}


def shipped_defaults(command: str) -> dict[str, Any]:
    """The settings as shipped under this job's choices of groups: encoder, data, experiment, ...

    Raises:
        InputError: an experiment or a sweep that does not exist.
    """
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from cascade.cli.explain import unknown_choice

    job = HydraConfig.get()
    for group in ("experiment", "sweep"):
        options = GlobalHydra.instance().config_loader().get_group_options(group)
        name = job.runtime.choices.get(group)
        if name is not None and name not in options:  # Hydra passes over an optional group
            raise InputError(unknown_choice(name, group, options))
    chosen = [
        word
        for word in job.overrides.task
        if (word.partition("=")[0].lstrip("+")) in job.runtime.choices
        and word.partition("=")[2] != "null"
    ]
    defaults = OmegaConf.to_container(compose(command, overrides=chosen), resolve=True)
    assert isinstance(defaults, dict)
    return {str(key): value for key, value in defaults.items()}


def output_directory() -> Path:
    """``out=DIR``, or this job's folder in it during a sweep."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def shared_directory(out: Path) -> Path | None:
    """Where a job of a sweep shares what it prepares with the others; None outside of a sweep."""
    from cascade.cli.sweep import RECORD, SHARED

    return out.parent / SHARED if (out / RECORD).is_file() else None


def new_output_directory() -> Path:
    """As ``output_directory``, for what is written whole; looked at before any work.

    Raises:
        InputError: something lies there already.
    """
    out = output_directory()
    if any(out.iterdir()):
        raise InputError(f"{out} is not empty: choose another out=, or delete it first")
    return out


def _show_log() -> None:
    """Our log lines and every warning on standard error."""
    from rich.console import Console
    from rich.logging import RichHandler

    logger = logging.getLogger("cascade")
    if not logger.handlers:
        console = Console(stderr=True)
        handler = RichHandler(console=console, show_path=False, show_time=False, markup=False)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def existing(settings: dict[str, Any], key: str) -> Path:
    """A setting that names a path which must be there.

    Raises:
        InputError: it is not given, or not there.
    """
    value = settings.get(key)
    if value is None:
        raise InputError(f"{settings['command']} needs {key}=PATH")
    path = Path(str(value))
    if not path.exists():
        raise InputError(f"{key}={path} does not exist")
    return path
