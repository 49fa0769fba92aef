"""What ``cascade.metrics.hub`` runs in a process of its own: RadEval, cut off from the network.

It is started as a file, perhaps by the Python of another environment, and so imports nothing of
Cascade. JSON comes in on standard input, one line of JSON goes out; all else that is printed goes
to standard error.
"""

import importlib
import importlib.util
import json
import os
import sys
from typing import Any


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: whatever looks up a host or connects to one fails."""
    if event == "socket.getaddrinfo" or (
        event == "socket.connect" and isinstance(arguments[1], tuple)
    ):
        raise OSError("no network here: Cascade downloads nothing")


def flat_figures(found: Any, prefix: str = "") -> dict[str, float]:
    """The numbers of nested dictionaries, names joined by dots; lists and texts are left out.

    >>> flat_figures({"f1": {"micro": 1, "rows": [1, 2]}, "name": "x"})
    {'f1.micro': 1.0}
    """
    figures: dict[str, float] = {}
    for key, value in found.items():
        if isinstance(value, dict):
            figures |= flat_figures(value, f"{prefix}{key}.")
        elif not isinstance(value, str | bool) and hasattr(value, "__float__"):
            figures[f"{prefix}{key}"] = float(value)
    return figures


def score(metric: str, systems: dict[str, list[str]], references: list[str]) -> dict[str, Any]:
    """Figures of each system, by one load of the metric's nets."""
    if importlib.util.find_spec("radeval") is None:
        return {"missing": "RadEval"}
    radeval = importlib.import_module("radeval")
    # RadEval 2.2.1 was renamed to small letters, but its RadGraph imports itself by the old name.
    sys.modules.setdefault("RadEval", radeval)
    scorer = radeval.RadEval(metrics=[metric], show_progress=False)
    return {
        "figures": {
            name: flat_figures(scorer(refs=references, hyps=texts))
            for name, texts in systems.items()
        }
    }


def main() -> None:
    """Answer one question."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)
        sys.addaudithook(refuse_network)
        try:
            found = score(**json.load(sys.stdin))
        except ModuleNotFoundError as error:
            found = {"missing": error.name or str(error)}
        except (Exception, SystemExit) as error:
            found = {"failed": f"{type(error).__name__}: {error}"}
        answer.write(json.dumps(found))


if __name__ == "__main__":
    main()
