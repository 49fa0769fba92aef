"""What the command modules share: plain settings, the output directory, logging."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved settings as plain values; a setting still to be given is named.

    Raises:
        InputError: a needed setting is missing.
    """
    from omegaconf import OmegaConf

    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        wanted = " ".join(f"{key}=..." for key in missing)
        raise InputError(f"{config.command} needs {wanted} (`cascade {config.command} --help`)")
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    _show_log()
    return {str(key): value for key, value in settings.items()}


def output_directory() -> Path:
    """``out=DIR``, or this job's folder in it during a sweep."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


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
