"""A run's ``config.yaml``: written first, compared on every resume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cascade.errors import InputError
from cascade.io.files import write_text

FREE_KEYS = (
    "out",
    "debug",
    "rounds",
    "stop",
    "command",
    "evaluate",
    "logger",
    "callbacks",
    "find_lr",
) + (
    "download",
    "data.archives",
    "data.download_images",
    "data.obtain",
    "labels.workers",
)
"""Settings that may differ between a run and its resumption, with all that stands below them."""
NO_PART_OF_A_RUN = tuple(key for key in FREE_KEYS if key not in ("rounds", "stop"))
"""Those of them that do not make a run what it is: more rounds are another run beside fewer."""


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    if not isinstance(value, Mapping):
        return {prefix.rstrip("."): value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(flatten(item, f"{prefix}{key}."))
    return flat


def claim_run(directory: str | Path, settings: Mapping[str, Any]) -> None:
    """Write ``config.yaml``, or check that the one that lies there is the same.

    Raises:
        InputError: the directory holds a run of other settings; the first difference is named.
    """
    path = Path(directory) / "config.yaml"
    text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
    if path.is_file():
        try:
            before = flatten(yaml.safe_load(path.read_text(encoding="utf-8")))
        except yaml.YAMLError as error:
            raise InputError(f"{path} is not YAML: {error}") from error
        now = flatten(yaml.safe_load(text))
        for key in sorted({*before, *now}):
            if _is_free(key) or before.get(key) == now.get(key):
                continue
            raise InputError(
                f"{directory} holds a run with {key}={before.get(key)}, now it is {now.get(key)}: "
                "choose another out=, or delete that run"
            )
    write_text(path, text)


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE_KEYS)
