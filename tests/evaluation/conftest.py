"""A small made-up evaluation, shared by the tests of tables and page."""

import numpy as np
import pandas as pd
import pytest

from cascade.evaluation.scoring import evaluate
from cascade.evaluation.systems import Rows, System, Training

TEXTS = [
    "normal",
    "opacity/lung/base/left/mild",
    "cardiomegaly/severe; opacity/lung/base/right",
    "nodule/lung/upper lobe/right",
]
LABELS = ["normal", "opacity", "cardiomegaly", "nodule", "hernia"]


def labels_of(texts):
    """``hernia`` never occurs, so its AUROC is undefined."""
    return pd.DataFrame(
        [[float(label in text) for label in LABELS] for text in texts], columns=LABELS
    )


@pytest.fixture(scope="session")
def case():
    """Rows, two systems (the second better) and training data, 40 studies of 20 patients."""
    generator = np.random.default_rng(0)
    references = [TEXTS[place] for place in generator.choice(4, 40, p=[0.4, 0.3, 0.2, 0.1])]
    training = [TEXTS[place] for place in generator.choice(4, 60, p=[0.4, 0.3, 0.2, 0.1])]
    truth = labels_of(references)
    truth.loc[0, "opacity"], truth.loc[1, "opacity"] = -1, np.nan

    def probabilities(strength):
        noise = generator.normal(size=truth.shape)
        known = np.nan_to_num(labels_of(references).to_numpy())
        return pd.DataFrame(1 / (1 + np.exp(-(strength * known - 1 + noise))), columns=LABELS)

    def written(share):
        return [
            text if generator.random() < share else TEXTS[generator.integers(4)]
            for text in references
        ]

    first, second = written(0.2), written(0.9)
    first[3] = ""
    pixels = generator.random((100, 8, 8))
    rows = Rows(
        [f"secret-{row}" for row in range(40)],
        [f"patient-{row // 2}" for row in range(40)],
        references,
        truth,
        image=lambda row: np.full((300, 200), row / 40, dtype=np.float32),
    )
    systems = [
        System("round 1", first, probabilities(0.5), note="The <first> round."),
        System("round 2", second, probabilities(4.0)),
    ]
    learned = Training(
        training,
        TEXTS * 3,
        labels_of(training),
        pixels[:60],
        pixels[:60].reshape(60, -1),
        pixels[60:],
        pixels[60:].reshape(40, -1),
    )
    return rows, systems, learned


@pytest.fixture(scope="session")
def evaluation(case):
    rows, systems, training = case
    return evaluate(rows, systems, training, resamples=200, meta={"commit": "0123abc"})
