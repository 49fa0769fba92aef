import numpy as np

from cascade.relabel.splits import Split, Word, telling_words
from cascade.relabel.stability import Stability

TEXTS = [
    "nodule/left",
    "nodule/left",
    "nodule/right",
    "nodule/right; nodule/lingula",
    "nodule/left",
]


def split(**changes):
    """Five studies, the last not training; three of them on the left."""
    values = {
        "disease": "nodule",
        "rows": np.arange(5) + 10,
        "texts": TEXTS,
        "training": np.array([True] * 4 + [False]),
        "k": 2,
        "assigned": np.array([0, 0, 1, 1, 0]),
        "distance": np.array([3.0, 2.0, 1.0, 0.5, 0.0]),
        "asked": 2,
    }
    return Split(**{**values, **changes})


def test_the_file_holds_sizes_words_and_no_study():
    made = split(stability=Stability(0.5, 0.91234)).to_json()
    assert made == {
        "disease": "nodule",
        "training_studies": 4,
        "asked": 2,
        "contexts": [
            {
                "name": "nodule#1",
                "training": 2,
                "validation": 1,
                "description": "left 100%, nodule 100%",
                "words": [{"text": "left", "share": 1.0, "elsewhere": 0.0}],
            },
            {
                "name": "nodule#2",
                "training": 2,
                "validation": 0,
                "description": "lingula 50%",
                "words": [
                    {"text": "right", "share": 1.0, "elsewhere": 0.0},
                    {"text": "lingula", "share": 0.5, "elsewhere": 0.0},
                ],
            },
        ],
        "noise": 0,
        "stability": {"seeds": 0.5, "bootstrap": 0.9123, "unstable": True},
    }
    assert split().to_json()["stability"] is None


def test_the_warning_is_one_line_with_both_figures():
    assert split(stability=Stability(0.5, 0.9)).warning() == (
        "nodule: its 2 contexts are not stable (adjusted Rand index 0.50 over seeds, 0.90 over "
        "bootstrap draws; below 0.65 is poor)"
    )
    assert split(stability=Stability(0.9, 0.9)).warning() is None
    assert split().warning() is None


def test_typical_studies_are_training_and_their_texts_differ():
    assert split().typical(0, 3) == [1, 0]  # the nearest is validation; the texts are equal
    assert split().typical(1, 1) == [3]
    mixed = split(assigned=np.zeros(5, dtype=int), distance=np.arange(5.0))
    assert mixed.typical(0, 4) == [0, 2, 3, 1]


def test_words_tell_a_context_from_the_others():
    found = telling_words(["a/b", "a/c"], ["a/c", "a/d"])
    assert found == [Word("b", 0.5, 0.0)]  # "c" is as common in both
    assert telling_words(["a"], []) == [Word("a", 1.0, 0.0)]


def test_a_whole_disease():
    whole = Split.whole("nodule", np.arange(5), TEXTS, np.array([True] * 4 + [False]))
    assert (whole.k, whole.sizes(True), whole.sizes(False)) == (1, [4], [1])
    made = whole.to_json()
    assert [context["name"] for context in made["contexts"]] == ["nodule"]
    assert made["asked"] == 1
