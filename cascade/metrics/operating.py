"""The operating points by name; ``classification.choose_threshold`` chooses their thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

TARGET = 0.95
OPERATING_POINTS: Mapping[str, str] = MappingProxyType(
    {
        "best F1": "the highest F1",
        "sensitivity 0.95": f"the fewest false alarms at a sensitivity of at least {TARGET}",
        "specificity 0.95": f"the most found at a specificity of at least {TARGET}",
    }
)
"""How a threshold may be chosen, and what it is the threshold of."""

OPERATING_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "best_f1": "best F1",
        "high_sensitivity": "sensitivity 0.95",
        "high_specificity": "specificity 0.95",
    }
)
"""The same by the names that settings and bundles give them."""

DEFAULT_POINT = "best_f1"
