"""A name for the rows that were scored, so that figures of other rows are not ranked together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence


def rows_sha256(study_ids: Sequence[str], references: Sequence[str]) -> str:
    """SHA-256 over study ids and references, whatever their order; white space counts once.

    >>> rows_sha256(["a", "b"], ["normal", "x  y"]) == rows_sha256(["b", "a"], ["x y", "normal"])
    True
    >>> rows_sha256(["a"], ["normal"]) == rows_sha256(["a"], ["opacity"])
    False
    """
    pairs = zip(map(str, study_ids), (" ".join(text.split()) for text in references), strict=True)
    return hashlib.sha256(json.dumps(sorted(pairs)).encode()).hexdigest()
