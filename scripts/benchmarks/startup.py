"""How long ``cascade --help`` takes beyond Python itself.

The two commands alternate, so that a machine that slows down slows both; medians are compared, and
one run of each beforehand fills the disk's cache.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from _report import machine, parser, report

COMMANDS = {
    "cascade": [str(Path(sys.executable).with_name("cascade")), "--help"],
    "python": [sys.executable, "-c", "pass"],
}


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=15, help="runs of each (15)")
    options = arguments.parse_args()
    if options.repeats < 1:
        arguments.error("--repeats must be 1 or more")
    for command in COMMANDS.values():
        seconds(command)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.repeats):
        for name, command in COMMANDS.items():
            times[name].append(1000 * seconds(command))
    median = {name: statistics.median(values) for name, values in times.items()}
    difference = median["cascade"] - median["python"]
    report(
        "startup",
        f"`cascade --help` {median['cascade']:.0f} ms, `python -c pass` {median['python']:.0f} ms, "
        f"difference {difference:.0f} ms (medians of {options.repeats}; "
        f"{machine()['cores']} cores of {machine()['cpu']})",
        {
            "cascade_ms": round(median["cascade"], 1),
            "python_ms": round(median["python"], 1),
            "difference_ms": round(difference, 1),
            "repeats": options.repeats,
        },
        options.out,
    )


if __name__ == "__main__":
    main()
