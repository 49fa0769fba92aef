"""What a failed job leaves behind: nothing, unless work had begun that can go on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RAW_SUFFIX = "-raw"
"""Beside a collection of the phantom lies what it was read from, by this ending."""


class NewOutput:
    """Knows which folders a command made, to take them away after bad input.

    Hydra makes the output folder before the command begins, so what was there is noted before that.
    """

    def __init__(self, command: str, arguments: Sequence[str]) -> None:
        """Note what lies at ``out=DIR``, or where a command writes without it."""
        given = [word.partition("=")[2] for word in arguments if word.startswith("out=")]
        self._out = Path(os.path.abspath(given[-1].strip("'\"") if given else f"outputs/{command}"))
        self._before = {path for path in (self._out, *self._out.parents) if path.exists()}
        if self._out.is_dir():
            self._before.update(self._out.iterdir())
        raw = self._raw(self._out)
        if raw.exists():
            self._before.add(raw)

    def tidy(self, *, bad_input: bool) -> None:
        """Take away what this job made and nobody can use.

        After bad input that is its whole new folder, for the same folder is refused to corrected
        settings; but not where a training has begun, which the same command would go on with. After
        any other failure it is empty folders only.
        """
        from hydra.core.hydra_config import HydraConfig

        if not HydraConfig.initialized():
            return
        out = Path(HydraConfig.get().runtime.output_dir)
        if bad_input and self._is_new(out) and not _resumable(out):
            shutil.rmtree(out, ignore_errors=True)
            if self._raw(out) not in self._before:
                shutil.rmtree(self._raw(out), ignore_errors=True)
        self._remove_empty(out)

    def close(self) -> None:
        """Take away the folder of a sweep of which no job left anything but its list."""
        listed = self._out / "multirun.yaml"
        if self._out not in self._before and listed.is_file():
            if [path.name for path in self._out.iterdir()] == [listed.name]:
                listed.unlink()
            self._remove_empty(self._out)

    def _is_new(self, out: Path) -> bool:
        return self._out in (out, out.parent) and out not in self._before

    def _remove_empty(self, path: Path) -> None:
        leaf = path
        while path not in self._before and (path == leaf or self._out.is_relative_to(path)):
            try:
                path.rmdir()
            except FileNotFoundError:
                pass  # taken away already
            except OSError:
                return
            path = path.parent

    @staticmethod
    def _raw(out: Path) -> Path:
        return out.with_name(out.name + RAW_SUFFIX)


def _resumable(out: Path) -> bool:
    return any(True for _ in out.rglob("*.ckpt")) or any(True for _ in out.rglob("model"))


def job_name(arguments: Sequence[str]) -> str:
    """What tells this job from the others of its sweep: its number and what it alone was given."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    hydra: Any = HydraConfig.get()
    own = [word for word in hydra.overrides.task if word not in arguments]
    number = OmegaConf.select(hydra, "job.num", default=0)
    return f"job {number} ({' '.join(own)})"
