from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.data.splits import assign_splits, patient_draw, take_training_share
from cascade.errors import InputError
from cascade.io.collection import Collection, Study


def collection(*patients: str, splits=None, start: int = 0) -> Collection:
    splits = splits or [None] * len(patients)
    studies = [
        Study(f"s{start + n}", patient, split=split)
        for n, (patient, split) in enumerate(zip(patients, splits, strict=True))
    ]
    return Collection.build(studies, [], Path())


def by_study(made: Collection) -> dict[str, str]:
    return dict(zip(made.studies["study_id"], made.studies["split"], strict=True))


MANY = [f"p{n // 2}" for n in range(2000)]


def test_fractions_and_patients():
    made = assign_splits(collection(*MANY))
    shares = made.studies["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.8, abs=0.03)
    assert shares["val"] == pytest.approx(0.1, abs=0.03)
    assert (made.studies.groupby("patient_id")["split"].nunique() == 1).all()
    assert made.info["splits"]["studies"]["train"] == (made.studies["split"] == "train").sum()


def test_it_is_deterministic_and_the_seed_counts():
    made = collection(*MANY)
    assert by_study(assign_splits(made)) == by_study(assign_splits(made))
    assert by_study(assign_splits(made)) != by_study(assign_splits(made, seed=1))
    assert made.studies["split"].isna().all()  # not changed


def test_more_studies_move_nobody():
    few = by_study(assign_splits(collection(*MANY)))
    more = by_study(assign_splits(collection(*MANY, *[f"new{n}" for n in range(500)])))
    assert {study: more[study] for study in few} == few


def test_official_splits_are_kept():
    made = collection("a", "b", "c", "d", splits=["train", "val", "test", None])
    assert by_study(assign_splits(made)) == by_study(made)
    assert assign_splits(made).info["splits"]["outside"] == 1


def test_val_is_carved_from_the_official_train():
    patients = [f"p{n}" for n in range(900)]
    made = collection(*patients, splits=["train"] * 500 + ["test"] * 399 + [None])
    splits = assign_splits(made).studies["split"]
    assert (splits[500:899] == "test").all()
    assert splits[899] is None
    assert (splits == "val").sum() == pytest.approx(500 / 9, abs=20)
    assert set(splits[:500]) == {"train", "val"}


def test_test_is_carved_where_the_source_gives_train_and_val():
    patients = [f"p{n}" for n in range(900)]
    made = collection(*patients, splits=["train"] * 800 + ["val"] * 100)
    splits = assign_splits(made).studies["split"]
    assert (splits[800:] == "val").all()
    assert (splits == "test").sum() == pytest.approx(800 / 9, abs=25)
    assert set(splits[:800]) == {"train", "test"}


def test_an_empty_split_names_the_remedy():
    with pytest.raises(InputError, match=r"no study fell into .* \(1 patients\): add studies"):
        assign_splits(collection("a", "a"))
    with pytest.raises(InputError, match="the val split"):
        assign_splits(collection("a", "b", splits=["train", "train"]))


def test_a_fraction_of_0_leaves_a_split_empty_on_purpose():
    made = assign_splits(collection(*MANY), fractions=(0.5, 0.5, 0))
    assert set(made.studies["split"]) == {"train", "val"}
    official = collection("a", "b", splits=["train", "test"])
    assert by_study(assign_splits(official, fractions=(0.5, 0, 0.5))) == by_study(official)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_fractions_must_add_up(fractions):
    with pytest.raises(InputError, match="add up to 1"):
        assign_splits(collection(*MANY), fractions=fractions)


@given(st.text(), st.integers())
def test_draws_are_in_the_unit_interval(patient, seed):
    assert 0 <= patient_draw(patient, seed) < 1


# --- a share of the training patients


def trained(made: Collection, share: float, seed: int = 0) -> set[str]:
    part = take_training_share(made, share, seed).studies
    return set(part.loc[part["split"] == "train", "study_id"])


def test_a_smaller_share_is_part_of_a_larger_by_patient():
    made = assign_splits(collection(*MANY))
    shares = [trained(made, share) for share in (0.1, 0.5, 0.9, 1.0)]
    assert shares[0] < shares[1] < shares[2] < shares[3]
    assert len(shares[1]) == pytest.approx(len(shares[3]) / 2, rel=0.1)
    assert all(f"s{int(name[1:]) ^ 1}" in shares[1] for name in shares[1])  # both of a patient
    assert trained(made, 0.5) == shares[1] != trained(made, 0.5, seed=1)


def test_a_share_leaves_validation_and_test_alone():
    made = assign_splits(collection(*MANY))
    part = take_training_share(made, 0.3)
    for name in ("val", "test"):
        assert ((part.studies["split"] == name) == (made.studies["split"] == name)).all()
    assert part.info["train_share"]["studies"] == (part.studies["split"] == "train").sum()
    assert "train_share" not in made.info
    assert take_training_share(made, 1.0) is made


def test_a_share_of_nobody_is_refused():
    made = collection("a", "b", "c", splits=["train", "val", "test"])
    with pytest.raises(InputError, match=r"train_share=1e-06 leaves no training study"):
        take_training_share(made, 1e-6)
