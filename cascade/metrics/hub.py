"""CheXbert F1, RadGraph F1 and RadCliQ, where the user has the package RadEval and its weights.

RadEval runs in a process of its own, offline by force and under a time limit: a crash, a hang or
the memory of its nets costs that metric alone. It may live in another environment (``python``),
since what it asks for is at odds with what Cascade does. Nothing is ever downloaded: what is
missing is told in one line (``NotRunError``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cascade.errors import InputError
from cascade.metrics.caption import NotRunError

HUB_METRICS = {"chexbert": "CheXbert F1", "radgraph": "RadGraph F1", "radcliq": "RadCliQ"}
"""Values of ``evaluate.hub``, and what is measured."""

HUB_SECONDS = 600.0
"""How long a metric may take, its nets loaded once for all systems."""

_RADEVAL = {"chexbert": "f1chexbert", "radgraph": "radgraph", "radcliq": "radcliq"}
_SCORERS = "of StanfordAIMI/RRG_scorers in XDG_CACHE_HOME"
_CHEXBERT = f"bert-base-uncased in HF_HOME, chexbert.pth {_SCORERS}/chexbert"
_WEIGHTS = {
    "chexbert": _CHEXBERT,
    "radgraph": f"its BERT in HF_HOME, radgraph-xl.tar.gz {_SCORERS}/radgraph",
    "radcliq": f"{_CHEXBERT}, radgraph.tar.gz {_SCORERS}/radgraph, distilroberta-base in HF_HOME",
}
_OFFLINE = dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"), "1")
_PROGRAM = Path(__file__).with_name("hub_program.py")
_PATH = re.compile(r"(?<![:/\\\w.])(?:[A-Za-z]:)?[/\\](?:[^\s'\"<>/\\]+[/\\])+")


@dataclasses.dataclass(frozen=True)
class HubOptions:
    """Which of ``HUB_METRICS`` are run, and how.

    Attributes:
        names: none unless they are named.
        seconds: the limit of each.
        python: the Python that has RadEval; None for this one.
    """

    names: tuple[str, ...] = ()
    seconds: float = HUB_SECONDS
    python: str | None = None

    @classmethod
    def of_settings(cls, options: Mapping[str, Any]) -> HubOptions:
        """Of the settings within ``evaluate``."""
        names = tuple(dict.fromkeys(map(str, options["hub"])))
        return cls(names, float(options["hub_seconds"]), options["hub_python"])


def hub_scores(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[str],
    seconds: float = HUB_SECONDS,
    python: str | None = None,
) -> dict[str, float]:
    """The figures of one metric over all rows, as RadEval names them.

    Raises:
        InputError: a name that is none of ``HUB_METRICS``.
        NotRunError: no package, no weights, a crash, or time is up.
        ValueError: more hypotheses than references, or fewer.
    """
    return system_scores(name, {"": hypotheses}, references, seconds, python)[""]


def system_scores(
    name: str,
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str],
    seconds: float = HUB_SECONDS,
    python: str | None = None,
) -> dict[str, dict[str, float]]:
    """``hub_scores`` of several systems on the same rows, by one process.

    Args:
        name: of ``HUB_METRICS``.
        systems: system -> ``N`` hypotheses.
        references: ``N`` of them. Texts are handed on, ids are not.
        seconds: the limit of all systems together.
        python: the Python that has RadEval; None for this one.

    Raises:
        InputError: as ``hub_scores``.
        NotRunError: as ``hub_scores``.
        ValueError: as ``hub_scores``.
    """
    if name not in HUB_METRICS:
        raise InputError(f"evaluate.hub: unknown {name!r}, expected {', '.join(HUB_METRICS)}")
    for texts in systems.values():
        if len(texts) != len(references):
            raise ValueError(f"{len(texts)} hypotheses for {len(references)} references")
    asked = {
        "metric": _RADEVAL[name],
        "systems": {system: list(texts) for system, texts in systems.items()},
        "references": list(references),
    }
    answer = _answer(json.dumps(asked), seconds, python)
    if missing := answer.get("missing"):
        raise NotRunError(
            f"the package {_one_line(missing)} is not installed: pip install RadEval in an "
            "environment of its own, and evaluate.hub_python=the Python of that environment; "
            f"weights are expected as {_WEIGHTS[name]}"
        )
    if failed := answer.get("failed"):
        raise NotRunError(
            f"RadEval failed offline ({_one_line(failed)}); weights are expected as "
            f"{_WEIGHTS[name]}; Cascade downloads nothing"
        )
    figures: dict[str, dict[str, float]] = answer.get("figures", {})
    if figures.keys() != systems.keys() or not all(figures.values()):
        raise NotRunError("RadEval answered without figures")
    return figures


def _answer(asked: str, seconds: float, python: str | None) -> dict[str, Any]:
    # -P: the folder of the program, which holds modules of common names, is not searched.
    python = python or sys.executable
    if Path(python).name != python:  # the process starts in another folder; links of a venv stay
        python = os.path.abspath(Path(python).expanduser())
    command = [python, "-P", str(_PROGRAM)]
    with tempfile.TemporaryDirectory(prefix="cascade-hub-") as folder:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,  # what RadEval writes beside itself is gone with it
                env={**os.environ, **_OFFLINE},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise NotRunError(
                f"evaluate.hub_python cannot be started: {error.strerror or error}"
            ) from error
        with process:
            try:
                said, _ = process.communicate(asked, timeout=seconds)
            except subprocess.TimeoutExpired:
                raise NotRunError(
                    f"RadEval took longer than {seconds:g} seconds (evaluate.hub_seconds)"
                ) from None
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise NotRunError(f"RadEval's process ended with status {process.returncode}")
    try:
        answer = json.loads(said)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise NotRunError("RadEval's process ended without an answer")
    return answer


def _one_line(text: str) -> str:
    """The first line of a complaint, without the folders of this machine.

    >>> _one_line("OSError: no file /srv/cache/a.bin" + chr(10) + "Traceback")
    'OSError: no file .../a.bin'
    """
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    line = _PATH.sub(".../", line)
    return line if len(line) <= 160 else f"{line[:157]}..."


def hub_figures(
    options: HubOptions, systems: Mapping[str, Sequence[str]], references: Sequence[str], kind: str
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Every figure that was asked for, and why others are not there.

    Args:
        options: what is asked for.
        systems: system -> ``N`` hypotheses.
        references: ``N`` of them.
        kind: "report"; annotations are no text that these metrics can read.

    Returns:
        System -> ``hub.NAME.FIGURE`` -> value; name -> reason. What was not asked for is one line.

    Raises:
        InputError: a name that is none of ``HUB_METRICS``.
    """
    unknown = [name for name in options.names if name not in HUB_METRICS]
    if unknown:
        expected = ", ".join(HUB_METRICS)
        raise InputError(f"evaluate.hub: unknown {unknown[0]!r}, expected some of {expected}")
    figures: dict[str, dict[str, float]] = {system: {} for system in systems}
    not_run: dict[str, str] = {}
    for name in options.names:
        try:
            if kind != "report":
                raise NotRunError("reads free text: not run for annotations")
            found = system_scores(name, systems, references, options.seconds, options.python)
        except NotRunError as error:
            not_run[name] = str(error)
            continue
        for system, values in found.items():
            figures[system] |= {f"hub.{name}.{key}": value for key, value in values.items()}
    others = [name for name in HUB_METRICS if name not in options.names]
    if others and kind == "report":
        not_run[", ".join(HUB_METRICS[name] for name in others)] = (
            f"not asked for: evaluate.hub=[{','.join(others)}]; Cascade downloads nothing"
        )
    return figures, not_run
