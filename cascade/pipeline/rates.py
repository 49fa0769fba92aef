"""``cascade train find_lr=true``: a range test of the learning rate, as a table and a picture."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from cascade.inference.bundle import read_bundle
from cascade.io.files import write_text
from cascade.labels.table import LabelTable
from cascade.pipeline.progress import progress_bar
from cascade.pipeline.stages import Context
from cascade.training.fit_classifier import classifier_task
from cascade.training.fit_generator import generator_task
from cascade.training.rates import RateTest, find_rate

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 60, 700, 40, 310
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#333}.grid{stroke:#ddd}"
    ".loss{fill:none;stroke:#1f5fa8;stroke-width:2}.now{stroke:#888;stroke-dasharray:4 4}"
    ".best{fill:#c0392b}"
)


def try_rates(
    context: Context, table: LabelTable, stage: str, out: Path, given: Path | None
) -> RateTest:
    """Test the rates of a stage; writes ``find_lr.csv`` and ``find_lr.svg``, trains nothing.

    Args:
        context: what the stage reads.
        table: its labels.
        stage: ``classifier`` or ``generator``.
        out: where the files go.
        given: the bundle that the stage starts from; that of the classifier, for a generator.
    """
    settings = context.settings
    train, val = context.records("train"), context.records("val")
    reader = read_bundle(given)[0] if given is not None else None
    if stage == "classifier":
        network = reader.classifier if reader is not None else None
        task = classifier_task(train, val, context.cache, table, settings, network)
    else:
        assert reader is not None
        with progress_bar("features") as update:
            task = generator_task(reader, train, val, context.cache, table, settings, update)
    found = find_rate(task, out, settings)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["lr", "loss"])
    writer.writerows(zip(found.rates, found.losses, strict=True))
    write_text(out / "find_lr.csv", buffer.getvalue())
    now = float(settings[stage]["optimizer"]["lr"])
    write_text(out / "find_lr.svg", draw(found, now, f"{stage}.optimizer.lr"))
    return found


def draw(found: RateTest, now: float, name: str) -> str:
    """The losses over the rates on a logarithmic axis, as an SVG file.

    Args:
        found: the test.
        now: the rate of the settings, a broken line where it is within the picture.
        name: of the setting.
    """
    points = [
        pair for pair in zip(found.rates, found.losses, strict=True) if math.isfinite(pair[1])
    ]
    low, high = (math.log10(f(rate for rate, _ in points)) for f in (min, max))
    least, most = (f(loss for _, loss in points) for f in (min, max))
    span, rise = max(high - low, 1e-9), max(most - least, 1e-9)

    def across(rate: float) -> float:
        return LEFT + (RIGHT - LEFT) * (math.log10(rate) - low) / span

    def up(loss: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (loss - least) / rise

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>Training loss over {name}</title><style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1):
        x = across(10.0**power)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}"/>'
            f'<text x="{x:.1f}" y="{BOTTOM + 18}" text-anchor="middle">1e{power}</text>'
        )
    for loss in (least, (least + most) / 2, most):
        y = up(loss)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{loss:.3g}</text>'
        )
    if low <= math.log10(now) <= high:
        x = across(now)
        parts.append(
            f'<line class="now" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}"/>'
            f'<text x="{x + 4:.1f}" y="{TOP + 12}">now {now:g}</text>'
        )
    line = " ".join(f"{across(rate):.1f},{up(loss):.1f}" for rate, loss in points)
    chosen = found.losses[found.rates.index(found.suggested)]
    parts += [
        f'<polyline class="loss" points="{line}"/>',
        f'<circle class="best" cx="{across(found.suggested):.1f}" cy="{up(chosen):.1f}" r="6"/>',
        f'<text x="{LEFT}" y="22">Training loss over {name}; suggested {found.suggested:.2g}, '
        "where it falls most steeply</text></svg>\n",
    ]
    return "".join(parts)
