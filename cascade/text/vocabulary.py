"""The vocabulary: tokens of the training reports alone, and four ids that are never confused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from cascade.errors import InputError
from cascade.text.normalize import create_tokenizer

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")


class Vocabulary:
    """Tokens and their ids; 0 to 3 are padding, begin, end and unknown.

    >>> vocabulary = Vocabulary.build(["normal", "opacity/left", "opacity/right"], "annotation")
    >>> vocabulary.tokens[4:]
    ['opacity', 'left', 'normal', 'right']
    >>> vocabulary.encode("opacity/left")
    [1, 4, 5, 2]
    >>> vocabulary.decode([1, 4, 5, 2, 0])
    'opacity/left'
    """

    def __init__(self, tokens: Sequence[str], tokenizer: str) -> None:
        """Wrap a full token list that begins with the four special tokens.

        Raises:
            InputError: special tokens absent, or a token twice.
        """
        if tuple(tokens[:4]) != SPECIAL_TOKENS:
            raise InputError(f"a vocabulary begins with {' '.join(SPECIAL_TOKENS)}")
        self.tokens = list(tokens)
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            raise InputError("a token stands twice in the vocabulary")
        self.tokenizer = create_tokenizer(tokenizer)

    @classmethod
    def build(cls, texts: Iterable[str], tokenizer: str, min_count: int = 1) -> Vocabulary:
        """Collect the tokens of training texts that occur at least ``min_count`` times.

        Ordered by falling count, ties by first letters, so that the same texts give the same ids.

        Raises:
            InputError: no token is left.
        """
        counts = Counter(
            token for text in texts for token in create_tokenizer(tokenizer).split(text)
        )
        kept = [token for token, count in counts.items() if count >= min_count]
        kept = [token for token in kept if token not in SPECIAL_TOKENS]
        if not kept:
            raise InputError("no training text to build a vocabulary from: choose another target")
        kept.sort(key=lambda token: (-counts[token], token))
        return cls([*SPECIAL_TOKENS, *kept], tokenizer)

    def __len__(self) -> int:
        """Number of ids, the special ones included."""
        return len(self.tokens)

    def encode(self, text: str, max_length: int | None = None) -> list[int]:
        """BOS, the text's ids, EOS; cut to ``max_length`` tokens of text where given."""
        tokens = self.tokenizer.split(text)[:max_length]
        return [BOS, *(self.ids.get(token, UNK) for token in tokens), EOS]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids up to the first EOS; special ids are passed over."""
        tokens = []
        for index in ids:
            if index == EOS:
                break
            if index not in (PAD, BOS, UNK):
                tokens.append(self.tokens[index])
        return self.tokenizer.join(tokens)

    def to_json(self) -> dict[str, Any]:
        """The content of ``vocabulary.json``."""
        return {"tokenizer": self.tokenizer.name, "tokens": self.tokens}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Vocabulary:
        """The inverse of ``to_json``."""
        return cls(value["tokens"], value["tokenizer"])
