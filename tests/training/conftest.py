"""A collection so small that a training takes a second: a bright square on a dark image's side."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from cascade.data.cache import ImageCache
from cascade.data.datasets import StudyRecords
from cascade.labels.table import Label, LabelTable

CONF = Path(__file__).resolve().parents[2] / "conf"
TEXTS = ("normal", "opacity/left", "opacity/right")


@pytest.fixture
def settings():
    """Settings as `cascade train` would make them, small enough for a second on one core."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "train",
            [
                "collection=x",
                "label_table=x",
                "out=x",
                "seed=5",
                "trainer=cpu",
                "trainer.enable_progress_bar=false",
                "callbacks=none",
                "encoder.width=4",
                "decoder.embedding=8",
                "decoder.hidden=16",
                "classifier.epochs=2",
                "classifier.next_epochs=1",
                "classifier.batch_size=8",
                "generator.epochs=2",
                "generator.batch_size=8",
                "generator.copies=2",
                "generator.max_length=6",
            ],
        )
        return OmegaConf.to_container(config, resolve=True)


@pytest.fixture
def tiny():
    """24 training and 12 validation studies of 32 px: cache, train, val, table."""
    generator = np.random.default_rng(0)
    count = 36
    kinds = np.arange(count) % 3
    pixels = generator.integers(0, 60, (count, 32, 32), dtype=np.uint8)
    for row, kind in enumerate(kinds):
        if kind:
            left = 4 if kind == 1 else 20
            pixels[row, 12:20, left : left + 8] = 220
    ids = [f"s{row}" for row in range(count)]
    cache = ImageCache(pixels, {f"i{row}": row for row in range(count)}, {})
    values = pd.DataFrame({"normal": kinds == 0, "opacity": kinds > 0}, index=ids, dtype=np.float32)
    table = LabelTable(values, [Label("normal", "normal"), Label("opacity", "opacity")], False, {})

    def records(rows):
        return StudyRecords(
            [ids[row] for row in rows],
            [f"p{row}" for row in rows],
            [TEXTS[kinds[row]] for row in rows],
            [[row] for row in rows],
        )

    return SimpleNamespace(
        cache=cache, train=records(range(24)), val=records(range(24, 36)), table=table
    )
