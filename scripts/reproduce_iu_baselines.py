"""What systems that see no image score on the reports that the field scores itself on.

Reads the Open-i archive and the ids of R2Gen's split, makes the trivial systems of the training
findings alone, scores them under several tokenisers, runs ``cascade evaluate`` on the predictions
of one, and writes docs/iu-baselines.md.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

from cascade.evaluation.baselines import commonest, fixed_text
from cascade.evaluation.scoring import Evaluation, evaluate
from cascade.evaluation.systems import Rows, System, Training
from cascade.io.openi import read_openi
from cascade.labels.mesh import diseases_of
from cascade.metrics import caption, nlg
from cascade.pipeline.collecting import current_commit

SEEDS = (0, 1, 2)
SPLIT = "r2gen_split.json"
FIXED, COMMONEST, RANDOM, ORACLE, RETRIEVED = (
    "one fixed training report",
    "commonest training report",
    "random training report",
    "oracle: commonest report of the true MeSH terms",
    "indication's nearest report (TF-IDF)",
)
OVERLAP = ("B1", "B2", "B3", "B4", "METEOR", "ROUGE-L", "CIDEr")
PUBLISHED = {
    "R2Gen": (0.470, 0.304, 0.219, 0.165, 0.187, 0.371, None),
    "R2GenCMN": (0.475, 0.309, 0.222, 0.170, 0.191, 0.375, None),
    "METransformer": (0.483, 0.322, 0.228, 0.172, 0.192, 0.380, 0.435),
    "VLCI": (0.505, 0.334, 0.245, 0.189, 0.204, 0.397, 0.456),
    "DART": (0.486, 0.348, 0.265, 0.208, 0.205, 0.411, None),
}
"""As their papers print them; not rerun here, and cut and truncated as each of them chose."""
CLINICAL = {
    "clin_micro_f1": "micro",
    "clin_macro_f1": "macro",
    "clin_micro_f1_abnormal": "micro abnormal",
    "clin_macro_f1_abnormal": "macro abnormal",
}


def systems_of(train: pd.DataFrame, val: pd.DataFrame, test: pd.DataFrame) -> dict[str, list[str]]:
    """The texts of every system, by name; the random one once a seed."""
    texts, count = train["findings"].tolist(), len(test)
    cut = nlg.words_and_stops
    made = {
        FIXED: [fixed_text(texts, val["findings"].tolist(), cut)] * count,
        COMMONEST: [commonest(texts)[0]] * count,
    }
    for seed in SEEDS:
        drawn = np.random.default_rng(seed).integers(len(texts), size=count)
        made[f"{RANDOM} (seed {seed})"] = [texts[row] for row in drawn]
    made[ORACLE] = oracle(train, test)
    made[RETRIEVED] = retrieve(train["indication"], test["indication"], texts)
    return made


def oracle(train: pd.DataFrame, test: pd.DataFrame) -> list[str]:
    """The commonest training report of just the test study's diseases; else of its first one."""
    same: dict[tuple[str, ...], list[str]] = {}
    first: dict[tuple[str, ...], list[str]] = {}
    for terms, text in zip(train["mesh"], train["findings"], strict=True):
        diseases = diseases_of(list(terms))
        same.setdefault(tuple(sorted(diseases)), []).append(text)
        first.setdefault(tuple(diseases[:1]), []).append(text)
    every = train["findings"].tolist()
    found = []
    for terms in test["mesh"]:
        diseases = diseases_of(list(terms))
        texts = same.get(tuple(sorted(diseases))) or first.get(tuple(diseases[:1])) or every
        found.append(commonest(texts)[0])
    return found


def retrieve(known: pd.Series, asked: pd.Series, texts: Sequence[str]) -> list[str]:
    """The text of the training study of the likest indication; the commonest where none is."""
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\b[a-z]+\b|\d+"
    )
    rows = vectorizer.fit_transform(known.fillna(""))
    similar = (vectorizer.transform(asked.fillna("")) @ rows.T).toarray()
    usual = commonest(texts)[0]
    return [texts[row.argmax()] if row.max() > 0 else usual for row in similar]


def overlap(
    systems: dict[str, list[str]], references: list[str], tokenize: nlg.Tokenizer
) -> tuple[dict[str, list[float | None]], str]:
    """The figures of ``OVERLAP`` a system, and why METEOR is not among them ('' where it is)."""
    said = [text for texts in systems.values() for text in texts]
    meteor, reason = None, ""
    try:
        rows = caption.meteor_statistics(said, references * len(systems), tokenize, 300)
        meteor = rows.reshape(len(systems), len(references), -1).sum(axis=1)
    except caption.NotRunError as error:
        reason = str(error)
    cider = caption.Cider(references, tokenize)
    found: dict[str, list[float | None]] = {}
    for place, (name, texts) in enumerate(systems.items()):
        found[name] = [
            *nlg.corpus_bleu(texts, references, tokenize),
            None if meteor is None else float(caption.meteor_of_statistics(meteor[place])),
            float(nlg.rouge_l(texts, references, tokenize).mean()),
            float(cider.score(texts).mean()),
        ]
    return found, reason


def pooled(figures: dict[str, list[float | None]]) -> dict[str, list[float | None]]:
    """The random rows as one: their mean."""
    rows = [values for name, values in figures.items() if name.startswith(RANDOM)]
    mean = [
        None if None in column else float(np.mean(column)) for column in zip(*rows, strict=True)
    ]
    found: dict[str, list[float | None]] = {}
    for name, values in figures.items():
        key = f"{RANDOM}, mean of {len(SEEDS)} seeds" if name.startswith(RANDOM) else name
        found[key] = mean if name.startswith(RANDOM) else values
    return found


def above(fixed: Sequence[float | None]) -> str:
    """How many published systems one fixed report beats, figure by figure."""
    told = []
    for place, name in enumerate(OVERLAP):
        ours = fixed[place]
        theirs = [row[place] for row in PUBLISHED.values() if row[place] is not None]
        if ours is not None:
            beaten = sum(ours > value for value in theirs if value is not None)
            told.append(f"{name} {beaten} of {len(theirs)}")
    return f"The fixed report is above so many of the published systems: {', '.join(told)}."


def below(first: Sequence[float | None], second: Sequence[float | None]) -> list[str]:
    """The figures in which the first is the lower."""
    pairs = zip(OVERLAP, first, second, strict=True)
    return [name for name, a, b in pairs if a is not None and b is not None and a < b]


def number(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3f}".removeprefix("0")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def score(
    train: pd.DataFrame, val: pd.DataFrame, test: pd.DataFrame, made: dict[str, list[str]]
) -> Evaluation:
    """All figures with intervals by ``cascade.evaluation``, under report-words."""
    ids = test["study_id"].tolist()
    normal = np.array([list(terms) == ["normal"] for terms in test["mesh"]])
    return evaluate(
        Rows(ids, ids, test["findings"].tolist(), normal=normal),
        [System(name, texts, trivial=name != RETRIEVED) for name, texts in made.items()],
        Training(train["findings"].tolist(), val["findings"].tolist()),
        kind="report",
    )


def other_table(scored: Evaluation, names: Sequence[str]) -> str:
    def cell(name: str, metric: str) -> str:
        found = scored.figure(name, metric)
        interval = "" if np.isnan(found.low) else f" ({number(found.low)}-{number(found.high)})"
        return f"{number(found.value)}{interval}"

    rows = [
        [
            name,
            *(cell(name, metric) for metric in ("bleu4", "cider", "sacrebleu", "rouge_l")),
            number(scored.figure(name, "copied").value),
            f"{scored.figure(name, 'distinct').value:.0f}",
            number(scored.figure(name, "length_ratio").value),
        ]
        for name in names
    ]
    head = ["system", "BLEU-4", "CIDEr", "sacreBLEU", "ROUGE-L", "copied", "distinct", "length"]
    clinical = [[name, *(cell(name, metric) for metric in CLINICAL)] for name in names]
    return "\n".join(
        [
            table(head, rows),
            "The labels that the miner (docs/miner.md) reads in the text against those it reads in "
            "the reference: F1, of all labels with `normal`, and of the findings alone. The fixed "
            "report gets nothing: what it names is none of the labels, and so it is not normal "
            "either. Who reads no image finds no finding.\n",
            table(["system", *CLINICAL.values()], clinical),
        ]
    )


def by_command(test: pd.DataFrame, texts: list[str]) -> str:
    """``cascade evaluate`` on two CSV files, and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        for name, column, values in (
            ("other_system.csv", "hypothesis", texts),
            ("findings.csv", "reference", test["findings"].tolist()),
        ):
            frame = pd.DataFrame({"study_id": test["study_id"].tolist(), column: values})
            frame.to_csv(Path(folder) / name, index=False)
        command = "cascade evaluate predictions=other_system.csv references=findings.csv out=eval"
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", *command.split()],
            cwd=folder,
            env={**os.environ, "COLUMNS": "110"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        seconds = time.monotonic() - began
    if done.returncode:
        sys.exit(f"{command} failed: {done.stderr}")
    lines = done.stdout.replace(f"{folder}/", "").splitlines()
    shown = "\n".join(line.rstrip() for line in lines)
    return f"```console\n$ {command}\n{shown}\n```\n\n{seconds:.0f} s."


def main() -> None:
    data, page = Path(sys.argv[1]), Path(sys.argv[2])
    studies = read_openi(data, split_file=data / SPLIT).studies
    train, val, test = (studies[studies["split"] == name] for name in ("train", "val", "test"))
    references = test["findings"].tolist()
    made = systems_of(train, val, test)
    cuts = {
        "words-and-stops": (made, references, nlg.words_and_stops),
        "report-words": (made, references, nlg.report_words),
    }
    missing: dict[str, str] = {}
    try:
        treebank = caption.ptb_texts([*references, *(x for texts in made.values() for x in texts)])
        parts = [treebank[at : at + len(test)] for at in range(0, len(treebank), len(test))]
        cut = dict(zip(made, parts[1:], strict=True))
        cuts["Penn Treebank"] = (cut, parts[0], nlg.spaced_words)
    except caption.NotRunError as error:
        missing["Penn Treebank"] = str(error)
    figures = {}
    for name, arguments in cuts.items():
        figures[name], reason = overlap(*arguments)
        if reason:
            missing[f"METEOR ({name})"] = reason
    scored = score(train, val, test, made)
    one_random = f"{RANDOM} (seed 0)"
    names = [FIXED, COMMONEST, one_random, ORACLE, RETRIEVED]
    spread = [values[3] for name, values in figures["words-and-stops"].items() if RANDOM in name]
    field = pooled(figures["words-and-stops"])
    copied = nlg.copied(references, train["findings"].tolist(), nlg.report_words)
    marked = np.mean(["xxxx" in text.lower() for text in references])
    same_cut = {name: values[3] for name, values in ((n, f[FIXED]) for n, f in figures.items())}
    parts = [
        "# What no image at all scores on the Indiana University reports\n",
        f"Written by `scripts/reproduce_iu_baselines` on {datetime.date.today()}, commit "
        f"{current_commit()}, {os.cpu_count()} CPU cores, Python {platform.python_version()}. "
        f"R2Gen's split ({len(train):,} / {len(val)} / {len(test)} studies); references are "
        "the test findings as written. All texts come from the training findings alone.\n",
        f"Of the {len(test)} test references {100 * copied.mean():.0f}% stand word for word among "
        f"the training findings, and {100 * marked:.0f}% hold the mark XXXX of "
        "de-identification.\n",
        "## Beside published figures\n",
        "Cut by `words-and-stops`: the full stop is a word, as the field has it. Published rows "
        "are quoted from the papers, which cut and truncate references in ways of their own: the "
        "comparison is of size, not of the third digit.\n",
        table(
            ["system", *OVERLAP],
            [[name, *map(number, values)] for name, values in field.items()]
            + [[f"{name}, as published", *map(number, v)] for name, v in PUBLISHED.items()],
        ),
        f"{above(field[FIXED])} The commonest report's CIDEr is above the fixed one's, whose other "
        "figures are higher: no single figure orders these systems.\n",
        f"BLEU-4 of the three random draws: {', '.join(map(number, spread))}. The fixed report is "
        "chosen on the validation findings by mean BLEU-1..4 (`words-and-stops`); it has "
        f"{len(made[FIXED][0].split())} words (no report of the collection is copied here).\n",
        "The **oracle** row is told the true MeSH terms of each test study, and writes the "
        "commonest training report of just those diseases (or of the first): no system without an "
        "image may be compared with it. Told every disease, it is still "
        f"below the fixed report in {', '.join(below(field[ORACLE], field[FIXED]))}: those figures "
        "say little of diseases.\n",
        "## The same texts under other tokenisers\n",
        "`report-words` drops all punctuation; `Penn Treebank` is pycocoevalcap's tokeniser, "
        "punctuation dropped. The fixed report's BLEU-4 alone goes "
        f"{', '.join(f'{number(value)} ({name})' for name, value in same_cut.items())}: figures "
        "of different tokenisers cannot be compared.\n",
        *(
            f"### {name}\n\n"
            + table(
                ["system", *OVERLAP],
                [[n, *map(number, v)] for n, v in pooled(figures[name]).items()],
            )
            for name in figures
            if name != "words-and-stops"
        ),
        "## Intervals, copies, and what the reports say\n",
        "`report-words`; 95% bootstrap over studies (each is a patient here). sacreBLEU, on the "
        f"texts as written: {scored.meta['tokenizers'].get('sacreBLEU', 'not run')}. Copied: the "
        "share that stands word for word in training. CIDEr weighs words by the test "
        "references.\n",
        other_table(scored, names),
        "## Another system's output through the command\n",
        f"No published system's output is at hand. *{RETRIEVED}* stands for one that is built "
        "unlike ours: TF-IDF of the words and word pairs of the **indication** (the referring "
        "physician's question), fitted on the training studies; each test study gets the findings "
        "of the training study of highest cosine similarity, or the commonest report where no word "
        "is shared. It reads text, never an image. Without training reports the command makes its "
        "trivial systems of the references, and says so.\n",
        by_command(test, made[RETRIEVED]),
        "",
        "## Not run\n",
        *(f"- {name}: {why}" for name, why in {**missing, **not_run(scored)}.items()),
        "",
    ]
    page.write_text("\n".join(parts), encoding="utf-8")
    print(f"wrote {page}")


def not_run(scored: Evaluation) -> dict[str, str]:
    """What the evaluation could not run; METEOR is run above, once a tokeniser."""
    return {name: why for name, why in scored.meta["not_run"].items() if name != "METEOR"}


if __name__ == "__main__":
    main()
