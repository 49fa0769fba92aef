"""What is done to a report before a decoder learns it: chosen once, kept with the vocabulary."""

from __future__ import annotations

import dataclasses
from typing import Any

from cascade.text.marks import MARKS, SHOWN, apply_marks
from cascade.text.normalize import LIST_NUMBERS, normalize


@dataclasses.dataclass(frozen=True)
class Preparation:
    """From the report as written to the text that is learnt. References are never prepared.

    Attributes:
        normalise: ``normalize`` first.
        list_numbers: ``keep`` or ``drop``, with ``normalise``.
        marks: ``keep``, ``drop`` or ``predict``, see ``cascade.text.marks``.
        lowercase: small letters at last; a mark to predict stays ``XXXX``.

    >>> Preparation(normalise=True, marks="drop")("1) Chest x-XXXX .No effusion")
    '1. Chest. No effusion'
    >>> Preparation()("as  Written")
    'as  Written'
    """

    normalise: bool = False
    list_numbers: str = "keep"
    marks: str = "keep"
    lowercase: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown words.

        Raises:
            ValueError: one of them.
        """
        for name, choices in (("list_numbers", LIST_NUMBERS), ("marks", MARKS)):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"unknown {name} {value!r}, expected one of {list(choices)}")

    def __call__(self, text: str) -> str:
        """The text to learn; empty where nothing is left."""
        if self.normalise:
            text = normalize(text, self.list_numbers)
        text = apply_marks(text, self.marks)
        if self.normalise and self.marks != "keep":
            text = normalize(text, self.list_numbers)
        if self.lowercase:
            text = text.lower()
            if self.marks == "predict":
                text = text.replace(SHOWN.lower(), SHOWN)
        return text

    def to_json(self) -> dict[str, Any]:
        """What differs from the report as written."""
        plain = Preparation()
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if value != getattr(plain, name)}
