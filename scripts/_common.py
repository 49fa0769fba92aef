"""What several scripts need: the settings of a command, and figures over seeds in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cascade.cli.explain import conf_dir
from cascade.cli.support import OF_THE_SWEEP


def settings_of(command: str, *words: str) -> dict[str, Any]:
    """The settings of one job as ``cascade COMMAND WORDS`` composes them, plain."""
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        config = compose(command, overrides=list(words))
    found = OmegaConf.to_container(config, resolve=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items() if key not in OF_THE_SWEEP}


def mean_and_spread(values: Sequence[float]) -> str:
    """Their mean, and the standard deviation where there are several; nothing of none."""
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"
