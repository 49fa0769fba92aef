"""Examples for the page: which rows are shown, their pictures, and their texts side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cascade.evaluation.breakdowns import NORMAL_COLUMNS
from cascade.evaluation.page_common import Look
from cascade.evaluation.page_marks import Piece, mark_report, mark_terms
from cascade.evaluation.scoring import Evaluation
from cascade.evaluation.systems import System
from cascade.labels import mesh
from cascade.metrics import clinical, nlg

EXAMPLES_EACH = 8
"""So many best, worst and random examples."""
IMAGE_SIDE = 192
HEAT_SIDE = 96
HEAT_COLOUR = (255, 150, 30)
HEAT_LEVELS = 48
MOST_OPAQUE = 190
MOST_LABELS = 5


def picture(pixels: np.ndarray | None) -> str | None:
    """A radiograph as a data URI: grey JPEG of at most ``IMAGE_SIDE`` pixels a side.

    Shape:
        - pixels: ``(H, W)`` in [0, 1]; None gives None
    """
    if pixels is None:
        return None
    image = Image.fromarray((_unit(pixels) * 255).round().astype(np.uint8))
    image.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def overlay(saliency: np.ndarray) -> str:
    """A map as a data URI: PNG of one colour, the more opaque the higher, to lie on the picture.

    Shape:
        - saliency: ``(H, W)`` in [0, 1]
    """
    image = Image.fromarray((_unit(saliency) * 255).round().astype(np.uint8))
    image.thumbnail((HEAT_SIDE, HEAT_SIDE), Image.Resampling.BILINEAR)
    values = np.asarray(image, dtype=np.float32) / 255
    levels = Image.fromarray((values * (HEAT_LEVELS - 1)).round().astype(np.uint8), mode="P")
    levels.putpalette(HEAT_COLOUR * HEAT_LEVELS)
    opacity = np.linspace(0, MOST_OPAQUE, HEAT_LEVELS).round().astype(np.uint8)
    buffer = io.BytesIO()
    levels.save(buffer, "PNG", optimize=True, transparency=opacity.tobytes())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _unit(values: np.ndarray) -> np.ndarray:
    return np.clip(np.nan_to_num(np.asarray(values, dtype=np.float32)), 0, 1)


class Chosen(NamedTuple):
    """A row to show: best, worst or random; counted from 0; its score, None without text."""

    kind: str
    row: int
    score: float | None = None


def choose_rows(evaluation: Evaluation, each: int = EXAMPLES_EACH) -> list[Chosen]:
    """Rows to show of the main system: ``best`` and ``worst`` by ROUGE-L, and ``random``.

    No row stands twice, and no two of the best (or worst) have the same reference; of equal scores
    the longer reference comes first, since it is the more telling. Without text all are random.
    """
    main, rows = evaluation.main, evaluation.rows
    shuffled = np.random.default_rng(int(evaluation.meta["seed"])).permutation(len(rows)).tolist()
    if main.hypotheses is None:
        return [Chosen("random", row) for row in shuffled[: 3 * each]]
    tokenize = nlg.TOKENIZERS[evaluation.meta["tokenizer"]]
    score = nlg.rouge_l(main.hypotheses, rows.references, tokenize)
    length = np.array([len(tokenize(text)) for text in rows.references])
    taken: set[int] = set()

    def pick(kind: str, order: np.ndarray) -> list[Chosen]:
        picked: list[Chosen] = []
        seen: set[str] = set()
        for row in order.tolist():
            text = rows.references[row]
            if row not in taken and text not in seen and len(picked) < each:
                picked.append(Chosen(kind, row, float(score[row])))
                seen.add(text)
        taken.update(one.row for one in picked)
        return picked

    chosen = pick("best", np.lexsort((-length, -score)))
    chosen += pick("worst", np.lexsort((-length, score)))
    left = [row for row in shuffled if row not in taken][:each]
    return chosen + [Chosen("random", row, float(score[row])) for row in left]


def section(look: Look, show_ids: bool) -> dict[str, Any]:
    """Best, worst and random rows of the main system, beside the best trivial writer.

    Returns:
        ``cards``; ``labels``: label -> in how many cards; which of pictures, maps and marks
        some card has.
    """
    evaluation = look.evaluation
    rival = look.best_trivial("rouge_l")
    writers = [s for s in look.own if s.hypotheses is not None] + ([rival] if rival else [])
    cards = [
        example(evaluation, chosen, writers, look.styles, show_ids)
        for chosen in choose_rows(evaluation)
    ]
    counts: dict[str, int] = {}
    for card in cards:
        for label in card["labels"]:
            counts[label] = counts.get(label, 0) + 1
    return {
        "cards": cards,
        "labels": dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))),
        "kinds": list(dict.fromkeys(card["kind"] for card in cards)),
        "heat": any(card["heat"] for card in cards),
        "writes": bool(writers),
    }


def example(
    evaluation: Evaluation,
    chosen: Chosen,
    writers: Sequence[System],
    styles: Mapping[str, str],
    show_ids: bool,
) -> dict[str, Any]:
    """What the template shows of one row.

    Args:
        evaluation: of ``evaluate``.
        chosen: which row and why; the page counts rows from 1, as a reader of ``reports.csv``
            would.
        writers: the systems whose texts are shown.
        styles: the class of each system, by name.
        show_ids: whether the study's id is shown.
    """
    rows, row = evaluation.rows, chosen.row
    annotated, main = evaluation.kind == "annotation", evaluation.main
    reference = rows.references[row]
    texts = []
    for system in writers:
        text = system.hypotheses[row] if system.hypotheses is not None else ""
        pieces = mark_terms(text, reference) if annotated else mark_report(text, reference)
        texts.append(
            {
                "name": system.name,
                "style": styles[system.name],
                "pieces": pieces,
                "empty": not text.strip(),
            }
        )
    said = main.hypotheses[row] if main.hypotheses is not None else ""
    if annotated:
        meant = [Piece(term) for term in mesh.annotation_terms(reference)]
    else:
        meant = mark_report(reference, said, "missed") if said else [Piece(reference)]
    tokenize = nlg.TOKENIZERS[evaluation.meta["tokenizer"]]
    return {
        "kind": chosen.kind,
        "row": row + 1,
        "score": chosen.score,
        "length": len(tokenize(reference)),
        "labels": labels_of(evaluation, row),
        "study": rows.study_ids[row] if show_ids else None,
        "image": picture(rows.image(row)) if rows.image is not None else None,
        "heat": _heat(evaluation, row),
        "reference": meant if reference.strip() else [],
        "texts": texts,
        "probabilities": label_probabilities(evaluation, row),
    }


def labels_of(evaluation: Evaluation, row: int) -> list[str]:
    """The labels that a row can be found by: of the reference, or of the main system's text."""
    rows, said = evaluation.rows, evaluation.main.hypotheses
    texts = [rows.references[row]] + ([said[row]] if said is not None else [])
    if not any(text.strip() for text in texts):
        if rows.truth is None:
            return []
        truth = rows.truth.iloc[row].to_numpy(dtype=float)
        return [name for name, value in zip(rows.labels, truth, strict=True) if value == 1]
    if evaluation.kind == "annotation":
        return list(dict.fromkeys(n for text in texts for n in mesh.annotation_diseases(text)))
    counts = clinical.count_labels(texts[-1:], texts[:1])
    either = (counts.reference[0] == 1) | (counts.hypothesis[0] == 1)
    return [name for name, there in zip(counts.names, either, strict=True) if there]


def _heat(evaluation: Evaluation, row: int) -> dict[str, Any] | None:
    """The overlay of the main system's most probable abnormal label."""
    rows = evaluation.rows
    scores = evaluation.main.scores(rows)
    if rows.saliency is None or rows.image is None or scores is None:
        return None
    abnormal = [at for at, name in enumerate(rows.labels) if name.lower() not in NORMAL_COLUMNS]
    if not abnormal:
        return None
    place = max(abnormal, key=lambda at: float(scores[row, at]))
    saliency = rows.saliency(row, rows.labels[place])
    if saliency is None:
        return None
    nowhere = not np.nan_to_num(np.asarray(saliency)).max() > 0
    return {
        "label": rows.labels[place],
        "value": float(scores[row, place]),
        "image": None if nowhere else overlay(saliency),
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
