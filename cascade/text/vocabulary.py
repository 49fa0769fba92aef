"""The vocabulary: tokens of the training reports alone, and four ids that are never confused.

One contract over all tokenizers. A vocabulary knows how a report is prepared for it (normalised,
its marks of de-identification dropped or made one token, in small letters), so that ``encode``
takes reports as they are written, and ``vocabulary.json`` holds all of it as plain values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from cascade.errors import InputError
from cascade.text.marks import MARK_TOKEN, SHOWN
from cascade.text.preparation import Preparation
from cascade.text.subwords import DEFAULT_SIZE, SUBWORDS, load_subwords, train_subwords
from cascade.text.tokens import TOKENIZERS, Tokenizer, capitals, create_tokenizer

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")
TOKENIZER_NAMES = (*TOKENIZERS, *SUBWORDS)
_NEVER_WORDS = {*SPECIAL_TOKENS, MARK_TOKEN}


class Vocabulary:
    """Tokens and their ids; 0 to 3 are padding, begin, end and unknown.

    >>> vocabulary = Vocabulary.build(["normal", "opacity/left", "opacity/right"], "annotation")
    >>> vocabulary.tokens[4:]
    ['opacity', 'left', 'normal', 'right']
    >>> vocabulary.encode("opacity/left")
    [1, 4, 5, 2]
    >>> vocabulary.decode([1, 4, 5, 2, 0])
    'opacity/left'

    Attributes:
        tokens: in the order of their ids.
        ids: of the tokens.
        prepare: what is done to a report before it is tokenised.
        tokenizer: its name, ``split`` and ``join``.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        tokenizer: str,
        prepare: Preparation = Preparation(),  # noqa: B008 - it is frozen
        merges: Sequence[Sequence[str]] = (),
    ) -> None:
        """Wrap a full token list that begins with the four special tokens.

        Args:
            tokens: all of them.
            tokenizer: one of ``TOKENIZER_NAMES``.
            prepare: of the texts.
            merges: of ``bpe``.

        Raises:
            InputError: special tokens absent, a token twice, merges of other tokens.
            ValueError: unknown tokenizer.
        """
        special = special_tokens(prepare)
        if tuple(tokens[: len(special)]) != special:
            raise InputError(f"a vocabulary begins with {' '.join(special)}")
        self.tokens = list(tokens)
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            raise InputError("a token stands twice in the vocabulary")
        self.prepare = prepare
        self.merges = [list(merge) for merge in merges]
        if tokenizer in SUBWORDS:
            self.tokenizer = load_subwords(tokenizer, tokens, merges, prepare.lowercase)
        else:
            self.tokenizer = _word_tokenizer(tokenizer, prepare)

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        tokenizer: str,
        min_count: int = 1,
        size: int | None = None,
        prepare: Preparation = Preparation(),  # noqa: B008 - it is frozen
    ) -> Vocabulary:
        """Collect the tokens of training texts.

        Word tokens are ordered by falling count, ties by first letters, so that the same texts give
        the same ids in whatever order they come; so does the training of subwords.

        Args:
            texts: training reports as written, and no others.
            tokenizer: one of ``TOKENIZER_NAMES``.
            min_count: a word that occurs less often is unknown; for subwords, how often two pieces
                must meet to be joined.
            size: most ids, special ones included; None for all words, or ``DEFAULT_SIZE`` subwords.
            prepare: what is done to each text first.

        Raises:
            InputError: no token is left, or a size without room.
            ValueError: unknown tokenizer.
        """
        special = special_tokens(prepare)
        prepared = [text for text in map(prepare, texts) if text.strip()]
        if not prepared:
            raise InputError("no training text to build a vocabulary from: choose another target")
        if tokenizer in SUBWORDS:
            size = DEFAULT_SIZE if size is None else size
            tokens, merges = train_subwords(prepared, tokenizer, size, min_count, special)
            return cls(tokens, tokenizer, prepare, merges)
        split = _word_tokenizer(tokenizer, prepare).split
        counts = Counter(token for text in prepared for token in split(text))
        kept = [token for token, count in counts.items() if count >= min_count]
        kept = [token for token in kept if token not in _NEVER_WORDS]
        if not kept:
            raise InputError(
                f"no word occurs {min_count} times in the training texts: lower "
                "generator.min_count, or choose another target"
            )
        kept.sort(key=lambda token: (-counts[token], token))
        if size is not None:
            if size <= len(special):
                raise InputError(
                    f"generator.vocabulary_size={size} leaves no room for words: give more than "
                    f"{len(special)}, or null for all"
                )
            kept = kept[: size - len(special)]
        return cls([*special, *kept], tokenizer, prepare)

    def __len__(self) -> int:
        """Number of ids, the special ones included."""
        return len(self.tokens)

    def split(self, text: str) -> list[str]:
        """Tokens of a report as written, known or not."""
        return self.tokenizer.split(self.prepare(text))

    def encode(self, text: str, max_length: int | None = None) -> list[int]:
        """BOS, the text's ids, EOS; cut to ``max_length`` tokens of text where given."""
        tokens = self.split(text)[:max_length]
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

    def coverage(self, texts: Iterable[str]) -> float:
        """Share in [0, 1] of the texts' tokens that are known; 1 less the rate of unknown words.

        NaN for texts without a token.

        >>> Vocabulary.build(["no effusion"], "words").coverage(["No effusion, no mass"])
        0.6
        """
        counts = Counter(token for text in texts for token in self.split(text))
        known = sum(count for token, count in counts.items() if token in self.ids)
        return known / counts.total() if counts else float("nan")

    def to_json(self) -> dict[str, Any]:
        """The content of ``vocabulary.json``."""
        value: dict[str, Any] = {"tokenizer": self.tokenizer.name, "tokens": self.tokens}
        if self.merges:
            value["merges"] = self.merges
        prepare = self.prepare.to_json()
        return {**value, "prepare": prepare} if prepare else value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Vocabulary:
        """The inverse of ``to_json``; nothing is trained.

        Raises:
            InputError: tokens or merges that are none, or do not fit together.
            KeyError, TypeError, ValueError: another file's content.
        """
        if not isinstance(value, dict) or not isinstance(value["tokens"], list):
            raise TypeError("a vocabulary is a list of tokens and the name of their tokenizer")
        if not all(isinstance(token, str) for token in value["tokens"]):
            raise TypeError("the tokens of a vocabulary are texts")
        prepare = Preparation(**value.get("prepare", {}))
        return cls(value["tokens"], value["tokenizer"], prepare, value.get("merges", ()))


def special_tokens(prepare: Preparation) -> tuple[str, ...]:
    """The first tokens: the four, and ``<mark>`` where marks are to be predicted."""
    return (*SPECIAL_TOKENS, MARK_TOKEN) if prepare.marks == "predict" else SPECIAL_TOKENS


def _word_tokenizer(name: str, prepare: Preparation) -> Tokenizer:
    """A tokenizer by name; with marks to predict, ``XXXX`` becomes the one token for them.

    Joining gives texts that were made small their capitals back.

    Raises:
        ValueError: unknown name.
    """
    if name not in TOKENIZERS:
        raise ValueError(f"unknown tokenizer {name!r}, expected one of {list(TOKENIZER_NAMES)}")
    plain = create_tokenizer(name)
    if prepare.marks != "predict" and not prepare.lowercase:
        return plain
    marked = prepare.marks == "predict"

    def split(text: str) -> list[str]:
        tokens: list[str] = []
        for number, piece in enumerate(text.split(SHOWN) if marked else [text]):
            tokens += [MARK_TOKEN] * (number > 0)
            tokens += plain.split(piece)
        return tokens

    def join(tokens: Sequence[str]) -> str:
        text = plain.join([SHOWN if token == MARK_TOKEN else token for token in tokens])
        return capitals(text) if prepare.lowercase else text

    return Tokenizer(name, split, join)
