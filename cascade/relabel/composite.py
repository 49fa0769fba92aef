"""The next round's label table: each clustered disease becomes its contexts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cascade.errors import InputError
from cascade.labels.patterns import term_disease
from cascade.labels.table import NORMAL, Label, LabelTable
from cascade.models.decoders import Decoder
from cascade.relabel.cluster import cluster, cluster_counts
from cascade.relabel.contexts import disease_texts, joint_contexts
from cascade.text.vocabulary import Vocabulary
from cascade.training.classifier import disease_truth


def describe(texts: Sequence[str], words: int = 4) -> str:
    """The commonest pieces of a context's texts, with the share that has each.

    >>> describe(["opacity/lung/left", "opacity/lung/left", "opacity/lung/right"], 2)
    'left 67%, right 33%'
    """
    pieces = [{piece.strip() for piece in re.split("[;/]", text)} - {""} for text in texts]
    counts = Counter(piece for group in pieces for piece in group)
    common = {piece for piece, count in counts.items() if count == len(texts)}
    telling = [
        (p, c) for p, c in sorted(counts.items(), key=lambda x: (-x[1], x[0])) if p not in common
    ]
    shown = telling[:words] or [(piece, len(texts)) for piece in sorted(common)]
    return ", ".join(f"{piece} {100 * count / len(texts):.0f}%" for piece, count in shown)


def relabel(
    table: LabelTable,
    decoder: Decoder,
    vocabulary: Vocabulary,
    study_ids: Sequence[str],
    features: Tensor,
    annotations: Sequence[str],
    is_train: np.ndarray,
    options: Mapping[str, Any],
    seed: int,
) -> LabelTable:
    """Cluster the joint contexts of each disease and write the refined labels.

    Only training studies shape clusters; the others are assigned to the nearest centre, which needs
    their true annotation and serves to follow training, never to train or to score.

    Args:
        table: labels of this round; its diseases are split anew from whole.
        decoder: of this round, in evaluation mode.
        vocabulary: of the decoder.
        study_ids: N studies with image and annotation.
        features: ``(N, ...)`` of this round's encoder, as the decoder takes them.
        annotations: N true annotation texts.
        is_train: ``(N,)`` bool.
        options: ``rule``, ``min_cases``, ``cases_per_cluster``, ``min_cluster``, and ``shuffle``:
            True deals the studies of a disease to clusters of the same sizes at random, the control
            that tells whether the contexts matter. ``keep_whole``: in a table of many labels a
            disease stays a label beside its contexts; otherwise, as in the paper, they replace it.
        seed: of k-means and of the shuffling.

    Returns:
        A table over the same studies; a study that is absent from ``study_ids`` but carries a split
        disease becomes unknown for its contexts.

    Raises:
        InputError: no training study carries a disease.
    """
    named = term_disease(table.rule)
    parts = [disease_texts(annotation, named) for annotation in annotations]
    diseases = [disease for disease in table.diseases if disease != NORMAL]
    position = {study_id: index for index, study_id in enumerate(study_ids)}
    members = {d: [i for i, texts in enumerate(parts) if d in texts] for d in diseases}
    cases = {d: int(is_train[rows].sum()) if rows else 0 for d, rows in members.items()}
    if not any(cases.values()):
        raise InputError(
            "no training study with an annotation carries a disease: nothing to relabel"
        )
    try:
        wanted = cluster_counts(
            cases, options["rule"], int(options["min_cases"]), int(options["cases_per_cluster"])
        )
    except ValueError as error:
        raise InputError(str(error)) from error

    labels: list[Label] = []
    columns: dict[str, np.ndarray] = {}
    whole = _by_disease(table)
    for disease in table.diseases:
        values = whole[disease]
        rows = members.get(disease, [])
        if wanted.get(disease, 1) < 2:
            labels.append(Label(disease, disease, "whole"))
            columns[disease] = values
            continue
        texts = [parts[i][disease] for i in rows]
        contexts = joint_contexts(decoder, vocabulary, features[rows], texts)
        training = is_train[rows]
        found = cluster(contexts[training], wanted[disease], int(options["min_cluster"]), seed)
        assigned = found.assign(contexts)
        if options.get("shuffle"):
            generator = np.random.default_rng(seed)
            for part in (training, ~training):  # each apart: training sees the same sizes
                assigned[part] = generator.permutation(assigned[part])
        cluster_of = np.full(len(study_ids), -1)
        cluster_of[rows] = assigned
        of_study = np.array(
            [cluster_of[position[s]] if s in position else -1 for s in table.values.index]
        )
        if options.get("keep_whole") and not table.exclusive:
            labels.append(Label(disease, disease, "whole, beside its contexts"))
            columns[disease] = values
        for number in range(len(found.centres)):
            name = f"{disease}#{number + 1}"
            own = [
                t
                for t, c, is_tr in zip(texts, assigned, training, strict=True)
                if c == number and is_tr
            ]
            labels.append(Label(name, disease, describe(own) if own else "no training study"))
            column = values.copy()
            present = values == 1
            column[present] = np.where(of_study[present] == number, 1.0, 0.0)
            column[present & (of_study < 0)] = np.nan
            columns[name] = column
    frame = pd.DataFrame(columns, index=table.values.index, dtype=np.float32)
    rule: dict[str, Any] = {
        "name": "contexts",
        "from": table.rule.get("name", "labels"),
        "seed": seed,
        **{key: options[key] for key in options},
        # how terms were named, so that this table too can be relabelled
        **{key: table.rule[key] for key in ("disease", "classes") if key in table.rule},
    }
    return LabelTable(frame, labels, table.exclusive, rule)


def _by_disease(table: LabelTable) -> dict[str, np.ndarray]:
    """Each disease's values over all its labels: the whole, where it has one, and its contexts."""
    owners = [table.diseases.index(label.disease) for label in table.labels]
    values = torch.from_numpy(table.values.to_numpy(dtype=np.float32, copy=True))
    merged = disease_truth(values, owners, len(table.diseases)).numpy()
    return dict(zip(table.diseases, merged.T, strict=True))
