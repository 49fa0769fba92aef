"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real radiographs and reports; tests that need it are marked ``realdata``."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CASCADE_REAL_DATA") or beside)
    if not (folder / "README.md").is_file():
        pytest.skip(f"real data not found at {folder} (set CASCADE_REAL_DATA to its folder)")
    return folder
