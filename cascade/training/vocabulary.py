"""The decoder's vocabulary from settings, and how much of the texts it holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from cascade.errors import InputError
from cascade.models.decoders.gpt2_folder import folder_vocabulary
from cascade.text.preparation import Preparation
from cascade.text.vocabulary import TOKENIZER_NAMES, Vocabulary

log = logging.getLogger(__name__)


def build_vocabulary(
    texts: Sequence[str], options: Mapping[str, Any], folder: str | None = None
) -> Vocabulary:
    """The vocabulary of training texts, under the settings of ``generator``.

    Args:
        texts: of the training studies, as written.
        options: ``target``, ``min_count``, and where given ``tokenizer``, ``vocabulary_size``,
            ``marks``, ``list_numbers`` and ``lowercase``.
        folder: ``decoder.folder``, whose tokenizer ``tokenizer=folder`` takes as it is.

    Raises:
        InputError: settings that do not fit together, no text, a size that is too small.
    """
    annotation = options["target"] == "annotation"
    name = options.get("tokenizer", "auto")
    if name == "auto":
        name = "annotation" if annotation else "words"
    elif name not in (*TOKENIZER_NAMES, "folder"):
        expected = ", ".join(("auto", *TOKENIZER_NAMES, "folder"))
        raise InputError(f"unknown generator.tokenizer={name}: expected one of {expected}")
    if (name == "annotation") != annotation:
        fitting = "annotation" if annotation else "words, cased, bpe or wordpiece"
        raise InputError(
            f"generator.tokenizer={name} does not fit generator.target={options['target']}: "
            f"take generator.tokenizer=auto, or {fitting}"
        )
    changed = {key: options.get(key) for key in ("marks", "list_numbers", "lowercase")}
    chosen = {key: value for key, value in changed.items() if value not in (None, "keep", False)}
    if annotation and chosen:
        key, value = next(iter(chosen.items()))
        raise InputError(
            f"generator.{key}={value} is for reports, an annotation has nothing of the kind: "
            "leave it, or choose generator.target=impression or findings"
        )
    size = options.get("vocabulary_size")
    try:
        prepare = Preparation(normalise=not annotation, **chosen)
    except ValueError as error:
        raise InputError(f"generator: {error}") from error
    if name == "folder":
        if folder is None:
            raise InputError(
                "generator.tokenizer=folder is the tokenizer of decoder.folder: give decoder=gpt2 "
                "decoder.folder=PATH"
            )
        try:
            return folder_vocabulary(folder, prepare)
        except ValueError as error:
            raise InputError(str(error)) from error
    return Vocabulary.build(
        texts, name, int(options["min_count"]), None if size is None else int(size), prepare
    )


def log_coverage(
    vocabulary: Vocabulary, train: Sequence[str], val: Sequence[str], max_length: int
) -> None:
    """Say how many words of the validation texts are unknown and how many targets are cut."""
    unknown = 1.0 - vocabulary.coverage(val)
    long = sum(len(vocabulary.split(text)) > max_length for text in train)
    log.info(
        "%d tokens (%s); unknown in validation: %.2f%%",
        len(vocabulary),
        vocabulary.tokenizer.name,
        100 * unknown,
    )
    if long:
        log.warning(
            "%d of %d training texts are longer than generator.max_length=%d tokens and are "
            "learnt cut: the decoder cannot write more either",
            long,
            len(train),
            max_length,
        )
