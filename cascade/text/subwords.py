"""Subword tokenizers, BPE and WordPiece, trained on training reports by the ``tokenizers`` library.

Both work on the bytes of UTF-8, written as 256 visible letters as GPT-2 does (a space is ``Ġ``),
and all 256 are in the vocabulary: no text holds an unknown token, and the tokens of a text put
together are that text again, byte by byte. WordPiece marks pieces inside a word by ``‿`` instead of
``##``, which a report might hold itself.

Training is deterministic: the texts sorted, one thread, and the letters' ids fixed beforehand. What
was learnt is plain JSON (the tokens in order of their ids, for BPE also its merges) and is loaded
without training.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from cascade.errors import CascadeError, InputError
from cascade.text.marks import MARK_TOKEN, SHOWN, opened
from cascade.text.tokens import Tokenizer, capitals

SUBWORDS = ("bpe", "wordpiece")
INSIDE = "‿"
DEFAULT_SIZE = 2000
_LONGEST = 64  # letters of a word that are looked at together: WordPiece's time is quadratic
_MARK_PLACE = re.compile(rf" ?{SHOWN}")


def _library() -> ModuleType:
    try:
        import tokenizers
    except ImportError as error:
        raise CascadeError(
            "the subword tokenizers need the package tokenizers, which is not installed: "
            "pip install tokenizers, or take generator.tokenizer=words"
        ) from error
    return tokenizers


@functools.cache
def byte_letters() -> tuple[str, ...]:
    """The letter of each byte, as GPT-2 chose them: printable ones stand for themselves.

    >>> byte_letters()[ord("A")], byte_letters()[ord(" ")], len(set(byte_letters()))
    ('A', 'Ġ', 256)
    """
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = (chr(0x100 + place) for place in range(256))
    return tuple(chr(byte) if byte in shown else next(hidden) for byte in range(256))


@functools.cache
def _bytes_of() -> dict[str, int]:
    return {letter: byte for byte, letter in enumerate(byte_letters())}


def alphabet(kind: str) -> list[str]:
    """The tokens that every vocabulary of a kind holds."""
    letters = sorted(byte_letters())
    return letters + [INSIDE + letter for letter in letters] if kind == "wordpiece" else letters


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _pieces_of_text(library: ModuleType) -> Any:
    """Words with the space before them, as byte letters; a long one in parts."""
    pre = library.pre_tokenizers
    return pre.Sequence(
        [
            pre.ByteLevel(add_prefix_space=False),
            pre.Split(library.Regex(f".{{1,{_LONGEST}}}"), "isolated"),
        ]
    )


def train_subwords(
    texts: Iterable[str], kind: str, size: int, min_count: int, special: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Learn the tokens of prepared training texts.

    Args:
        texts: in any order.
        kind: ``bpe`` or ``wordpiece``.
        size: most ids, the special tokens and the alphabet included.
        min_count: two pieces are joined where they meet so many times.
        special: the first tokens.

    Returns:
        tokens in the order of their ids, and the merges of BPE.

    Raises:
        InputError: size below what the alphabet needs.
        CascadeError: the library is missing.
    """
    fixed = [*special, *alphabet(kind)]
    if size < len(fixed):
        raise InputError(
            f"generator.vocabulary_size={size} is too small for {kind}, whose letters alone are "
            f"{len(fixed)} tokens: give more, or null for {DEFAULT_SIZE}"
        )
    library = _library()
    # As "special" tokens the letters get the ids that they stand at, whatever the texts hold.
    options = {
        "vocab_size": size,
        "min_frequency": min_count,
        "special_tokens": fixed,
        "show_progress": False,
    }
    if kind == "bpe":
        model, trainer = library.models.BPE(), library.trainers.BpeTrainer(**options)
    else:
        model = library.models.WordPiece(unk_token=special[-1])
        trainer = library.trainers.WordPieceTrainer(continuing_subword_prefix=INSIDE, **options)
    learner = library.Tokenizer(model)
    learner.pre_tokenizer = _pieces_of_text(library)
    with _one_thread():
        learner.train_from_iterator(
            (piece for text in sorted(texts) for piece in _between_marks(text, special)), trainer
        )
    vocabulary = learner.get_vocab()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    return tokens, _merges(learner) if kind == "bpe" else []


def _merges(learner: Any) -> list[list[str]]:
    import json

    merges = json.loads(learner.to_str())["model"]["merges"]
    # The library wrote "a b" before 0.20 and pairs since.
    return [merge.split(" ") if isinstance(merge, str) else list(merge) for merge in merges]


def _between_marks(text: str, special: Sequence[str]) -> list[str]:
    """What is left to the subwords, every word with the space before it."""
    text = f" {text}"
    return _MARK_PLACE.split(text) if MARK_TOKEN in special else [text]


def load_subwords(
    kind: str, tokens: Sequence[str], merges: Sequence[Sequence[str]], lowercase: bool
) -> Tokenizer:
    """The tokenizer of trained tokens.

    Args:
        kind: ``bpe`` or ``wordpiece``.
        tokens: in the order of their ids; ``<mark>`` among them makes each ``XXXX`` that token.
        merges: of BPE.
        lowercase: the texts were made small: joining restores the sentences' capitals.

    Raises:
        InputError: letters are missing, or the merges do not fit the tokens.
        CascadeError: the library is missing.
    """
    missing = set(alphabet(kind)).difference(tokens)
    if missing:
        raise InputError(f"the {kind} vocabulary lacks letters such as {min(missing)!r}")
    library = _library()
    ids = {token: index for index, token in enumerate(tokens)}
    try:
        if kind == "bpe":
            model = library.models.BPE(vocab=ids, merges=[(left, right) for left, right in merges])
        else:
            model = library.models.WordPiece(
                vocab=ids,
                unk_token="<unk>",  # never used: every letter is known
                continuing_subword_prefix=INSIDE,
                max_input_chars_per_word=_LONGEST,
            )
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"the {kind} vocabulary does not fit together: {error}") from error
    engine = library.Tokenizer(model)
    engine.pre_tokenizer = _pieces_of_text(library)
    special = (MARK_TOKEN,) if MARK_TOKEN in ids else ()

    def split(text: str) -> list[str]:
        if not text:
            return []
        found: list[str] = []
        for number, piece in enumerate(_between_marks(text, special)):
            found += [MARK_TOKEN] * (number > 0)
            found += engine.encode(piece).tokens
        return found

    def join(pieces: Sequence[str]) -> str:
        joined = join_subwords(pieces)
        return capitals(joined) if lowercase else joined

    return Tokenizer(kind, split, join)


def join_subwords(tokens: Sequence[str]) -> str:
    """The text of byte-letter tokens; bytes that are no UTF-8, as a decoder may write, are dropped.

    >>> join_subwords(["No", "Ġeff", "‿usion", "<mark>", "."])
    'No effusion XXXX.'
    """
    code = _bytes_of()
    content = bytearray()
    for token in tokens:
        if token == MARK_TOKEN:
            content += f" {SHOWN}".encode()
        else:
            content += bytes(code[letter] for letter in token if letter in code)
    return opened(" ".join(content.decode("utf-8", errors="ignore").split()))
