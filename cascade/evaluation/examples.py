"""Examples for the page: which rows are shown, and how a text stands beside its reference."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from cascade.evaluation.scoring import Evaluation
from cascade.evaluation.systems import System
from cascade.labels import mesh
from cascade.metrics import nlg

EXAMPLES_EACH = 4
"""So many best, worst and random examples."""
IMAGE_SIDE = 192
MOST_LABELS = 5


def picture(pixels: np.ndarray | None) -> str | None:
    """A radiograph as a data URI: 8-bit PNG of at most ``IMAGE_SIDE`` pixels a side.

    Shape:
        - pixels: ``(H, W)`` in [0, 1]; None gives None
    """
    if pixels is None:
        return None
    values = np.clip(np.nan_to_num(np.asarray(pixels, dtype=np.float32)), 0, 1) * 255
    image = Image.fromarray(values.round().astype(np.uint8))
    image.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@dataclasses.dataclass(frozen=True)
class Piece:
    """A term of an annotation and how it stands to the reference: agree, partly, contradict, ''."""

    text: str
    verdict: str = ""


def mark_terms(hypothesis: str, reference: str) -> list[Piece]:
    """Each term of the hypothesis beside the reference.

    ``agree``: the reference has the term; ``partly``: it names the disease, with other words about
    it; ``contradict``: it does not name the disease. Then, as ``missed``, each disease of the
    reference that the hypothesis does not name.

    >>> [piece.verdict for piece in mark_terms("nodule; opacity/left", "opacity/right; scoliosis")]
    ['contradict', 'partly', 'missed']
    """
    terms = set(mesh.annotation_terms(reference))
    diseases = set(mesh.annotation_diseases(reference))
    pieces = []
    for term in mesh.annotation_terms(hypothesis):
        if term in terms:
            verdict = "agree"
        else:
            verdict = "partly" if mesh.disease_of(term) in diseases else "contradict"
        pieces.append(Piece(term, verdict))
    named = set(mesh.annotation_diseases(hypothesis))
    missed = [name for name in mesh.annotation_diseases(reference) if name not in named]
    return pieces + [Piece(name, "missed") for name in missed]


def choose_rows(evaluation: Evaluation, each: int = EXAMPLES_EACH) -> dict[str, list[int]]:
    """Rows to show of the main system: ``best`` and ``worst`` by ROUGE-L, and ``random``.

    No row stands twice, and no two of the best (or worst) have the same reference; of equal scores
    the longer reference comes first, since it is the more telling. Without text all are random.
    """
    main, rows = evaluation.main, evaluation.rows
    shuffled = np.random.default_rng(int(evaluation.meta["seed"])).permutation(len(rows)).tolist()
    if main.hypotheses is None:
        return {"random": shuffled[: 3 * each]}
    tokenize = nlg.TOKENIZERS[evaluation.meta["tokenizer"]]
    score = nlg.rouge_l(main.hypotheses, rows.references, tokenize)
    length = np.array([len(tokenize(text)) for text in rows.references])
    taken: set[int] = set()

    def pick(order: np.ndarray) -> list[int]:
        picked: list[int] = []
        seen: set[str] = set()
        for row in order.tolist():
            text = rows.references[row]
            if row not in taken and text not in seen and len(picked) < each:
                picked.append(row)
                seen.add(text)
        taken.update(picked)
        return picked

    best = pick(np.lexsort((-length, -score)))
    worst = pick(np.lexsort((-length, score)))
    return {
        "best": best,
        "worst": worst,
        "random": [row for row in shuffled if row not in taken][:each],
    }


def example(
    evaluation: Evaluation,
    kind: str,
    row: int,
    writers: Sequence[System],
    styles: Mapping[str, str],
    show_ids: bool,
) -> dict[str, Any]:
    """What the template shows of one row.

    Args:
        evaluation: of ``evaluate``.
        kind: best, worst or random.
        row: counted from 0; the page counts from 1, as a reader of ``reports.csv`` would.
        writers: the systems whose texts are shown.
        styles: the class of each system, by name.
        show_ids: whether the study's id is shown.
    """
    rows, annotated = evaluation.rows, evaluation.kind == "annotation"
    reference = rows.references[row]
    texts = []
    for system in writers:
        text = system.hypotheses[row] if system.hypotheses is not None else ""
        plain = [Piece(text)] if text else []
        texts.append(
            {
                "name": system.name,
                "style": styles[system.name],
                "pieces": mark_terms(text, reference) if annotated else plain,
                "empty": not text.strip(),
            }
        )
    plain_reference = [reference] if reference else []
    return {
        "kind": kind,
        "row": row + 1,
        "study": rows.study_ids[row] if show_ids else None,
        "image": picture(rows.image(row)) if rows.image is not None else None,
        "reference": mesh.annotation_terms(reference) if annotated else plain_reference,
        "texts": texts,
        "probabilities": label_probabilities(evaluation, row),
    }


def label_probabilities(evaluation: Evaluation, row: int) -> list[dict[str, Any]]:
    """The main system's most probable labels of a row, and those that are true."""
    rows = evaluation.rows
    scores = evaluation.main.scores(rows)
    if scores is None or rows.truth is None:
        return []
    truth = rows.truth.iloc[row].to_numpy(dtype=float)
    order = np.argsort(-scores[row], kind="stable").tolist()
    return [
        {
            "label": rows.labels[place],
            "value": float(scores[row, place]),
            "true": bool(truth[place] == 1),
        }
        for rank, place in enumerate(order)
        if rank < MOST_LABELS or truth[place] == 1
    ]
