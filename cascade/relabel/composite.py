"""The next round's label table: each clustered disease becomes its contexts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cascade.errors import InputError
from cascade.labels.patterns import term_disease
from cascade.labels.table import NORMAL, Label, LabelTable
from cascade.models.decoders import Decoder
from cascade.relabel.cluster import Clusters, cluster_counts, find_clusters
from cascade.relabel.contexts import disease_texts, joint_contexts
from cascade.relabel.splits import Split
from cascade.relabel.stability import stability
from cascade.text.vocabulary import Vocabulary
from cascade.training.classifier import disease_truth


@dataclasses.dataclass(frozen=True)
class Refined:
    """The next round's labels and how they came about.

    Attributes:
        table: over the studies of the table before.
        splits: one a disease that has a context, normal left out, in the table's order.
    """

    table: LabelTable
    splits: list[Split]


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
    progress: Callable[[int, int], None] | None = None,
) -> Refined:
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
        options: ``rule`` and its settings (``cascade.relabel.cluster``); ``repeats`` of
            ``stability``; ``shuffle``: True deals the studies of a disease to clusters of the same
            sizes at random, the control that tells whether the contexts matter. ``keep_whole``: in
            a table of many labels a disease stays a label beside its contexts; otherwise, as in
            the paper, they replace it.
        seed: of the clustering and of the shuffling.
        progress: told how many diseases of how many are done.

    Returns:
        A table over the same studies, and the splits. A study that is absent from ``study_ids`` but
        carries a split disease becomes unknown for its contexts. A disease in which the rule finds
        one cluster stays whole.

    Raises:
        InputError: no training study carries a disease.
    """
    named = term_disease(table.rule)
    parts = [disease_texts(annotation, named) for annotation in annotations]
    diseases = [disease for disease in table.diseases if disease != NORMAL]
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
    splits: list[Split] = []
    whole = _by_disease(table)
    for done, disease in enumerate(table.diseases):
        values, rows = whole[disease], np.array(members.get(disease, []), dtype=int)
        texts = [parts[i][disease] for i in rows]
        training = is_train[rows]
        split = Split.whole(disease, rows, texts, training)
        if wanted.get(disease, 1) != 1:
            contexts = joint_contexts(decoder, vocabulary, features[rows], texts)
            split = _split(split, contexts, wanted[disease], options, seed)
        if cases.get(disease):
            splits.append(split)
        if split.k == 1 or (options.get("keep_whole") and not table.exclusive):
            said = "whole" if split.k == 1 else "whole, beside its contexts"
            labels.append(Label(disease, disease, said))
            columns[disease] = values
        for number in range(split.k if split.k > 1 else 0):
            name = f"{disease}#{number + 1}"
            labels.append(Label(name, disease, split.description(number)))
            columns[name] = _context_column(
                values, table.values.index, study_ids, rows, split.assigned == number
            )
        if progress is not None:
            progress(done + 1, len(table.diseases))
    frame = pd.DataFrame(columns, index=table.values.index, dtype=np.float32)
    rule: dict[str, Any] = {
        "name": "contexts",
        "from": table.rule.get("name", "labels"),
        "seed": seed,
        **{key: options[key] for key in options},
        # how terms were named, so that this table too can be relabelled
        **{key: table.rule[key] for key in ("disease", "classes") if key in table.rule},
    }
    return Refined(LabelTable(frame, labels, table.exclusive, rule), splits)


def _split(
    whole: Split, contexts: np.ndarray, wanted: int | None, options: Mapping[str, Any], seed: int
) -> Split:
    """Cluster a disease's contexts; only those of training studies shape the clusters."""
    training, shaping = whole.training, contexts[whole.training]
    found = find_clusters(shaping, wanted, options, seed)
    k = len(found.centres)
    if k == 1:
        return dataclasses.replace(whole, asked=wanted)
    assigned = found.assign(contexts)
    assigned[training] = found.members
    distance = ((contexts - found.centres[assigned]) ** 2).sum(axis=1)
    if options.get("shuffle"):
        generator = np.random.default_rng(seed)
        for part in (training, ~training):  # each apart: training sees the same sizes
            assigned[part] = generator.permutation(assigned[part])
    again = functools.partial(_again, k=k, options=options)
    repeats = int(options.get("repeats", 0))
    return dataclasses.replace(
        whole,
        asked=wanted,
        k=k,
        assigned=assigned,
        distance=distance,
        noise=found.noise,
        stability=stability(shaping, found, again, repeats, seed),
    )


def _again(contexts: np.ndarray, seed: int, k: int, options: Mapping[str, Any]) -> Clusters:
    """The same rule once more, into as many clusters."""
    return find_clusters(contexts, k, options, seed)


def _context_column(
    values: np.ndarray,
    index: pd.Index,
    study_ids: Sequence[str],
    rows: np.ndarray,
    belongs: np.ndarray,
) -> np.ndarray:
    """The disease's column; where it is present, whether the study's context is this one."""
    of_study = {study_ids[row]: float(own) for row, own in zip(rows, belongs, strict=True)}
    column = values.copy()
    present = values == 1
    column[present] = [of_study.get(study_id, np.nan) for study_id in index[present]]
    return column


def _by_disease(table: LabelTable) -> dict[str, np.ndarray]:
    """Each disease's values over all its labels: the whole, where it has one, and its contexts."""
    owners = [table.diseases.index(label.disease) for label in table.labels]
    values = torch.from_numpy(table.values.to_numpy(dtype=np.float32, copy=True))
    merged = disease_truth(values, owners, len(table.diseases)).numpy()
    return dict(zip(table.diseases, merged.T, strict=True))
