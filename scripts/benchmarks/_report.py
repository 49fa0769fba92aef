"""What every benchmark shares: arguments, the machine's name, a line to read and one of JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any


def parser(description: str) -> argparse.ArgumentParser:
    """A parser that knows ``--out``."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--out", type=Path, help="add the line of JSON to this file")
    return result


def machine() -> dict[str, Any]:
    """Processor, cores that may be used, and versions: what a figure depends on."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        model = names[0] if names else model
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def report(name: str, sentence: str, figures: dict[str, Any], out: Path | None) -> None:
    """Print the sentence and the figures; add the latter to ``out``."""
    line = json.dumps({"benchmark": name, **figures, "machine": machine()})
    print(f"{name}: {sentence}")
    print(line, flush=True)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
