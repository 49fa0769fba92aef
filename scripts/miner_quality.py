"""How well the miner agrees with labels by hand, and how much of that is choice.

Reads the Open-i archive and its 14 labels by hand (NegBio's authors derived them from the MeSH
coding), prints the tables of docs/miner.md, and with ``--write`` puts them there. ``--sample FILE``
draws the disagreements that are to be sorted by hand into docs/miner-verdicts.csv.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cascade.evaluation.agreement import (
    Agreement,
    agreement,
    align,
    disagreements,
    read_hand_labels,
)
from cascade.io.collection import Collection
from cascade.io.openi import read_openi
from cascade.labels.label_sets import LABEL_SETS, LEANING, NORMAL
from cascade.labels.lexicon import load_lexicon
from cascade.labels.mesh import diseases_of, paper_disease_of
from cascade.labels.miner import SECTIONS, Mention, mine_sections
from cascade.labels.table import LabelTable
from cascade.labels.text_labels import mine_text_labels
from cascade.pipeline.collecting import current_commit
from cascade.pipeline.mining import words_alone

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "miner.md"
VERDICTS = ROOT / "docs" / "miner-verdicts.csv"
MARKS = ("<!-- written by scripts/miner_quality -->", "<!-- end of what it writes -->")
FOLDS, SEED, SAMPLED = 5, 0, 120
LABEL_SET = LABEL_SETS["chestxray14"]

DOUBTS = (
    "alternative",
    "likely",
    "probable",
    "probable finding",
    "borderline",
    "suggests",
    "may",
    "possible",
    "is possible",
    "cannot exclude",
    "less likely",
    "unlikely",
    "worded",
)
"""Rules whose doubt may be counted as presence, or not."""
WIDER = {
    "Nodule": ("nodular_opacity", "calcified_granuloma"),
    "Mass": ("nodule",),
    "Pneumonia": ("infection",),
    "Effusion": ("costophrenic_blunting", "pericardial_effusion"),
    "Emphysema": ("copd", "hyperdistention", "bulla"),
    "Edema": ("congestion",),
    "Infiltration": ("lung_opacity",),
    "Consolidation": ("lung_opacity",),
    "Atelectasis": ("volume_loss",),
    "Fibrosis": ("cicatrix", "interstitial_markings"),
    "Pleural Thickening": ("pleural_plaque", "bronchial"),
    "Cardiomegaly": ("enlarged_cardiomediastinum",),
}
"""Findings that a label might take besides its own."""
NEGEX_TERMS = {
    "Atelectasis": ("atelectasis", "atelectatic"),
    "Cardiomegaly": ("cardiomegaly", "cardiac enlargement", "enlarged heart"),
    "Effusion": ("effusion", "effusions"),
    "Infiltration": ("infiltrate", "infiltrates", "infiltration"),
    "Mass": ("mass", "masses"),
    "Nodule": ("nodule", "nodules"),
    "Pneumonia": ("pneumonia",),
    "Pneumothorax": ("pneumothorax", "pneumothoraces"),
    "Consolidation": ("consolidation", "consolidations"),
    "Edema": ("edema",),
    "Emphysema": ("emphysema", "emphysematous"),
    "Fibrosis": ("fibrosis", "fibrotic"),
    "Pleural Thickening": ("pleural thickening",),
    "Hernia": ("hernia",),
}
"""The terms of ``benchmarks/_negex.py`` that stand for a label."""
LENIENT = ("degenerative", "surgical_instruments", "scoliosis", "support_devices", "technical")
"""Findings that a normal report might have."""


class Choices:
    """The reports as arrays, so that a choice of rules is scored in milliseconds."""

    def __init__(
        self,
        mentions: Sequence[Sequence[Mention]],
        sections: Sequence[dict[str, str | None]],
        hand: pd.DataFrame,
    ) -> None:
        """Sort each report's mentions by finding and doubt."""
        self.findings = sorted(load_lexicon().findings)
        place = {name: n for n, name in enumerate(self.findings)}
        rule = {name: n for n, name in enumerate(DOUBTS)}
        self.present = np.zeros((len(mentions), len(place)), dtype=bool)
        self.doubt = np.zeros((len(mentions), len(place), len(rule)), dtype=bool)
        self.labels = list(hand.columns)
        self.truth = hand.to_numpy() == 1
        self.text = np.array([any(each.values()) for each in sections])
        for row, each in enumerate(mentions):
            for mention in each:
                column = place[mention.finding]
                if mention.status == "present":
                    self.present[row, column] = True
                elif mention.status == "uncertain":
                    self.doubt[row, column, rule[mention.rule]] = True
        self.remarks = load_lexicon().remarks

    def predict(self, chosen: frozenset[tuple[str, str]]) -> np.ndarray:
        """Labels under the chosen switches, ``(N, K)`` bool."""
        counted = np.array([("doubt", name) in chosen for name in DOUBTS])
        found = self.present | (self.doubt & counted).any(axis=2)
        open_doubt = (self.doubt & ~counted & np.array([n != "worded" for n in DOUBTS])).any(axis=2)
        says = np.zeros_like(self.truth)
        for column, label in enumerate(self.labels):
            if label == NORMAL:
                ignored = self.remarks | {name for kind, name in chosen if kind == "normal"}
                against = np.array([name not in ignored for name in self.findings])
                says[:, column] = ~((found | open_doubt) & against).any(axis=1) & self.text
                continue
            names = [*LABEL_SET.labels[label]]
            names += [name for kind, name in chosen if kind == label]
            says[:, column] = found[:, [self.findings.index(name) for name in names]].any(axis=1)
        return says

    def micro(self, chosen: frozenset[tuple[str, str]], rows: np.ndarray) -> float:
        """Micro F1 on some rows."""
        says, truth = self.predict(chosen)[rows], self.truth[rows]
        both = (says & truth).sum()
        return float(2 * both / (says.sum() + truth.sum()))


def switches() -> list[tuple[str, str]]:
    """Everything that may be chosen."""
    wider = [(label, name) for label, names in WIDER.items() for name in names]
    return [("doubt", name) for name in DOUBTS] + wider + [("normal", name) for name in LENIENT]


def shipped() -> frozenset[tuple[str, str]]:
    """The switches as the program has them."""
    return frozenset(("doubt", name) for name in LEANING)


def select(choices: Choices, rows: np.ndarray) -> frozenset[tuple[str, str]]:
    """Forward selection by micro F1 on some rows, as long as a switch gains 0.0005."""
    chosen: frozenset[tuple[str, str]] = frozenset()
    best = choices.micro(chosen, rows)
    while True:
        tries = {s: choices.micro(chosen | {s}, rows) for s in switches() if s not in chosen}
        switch = max(tries, key=lambda s: tries[s])
        if tries[switch] < best + 0.0005:
            return chosen
        chosen, best = chosen | {switch}, tries[switch]


def cross_validate(choices: Choices) -> tuple[pd.DataFrame, Counter[tuple[str, str]]]:
    """Micro F1 of each held-out fold under the shipped and under the selected switches."""
    order = np.random.default_rng(SEED).permutation(len(choices.truth))
    rows, picked = [], Counter[tuple[str, str]]()
    nothing: frozenset[tuple[str, str]] = frozenset()
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        train = np.setdiff1d(order, held)
        chosen = select(choices, train)
        picked.update(chosen)
        rows.append(
            {
                "fold": fold + 1,
                "reports": len(held),
                "no doubt counts": choices.micro(nothing, held),
                "as shipped": choices.micro(shipped(), held),
                "selected on the other folds": choices.micro(chosen, held),
            }
        )
    return pd.DataFrame(rows).set_index("fold"), picked


def negex(texts: Sequence[str], like: pd.DataFrame) -> pd.DataFrame | None:
    """What NegEx (negspacy) says, where ``scripts/bench labels`` has installed it; else nothing.

    A label is present where one of its terms stands undenied, a report normal where no term does.
    """
    python = ROOT / ".venv-bench" / "bin" / "python"
    if not python.is_file():
        return None
    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder, "texts.json"), Path(folder, "terms.json")
        given.write_text(json.dumps(list(texts)), encoding="utf-8")
        program = ROOT / "scripts" / "benchmarks" / "_negex.py"
        subprocess.run([python, program, given, taken], check=True, stdout=subprocess.DEVNULL)
        said = json.loads(taken.read_text(encoding="utf-8"))
    rows = [
        [
            not terms if label == NORMAL else any(term in terms for term in NEGEX_TERMS[label])
            for label in like.columns
        ]
        for terms in said
    ]
    return pd.DataFrame(rows, index=like.index, columns=like.columns)


def system_rows(systems: Sequence[Agreement]) -> list[str]:
    names = ("micro precision", "micro recall", "micro f1", "macro f1", "micro f1, findings")
    lines = [
        "| system | micro P | micro R | micro F1 | macro F1 | micro F1 of the findings alone |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for system in systems:
        cells = [
            f"{f.value:.3f} ({f.low:.3f}–{f.high:.3f})"
            for f in (system.figures[name] for name in names)
        ]
        lines.append(f"| {system.name} | {' | '.join(cells)} |")
    return lines


def label_rows(system: Agreement) -> list[str]:
    lines = [
        "| label | by hand | mined | both | extra | missed | P | R | F1 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, row in system.rows.iterrows():
        counts = [str(int(row[key])) for key in ("cases", "found", "tp", "fp", "fn")]
        scores = [
            "–" if np.isnan(row[key]) else f"{row[key]:.3f}"
            for key in ("precision", "recall", "f1")
        ]
        lines.append(f"| {label} | {' | '.join(counts + scores)} |")
    return lines


def fold_rows(folds: pd.DataFrame, picked: Counter[tuple[str, str]]) -> list[str]:
    lines = [
        "| fold | " + " | ".join(folds.columns) + " |",
        "| --- |" + " ---: |" * len(folds.columns),
    ]
    lines += [
        f"| {fold} | {int(row['reports'])} | "
        + " | ".join(f"{row[name]:.3f}" for name in folds.columns[1:])
        + " |"
        for fold, row in folds.iterrows()
    ]
    means = [f"{folds[name].mean():.3f} ± {folds[name].std():.3f}" for name in folds.columns[1:]]
    lines += [f"| mean ± s.d. | | {' | '.join(means)} |", ""]
    told = ", ".join(
        f"{kind if kind != 'doubt' else 'doubt of rule'} {name} ({count})"
        for (kind, name), count in picked.most_common()
    )
    return [*lines, f"Switches selected, and in how many of {FOLDS} folds: {told}."]


def draw(differing: pd.DataFrame) -> pd.DataFrame:
    """The sample to be sorted: the same at every call for the same disagreements."""
    ordered = differing.sort_values(["study_id", "label"]).reset_index(drop=True)
    chosen = np.random.default_rng(SEED).choice(len(ordered), SAMPLED, replace=False)
    return ordered.iloc[np.sort(chosen)]


def verdict_rows(differing: pd.DataFrame) -> list[str]:
    verdicts = pd.read_csv(VERDICTS, keep_default_na=False)
    still = differing.merge(verdicts, on=["study_id", "label", "kind"])
    names = {
        "ours": "our error",
        "gold": "the gold is silent, or codes otherwise",
        "ambiguous": "truly ambiguous",
    }
    lines = ["| verdict | extra | missed | all | share |", "| --- | ---: | ---: | ---: | ---: |"]
    for key, name in names.items():
        some = verdicts[verdicts["verdict"] == key]
        extra, missed = ((some["kind"] == kind).sum() for kind in ("extra", "missed"))
        share = len(some) / len(verdicts)
        lines.append(f"| {name} | {extra} | {missed} | {len(some)} | {share:.0%} |")
    lines += ["", f"{len(verdicts)} disagreements sorted; {len(still)} of them are still there."]
    return lines


def paper_rows(collection: Collection, like: pd.DataFrame) -> list[str]:
    """The paper's 17 labels from the words against those same terms in the coding."""
    table = mine_text_labels(collection, label_set="paper17")
    meshes = collection.studies.set_index("study_id")["mesh"].loc[like.index]
    meshes = meshes[meshes.map(bool)]
    coded = [set(diseases_of(mesh, paper_disease_of)) for mesh in meshes]
    hand = pd.DataFrame(
        {
            label: [float(each == {NORMAL} if label == NORMAL else label in each) for each in coded]
            for label in table.names
        },
        index=meshes.index,
    )
    system = agreement("miner", table.values.loc[meshes.index] == 1, hand, list(meshes.index))
    return [*system_rows([system]), "", *label_rows(system)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="the collection's folder")
    parser.add_argument("--write", action="store_true", help="into docs/miner.md")
    parser.add_argument("--sample", type=Path, help="write the sample to be sorted here (ids only)")
    options = parser.parse_args()
    real = Path(os.environ.get("CASCADE_REAL_DATA") or ROOT.parent / "shared" / "data")
    folder = options.folder or real / "openi"
    collection = read_openi(folder)
    table = mine_text_labels(collection)
    found, hand = align(table, read_hand_labels(folder / "gold_labels14_dev.csv"))
    studies = collection.studies.set_index("study_id").loc[found.index]
    sections = [
        {name: row[name] for name in SECTIONS} for row in studies[list(SECTIONS)].to_dict("records")
    ]
    mentions = [mine_sections(each) for each in sections]
    differing = disagreements(found, hand)
    if options.sample is not None:
        draw(differing).to_csv(options.sample, index=False)
        return
    patients = studies["patient_id"].tolist()
    strict = mine_text_labels(collection, lean=False)
    named = pd.DataFrame(
        [
            (study, m.finding)
            for study, each in zip(found.index, mentions, strict=True)
            for m in each
        ],
        columns=["study_id", "finding"],
    )
    indexed = studies["mesh"].map(bool).to_numpy()
    systems = [
        agreement("miner", found, hand, patients),
        agreement("miner, `labels.lean=false`", _found(strict, found), hand, patients),
        agreement(
            "words alone, without negation", words_alone(named, found, LABEL_SET), hand, patients
        ),
        agreement("every report normal", _all_normal(found), hand, patients),
        agreement(
            f"miner, the {indexed.sum()} reports that somebody indexed",
            found[indexed],
            hand[indexed],
            [p for p, keep in zip(patients, indexed, strict=True) if keep],
        ),
        agreement(
            "miner, without Hernia, which the gold never has",
            found.drop(columns="Hernia"),
            hand.drop(columns="Hernia"),
            patients,
        ),
    ]
    peer = negex([". ".join(filter(None, each.values())) for each in sections], found)
    if peer is not None:
        systems.insert(2, agreement("NegEx (negspacy), 63 terms", peer, hand, patients))
    folds, picked = cross_validate(Choices(mentions, sections, hand))
    today = datetime.date.today().isoformat()
    text = "\n".join(
        [
            MARKS[0],
            "",
            f"{len(found)} reports of `gold_labels14_dev.csv`, findings and impression alone; "
            f"{today}, commit {current_commit()}, seed {SEED}. Intervals are 95%, by bootstrap "
            "over reports. Macro is over the labels with a case.",
            "",
            *system_rows(systems),
            "",
            "### By label",
            "",
            *label_rows(systems[0]),
            "",
            f"### Choices, by {FOLDS}-fold cross-validation over reports",
            "",
            *fold_rows(folds, picked),
            "",
            "### The paper's 17 labels, against the same terms of the coding",
            "",
            *paper_rows(collection, found),
            "",
            f"### A random sample of the {len(differing)} disagreements, sorted by hand",
            "",
            *(verdict_rows(differing) if VERDICTS.is_file() else ["Not sorted yet."]),
            "",
            MARKS[1],
        ]
    )
    print(text)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.split(MARKS[0])[0], page.split(MARKS[1])[1]
        PAGE.write_text(before + text + after, encoding="utf-8")


def _found(table: LabelTable, like: pd.DataFrame) -> pd.DataFrame:
    return table.values.loc[like.index, like.columns] == 1


def _all_normal(found: pd.DataFrame) -> pd.DataFrame:
    return found.mul(0).astype(bool).assign(**{NORMAL: True})


if __name__ == "__main__":
    main()
