"""docs/encoders.md holds the numbers of the encoders; run as a program, this writes them."""

from pathlib import Path

import torch

from cascade.models.encoders import ENCODERS, create_encoder

PAGE = Path(__file__).resolve().parents[2] / "docs" / "encoders.md"


def measured(name):
    """Parameters, channels, map and stages, as the page prints them."""
    with torch.device("meta"):
        encoder = create_encoder(name)
        maps = encoder(torch.zeros(1, 1, 224, 224))
    count = sum(parameter.numel() for parameter in encoder.parameters())
    shape = f"{maps.shape[2]} x {maps.shape[3]}"
    return [f"{count:,}", str(maps.shape[1]), shape, str(encoder.num_stages)]


def rows(text):
    """The table's rows by encoder: where each stands, and its cells."""
    found = {}
    for place, line in enumerate(text.splitlines()):
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(cells) == 6 and cells[0] in ENCODERS:
            found[cells[0]] = (place, cells)
    return found


def test_the_page_has_every_encoder_and_its_numbers():
    found = rows(PAGE.read_text(encoding="utf-8"))
    assert set(found) == set(ENCODERS) - {"timm"}
    wrong = {name: measured(name) for name, (_, c) in found.items() if c[1:5] != measured(name)}
    assert not wrong, f"run python {Path(__file__).name} to write them"


if __name__ == "__main__":
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for name, (place, cells) in rows("\n".join(lines)).items():
        lines[place] = "| " + " | ".join([name, *measured(name), cells[5]]) + " |"
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
