"""CIDEr, METEOR 1.5, sacreBLEU and the tokeniser of the Penn Treebank: what captions are scored by.

CIDEr is worked out here and needs nothing. METEOR and the Treebank tokeniser are the Java programs
that pycocoevalcap brings, sacreBLEU is the package of that name; all are optional (the extra
``metrics``) and none downloads anything. Whatever cannot be run raises ``NotRunError`` with the
reason, which belongs where the figure would have stood.

METEOR and sacreBLEU come as counts a row: the corpus figure of any weighting of the rows is a
function of the weighted sums.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cascade.metrics.nlg import ORDERS, Tokenizer, bleu_of_counts, ngrams

SIGMA = 6.0
"""Width of CIDEr's penalty for another length, in pairs of words, as in pycocoevalcap."""
METEOR_SECONDS = 120.0
"""How long METEOR may take: six seconds of start, then two for each 600 pairs of texts."""
METEOR_STATISTICS = 23
PTB_PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-lrb-", "-rrb-", "-lcb-", "-rcb-", ".", "?", "!", ",", ":", "-"]
    + ["--", "...", ";"]
)
"""Tokens that captions are scored without, in pycocoevalcap as here.

pycocoevalcap writes the brackets in capitals although its tokeniser makes them small, so that it
keeps them; here they are dropped. Compare ``ptb_texts(..., brackets=True)``.
"""
_BRACKETS = frozenset(["-lrb-", "-rrb-", "-lcb-", "-rcb-"])
_EXTRA = "pip install 'cascade-cxr[metrics]'"
_MEGABYTES = 2048

_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_STAGES = np.array([1.0, 0.6, 0.8, 0.6])
"""METEOR 1.5's parameters for English: exact word, stem, synonym, paraphrase."""


class NotRunError(Exception):
    """A figure that cannot be worked out here; its message is the reason."""


Vector = tuple[dict[tuple[str, ...], float], np.ndarray, int]
"""Weights of a text's runs of words, their norm for each length, and the number of pairs."""


class Cider:
    """CIDEr of hypotheses against one reference a row.

    A run of one to four words weighs as often as it occurs times log(N / references that have it),
    so the weights come from the ``N`` references that are scored: the same text scores otherwise
    among other rows, and a single row scores 0. Words are not stemmed.

    Two definitions (Vedantam et al. 2015). ``clipped`` is what pycocoevalcap prints as CIDEr, and
    with it the papers: a run counts at most as often as in the reference, and another length
    is penalised by exp(-d^2 / 72), d the difference in pairs of words (which its authors call
    CIDEr-D). The plain one is the cosine alone. Both are the mean over the four lengths of runs,
    times 10.
    """

    def __init__(self, references: Sequence[str], tokenize: Tokenizer) -> None:
        """Count in how many references each run of words occurs."""
        self._tokenize = tokenize
        counts = [self._count(text) for text in references]
        self._held: Counter[tuple[str, ...]] = Counter()
        for row in counts:
            self._held.update(row.keys())
        self._log_rows = math.log(len(counts)) if counts else 0.0
        self._references = [self._vector(row) for row in counts]

    def _count(self, text: str) -> Counter[tuple[str, ...]]:
        words = self._tokenize(text)
        found: Counter[tuple[str, ...]] = Counter()
        for order in range(1, ORDERS + 1):
            found.update(ngrams(words, order))
        return found

    def _vector(self, counts: Counter[tuple[str, ...]]) -> Vector:
        vector: dict[tuple[str, ...], float] = {}
        squares = np.zeros(ORDERS)
        pairs = 0
        for gram, count in counts.items():
            weight = count * (self._log_rows - math.log(max(1, self._held[gram])))
            vector[gram] = weight
            squares[len(gram) - 1] += weight**2
            pairs += count if len(gram) == 2 else 0
        return vector, np.sqrt(squares), pairs

    def score(self, hypotheses: Sequence[str], *, clipped: bool = True) -> np.ndarray:
        """CIDEr of each row, ``(N,)`` in [0, 10]; the corpus figure is the mean.

        Raises:
            ValueError: more hypotheses than references, or fewer.
        """
        rows = len(self._references)
        if len(hypotheses) != rows:
            raise ValueError(f"{len(hypotheses)} hypotheses for {rows} references")
        return self._score(hypotheses, self._references, clipped)

    def score_pairs(
        self, hypotheses: Sequence[str], references: Sequence[str], *, clipped: bool = True
    ) -> np.ndarray:
        """CIDEr of each row against other references, ``(N,)`` in [0, 10].

        Words weigh as the references that were counted say: a single row does not score 0.

        Raises:
            ValueError: more hypotheses than references, or fewer.
        """
        if len(hypotheses) != len(references):
            raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
        vectors = {text: self._vector(self._count(text)) for text in set(references)}
        return self._score(hypotheses, [vectors[text] for text in references], clipped)

    def _score(
        self, hypotheses: Sequence[str], references: Sequence[Vector], clipped: bool
    ) -> np.ndarray:
        vectors = {text: self._vector(self._count(text)) for text in set(hypotheses)}
        scores = np.zeros(len(hypotheses))
        for row, (text, reference) in enumerate(zip(hypotheses, references, strict=True)):
            (said, said_norm, said_pairs), (meant, meant_norm, meant_pairs) = (
                vectors[text],
                reference,
            )
            products = np.zeros(ORDERS)
            for gram, weight in said.items():
                if other := meant.get(gram):
                    products[len(gram) - 1] += (min(weight, other) if clipped else weight) * other
            norms = said_norm * meant_norm
            cosine = np.divide(products, norms, out=np.zeros(ORDERS), where=norms > 0)
            distance = said_pairs - meant_pairs if clipped else 0
            scores[row] = 10 * cosine.mean() * math.exp(-(distance**2) / (2 * SIGMA**2))
        return scores


def meteor_statistics(
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenize: Tokenizer,
    seconds: float = METEOR_SECONDS,
) -> np.ndarray:
    """METEOR 1.5's statistics of each row, ``(N, 23)``: lengths, matches by stage, chunks.

    One process of Java scores all rows (equal pairs once) and is gone when this returns; it needs
    up to 2 GB of memory. The words go in as ``tokenize`` cuts them, joined by spaces, and METEOR's
    own ``-norm`` cuts what is left.

    Raises:
        NotRunError: no Java, no pycocoevalcap, a crash, an answer that is none, or time is up.
        ValueError: more hypotheses than references, or fewer.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    jar = _file_of("pycocoevalcap.meteor.meteor", "meteor-1.5.jar")
    lines = [
        f"SCORE ||| {_one_line(meant, tokenize)} ||| {_one_line(said, tokenize)}"
        for said, meant in zip(hypotheses, references, strict=True)
    ]
    different = list(dict.fromkeys(lines))
    options = ["-", "-", "-stdio", "-l", "en", "-norm"]
    answers = run_java(["-jar", jar.name, *options], different, seconds, jar.parent)
    try:
        found = np.array([[float(number) for number in line.split()] for line in answers])
        found = found.reshape(len(different), METEOR_STATISTICS)
    except ValueError as error:
        raise NotRunError("METEOR answered what are no statistics") from error
    place = {line: row for row, line in enumerate(different)}
    # Summed over rows, a text that equals its reference counts no chunk (as METEOR itself adds).
    same = (found[:, 20] == 1) & (found[:, 21] == found[:, 0]) & (found[:, 22] == found[:, 1])
    found[same, 20] = 0
    return found[[place[line] for line in lines]]


def _one_line(text: str, tokenize: Tokenizer) -> str:
    return " ".join(tokenize(text)).replace("|||", "")


def meteor_of_statistics(statistics: np.ndarray) -> np.ndarray:
    """METEOR 1.5 (English, its ranking parameters) of rows of statistics or of their sums.

    The corpus figure is that of the sums, not the mean of the rows' figures (Denkowski and Lavie
    2014; the same as METEOR's own answer, to rounding).

    Shape:
        - statistics: ``(..., 23)``; output: ``(...)`` in [0, 1]
    """
    found = np.asarray(statistics, dtype=float)
    said, meant, said_function, meant_function = np.moveaxis(found[..., :4], -1, 0)
    stages = found[..., 4:20].reshape(*found.shape[:-1], len(_STAGES), 4)
    matched = np.moveaxis(_STAGES @ stages, -1, 0)  # content and function words, of each text
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = (_DELTA * matched[0] + (1 - _DELTA) * matched[2]) / (
            _DELTA * (said - said_function) + (1 - _DELTA) * said_function
        )
        recall = (_DELTA * matched[1] + (1 - _DELTA) * matched[3]) / (
            _DELTA * (meant - meant_function) + (1 - _DELTA) * meant_function
        )
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        chunks, said_matches, meant_matches = np.moveaxis(found[..., 20:], -1, 0)
        parted = chunks / ((said_matches + meant_matches) / 2)
        score = mean * (1 - _GAMMA * parted**_BETA)
    return np.asarray(np.nan_to_num(score, nan=0.0))


@dataclasses.dataclass(frozen=True)
class SacreCounts:
    """What sacreBLEU counted of each row, on texts as written, case aside.

    Attributes:
        correct, guessed: ``(N, 4)``.
        hypothesis_length, reference_length: ``(N,)``.
        signature: sacreBLEU's own: tokeniser, case, smoothing, version.
    """

    correct: np.ndarray
    guessed: np.ndarray
    hypothesis_length: np.ndarray
    reference_length: np.ndarray
    signature: str

    def score(self, weights: np.ndarray) -> np.ndarray:
        """BLEU-4 under weights ``(R, N)``, ``(R,)`` in [0, 1] (sacreBLEU prints it times 100)."""
        correct, guessed = weights @ self.correct, weights @ self.guessed
        matched = correct.any(axis=-1) & guessed.all(axis=-1)
        halved = 2.0 ** np.cumsum(correct == 0, axis=-1)  # the "exp" smoothing
        smooth = np.where(correct > 0, correct, 1 / halved)
        lengths = weights @ self.hypothesis_length, weights @ self.reference_length
        return np.asarray(np.where(matched, bleu_of_counts(smooth, guessed, *lengths)[..., 3], 0.0))


def sacrebleu_counts(hypotheses: Sequence[str], references: Sequence[str]) -> SacreCounts:
    """Count with sacreBLEU: its tokeniser 13a, case aside, exponential smoothing.

    Raises:
        NotRunError: sacreBLEU is not installed.
        ValueError: more hypotheses than references, or fewer.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise NotRunError(f"sacrebleu is not installed ({_EXTRA})") from error
    corpus, sentence = BLEU(lowercase=True), BLEU(lowercase=True, effective_order=True)
    # Only the counts of each row are used, not its score, which is of an order of its own.
    rows = [
        sentence.sentence_score(_flat(said), [_flat(meant)])
        for said, meant in zip(hypotheses, references, strict=True)
    ]
    corpus.corpus_score([""], [[""]])  # there is no signature before a score
    return SacreCounts(
        np.array([row.counts for row in rows], dtype=float).reshape(-1, ORDERS),
        np.array([row.totals for row in rows], dtype=float).reshape(-1, ORDERS),
        np.array([row.sys_len for row in rows], dtype=float),
        np.array([row.ref_len for row in rows], dtype=float),
        str(corpus.get_signature()),
    )


def ptb_texts(texts: Sequence[str], seconds: float = 60.0, *, brackets: bool = False) -> list[str]:
    """Texts cut by Stanford's Penn Treebank tokeniser, small, joined by spaces.

    Punctuation is dropped, as pycocoevalcap does before it scores captions: the full stop is no
    word. ``isn't`` becomes ``is n't``, and a hyphen parts no word.

    Args:
        texts: as written; line breaks are spaces.
        seconds: how long it may take.
        brackets: keep them as ``-lrb-`` and ``-rrb-``, as pycocoevalcap does unawares.

    Raises:
        NotRunError: no Java, no pycocoevalcap, a crash, or time is up.
    """
    jar = _file_of("pycocoevalcap.tokenizer.ptbtokenizer", "stanford-corenlp-3.4.1.jar")
    program = "edu.stanford.nlp.process.PTBTokenizer"
    options = ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    # The program does not end its last line, so that an empty one could not be told from none.
    asked = [*map(_flat, texts), "end"]
    lines = run_java(["-cp", jar.name, program, *options], asked, seconds, jar.parent)[:-1]
    dropped = PTB_PUNCTUATION - _BRACKETS if brackets else PTB_PUNCTUATION
    return [" ".join(word for word in line.split() if word not in dropped) for line in lines]


def _flat(text: str) -> str:
    return " ".join(text.split())


def _file_of(module: str, name: str) -> Path:
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        raise NotRunError(f"pycocoevalcap is not installed ({_EXTRA})")
    path = Path(found.origin).with_name(name)
    if not path.is_file():
        raise NotRunError(f"pycocoevalcap's {name} is missing: install it again ({_EXTRA})")
    return path


def run_java(
    arguments: Sequence[str], lines: Sequence[str], seconds: float, folder: Path
) -> list[str]:
    """Give lines to a Java program that answers each with one line.

    The process is ended in any case, with all that it started.

    Raises:
        NotRunError: no Java, a crash, another number of answers, or time is up.
    """
    java = shutil.which("java")
    if java is None:
        raise NotRunError("Java is not installed (no java on PATH)")
    options = [f"-Xmx{_MEGABYTES}M", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8"]
    try:
        process = subprocess.Popen(
            [java, *options, *arguments],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise NotRunError(f"Java cannot be started: {error}") from error
    with process:
        try:
            answer, complaint = process.communicate(
                "".join(f"{line}\n" for line in lines), timeout=seconds
            )
        except subprocess.TimeoutExpired:
            raise NotRunError(f"Java took longer than {seconds:g} seconds") from None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
    said = [line.strip() for line in complaint.splitlines() if line.strip()]
    if process.returncode:
        reason = said[-1] if said else "no reason given"
        raise NotRunError(f"Java ended with status {process.returncode}: {reason}")
    answers = answer.split("\n")
    answers = answers[:-1] if answers[-1] == "" else answers
    if len(answers) != len(lines):
        raise NotRunError(f"Java answered {len(answers)} of {len(lines)} lines")
    return answers
