import numpy as np
import pandas as pd
import pytest
import torch

from cascade.errors import InputError
from cascade.labels.table import Label, LabelTable, disease_owners
from cascade.models.decoders import create_decoder
from cascade.relabel import composite
from cascade.relabel.cluster import Clusters
from cascade.relabel.composite import relabel as refine
from cascade.relabel.splits import describe
from cascade.text.vocabulary import Vocabulary

NAN = float("nan")
OPTIONS = {
    "rule": "count",
    "min_cases": 8,
    "cases_per_cluster": 6,
    "min_cluster": 2,
    "shuffle": False,
}
KINDS = ["normal", "opacity/left", "opacity/right", "edema"]


def study(row):
    return f"s{row}"


def relabel(**arguments):
    """The table alone."""
    return refine(**arguments).table


def make(count=40, **changes):
    """Rows in turn normal, opacity left, opacity right, edema; the last quarter is not training."""
    texts = [KINDS[row % 4] for row in range(count)]
    kinds = np.arange(count) % 4
    values = pd.DataFrame(
        {"normal": kinds == 0, "opacity": (kinds == 1) | (kinds == 2), "edema": kinds == 3},
        index=[study(row) for row in range(count)],
        dtype=np.float32,
    )
    table = LabelTable(values, [Label(n, n) for n in values.columns], False, {"name": "terms"})
    vocabulary = Vocabulary.build(texts, "annotation")
    torch.manual_seed(0)
    decoder = create_decoder("lstm", len(vocabulary), 3, embedding=8, hidden=8).eval()
    arguments = {
        "table": table,
        "decoder": decoder,
        "vocabulary": vocabulary,
        "study_ids": list(values.index),
        "features": torch.randn(count, 3, generator=torch.Generator().manual_seed(0)) * 0.01,
        "annotations": texts,
        "is_train": np.arange(count) < count * 3 // 4,
        "options": OPTIONS,
        "seed": 0,
    }
    return {**arguments, **changes}


def test_a_disease_with_cases_enough_becomes_its_contexts():
    arguments = make()
    made = relabel(**arguments)
    # 15 training studies of opacity: 15 // 6 = 2 contexts; 7 of edema stay below 8
    assert made.names == ["normal", "opacity#1", "opacity#2", "edema"]
    assert made.diseases == ["normal", "opacity", "edema"]
    left = [study(row) for row in range(1, 40, 4)]
    right = [study(row) for row in range(2, 40, 4)]
    values = made.values
    # the image says nothing here, so that the words decide; the larger context comes first
    assert (values.loc[right, "opacity#2"] == 1).all()
    assert (values.loc[left, "opacity#1"] == 1).all()
    descriptions = [label.description for label in made.labels[1:3]]
    assert descriptions == ["left 100%, opacity 100%", "opacity 100%, right 100%"]
    assert made.rule == {"name": "contexts", "from": "terms", "seed": 0, **OPTIONS}
    assert not made.exclusive


@pytest.mark.parametrize("shuffle", [False, True])
def test_each_present_disease_has_one_context_and_the_rest_is_as_it_was(shuffle):
    arguments = make(options={**OPTIONS, "shuffle": shuffle})
    before = arguments["table"].values
    before.loc["s1", "opacity"] = NAN  # nobody knows
    before.loc["s2", "opacity"] = -1.0
    after = relabel(**arguments).values
    contexts = after[["opacity#1", "opacity#2"]]
    assert (contexts[before["opacity"] == 1].sum(axis=1) == 1).all()
    assert (contexts[before["opacity"] == 0] == 0).all(axis=None)
    assert contexts.loc["s1"].isna().all()
    assert (contexts.loc["s2"] == -1).all()
    for name in ("normal", "edema"):
        assert after[name].equals(before[name])


def test_shuffling_keeps_the_sizes_and_changes_the_studies():
    plain = relabel(**make()).values
    shuffled = relabel(**make(options={**OPTIONS, "shuffle": True})).values
    for name in ("opacity#1", "opacity#2"):
        assert plain[name].sum() == shuffled[name].sum()
        assert not plain[name].equals(shuffled[name])
        train = slice("s0", "s29")  # what the classifier learns from: the same sizes too
        assert plain.loc[train, name].sum() == shuffled.loc[train, name].sum()


def test_only_training_studies_shape_the_centres(monkeypatch):
    seen = []

    def spy(contexts, k, options, seed):
        seen.append((contexts.copy(), k, options["min_cluster"], seed))
        centres = contexts[:2].copy()
        return Clusters(centres, Clusters(centres, np.zeros(0)).assign(contexts))

    monkeypatch.setattr(composite, "find_clusters", spy)
    arguments = make()
    made = relabel(**arguments)
    ((contexts, k, least, seed),) = seen
    assert (len(contexts), k, least, seed) == (15, 2, 2, 0)  # s1, s2, s5, s6, ... s29
    # the others (s30 on: validation) are dealt to the nearest: s1 is left, s2 is right
    assert made.values.loc["s33", ["opacity#1", "opacity#2"]].tolist() == [1.0, 0.0]
    assert made.values.loc["s34", ["opacity#1", "opacity#2"]].tolist() == [0.0, 1.0]
    other = make()
    other["features"][30:] += 5.0
    relabel(**other)
    np.testing.assert_array_equal(seen[1][0], contexts)


def test_a_positive_without_a_picture_is_unknown():
    arguments = make()
    keep = [row for row in range(40) if row != 1]  # s1 carries opacity
    arguments["study_ids"] = [study(row) for row in keep]
    arguments["features"] = arguments["features"][keep]
    arguments["annotations"] = [arguments["annotations"][row] for row in keep]
    arguments["is_train"] = arguments["is_train"][keep]
    made = relabel(**arguments).values
    assert made.loc["s1", ["opacity#1", "opacity#2"]].isna().all()
    assert made.loc["s1", ["normal", "edema"]].tolist() == [0.0, 0.0]


def test_the_next_round_splits_the_whole_disease_anew():
    first = make()
    second = make(table=relabel(**first))
    again = relabel(**second)
    assert again.names == ["normal", "opacity#1", "opacity#2", "edema"]
    assert again.values.equals(second["table"].values)
    assert again.rule["from"] == "contexts"


def test_exclusive_labels_stay_exclusive():
    arguments = make()
    table = arguments["table"]
    arguments["table"] = LabelTable(table.values, table.labels, True, table.rule)
    made = relabel(**arguments)  # the table itself refuses two labels on a study
    assert made.exclusive
    assert (made.values.sum(axis=1) == 1).all()


def test_without_a_case_there_is_nothing_to_relabel():
    arguments = make(annotations=["normal"] * 40)
    with pytest.raises(InputError, match="no training study with an annotation carries a disease"):
        relabel(**arguments)
    arguments = make(is_train=np.zeros(40, dtype=bool))
    with pytest.raises(InputError, match="nothing to relabel"):
        relabel(**arguments)


def test_a_wrong_rule_is_the_users():
    with pytest.raises(InputError, match="unknown relabel.rule 'mean'"):
        relabel(**make(options={**OPTIONS, "rule": "mean"}))


def test_a_description_tells_what_differs():
    texts = ["nodule/left", "nodule/left; nodule/lingula", "nodule/right"]
    # "nodule" is in all and tells nothing; ties go by the alphabet
    assert describe(texts) == "left 67%, lingula 33%, right 33%"
    assert describe(texts, 1) == "left 67%"


def test_where_nothing_differs_the_common_pieces_are_named():
    assert describe(["nodule/left", "nodule/left"]) == "left 100%, nodule 100%"


def test_a_disease_may_stay_beside_its_contexts():
    arguments = make(options={**OPTIONS, "keep_whole": True})
    made = relabel(**arguments)
    assert made.names == ["normal", "opacity", "opacity#1", "opacity#2", "edema"]
    assert made.values["opacity"].equals(arguments["table"].values["opacity"])
    assert disease_owners(made.labels) == [0, 1, -1, -1, 2]
    # read again, the whole disease is split, not its contexts
    assert relabel(**{**arguments, "table": made}).values.equals(made.values)


def test_exclusive_contexts_replace_their_disease_as_in_the_paper():
    arguments = make(options={**OPTIONS, "keep_whole": True})
    table = arguments["table"]
    arguments["table"] = LabelTable(table.values, table.labels, True, table.rule)
    assert "opacity" not in relabel(**arguments).names


def test_a_rolled_up_class_gathers_its_members_words():
    arguments = make()
    table = arguments["table"]
    values = table.values.rename(columns={"opacity": "other lung diseases"})
    rule = {"name": "terms", "disease": "finding", "classes": {"other lung diseases": ["opacity"]}}
    renamed = LabelTable(values, [Label(n, n) for n in values.columns], False, rule)
    made = relabel(**{**arguments, "table": renamed})
    assert made.names == ["normal", "other lung diseases#1", "other lung diseases#2", "edema"]
    # and can be relabelled in its turn
    assert made.rule["classes"] == rule["classes"]
    assert made.rule["disease"] == "finding"


def test_a_disease_in_which_a_rule_finds_nothing_stays_whole():
    arguments = make(options={**OPTIONS, "min_cluster": 9})  # 15 studies: 8 and 7 both dissolve
    refined = refine(**arguments)
    assert refined.table.names == ["normal", "opacity", "edema"]
    assert refined.table.labels[1].description == "whole"
    assert [(split.disease, split.k) for split in refined.splits] == [("opacity", 1), ("edema", 1)]


@pytest.mark.parametrize("rule", ["gap", "hdbscan"])
def test_the_contexts_say_how_many_they_are(rule):
    more = {"rule": rule, "most_clusters": 4, "references": 10, "min_cluster": 3, "repeats": 2}
    refined = refine(**make(options={**OPTIONS, **more}))
    opacity = refined.splits[0]
    assert (opacity.disease, opacity.asked, opacity.k) == ("opacity", None, 2)
    left = np.array(["left" in text for text in opacity.texts])
    assert len(set(opacity.assigned[left])) == len(set(opacity.assigned[~left])) == 1
    assert opacity.stability == (1.0, 1.0)
    assert not opacity.stability.unstable
    assert opacity.warning() is None


def test_progress_is_told_of_every_disease():
    told = []
    refine(**make(), progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]
