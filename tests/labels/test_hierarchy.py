from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.labels.hierarchy import (
    ORGANS,
    OTHER_FINDINGS,
    TREE,
    Partition,
    read_tree,
    rollup,
    tree_over,
)
from cascade.labels.mesh import ANATOMY

CHEST = read_tree("""
pleura
  effusion
  pneumothorax
    hydropneumothorax
  hemothorax
lung
  pneumonia
  edema
""")


def cases(**counts: int) -> dict[str, set[str]]:
    """So many studies of each disease, none with two."""
    return {name: {f"{name}{n}" for n in range(count)} for name, count in counts.items()}


@pytest.mark.parametrize(
    ("counts", "classes", "left_out"),
    [
        # all are frequent: as fine as the names themselves
        ({"effusion": 5, "edema": 5}, {"edema": ["edema"], "effusion": ["effusion"]}, []),
        # a frequent disease takes in the rare one below it
        (
            {"pneumothorax": 5, "hydropneumothorax": 2},
            {"pneumothorax": ["pneumothorax", "hydropneumothorax"]},
            [],
        ),
        # a rare disease and the one below it become a class of that disease together
        (
            {"pneumothorax": 3, "hydropneumothorax": 2},
            {"pneumothorax": ["pneumothorax", "hydropneumothorax"]},
            [],
        ),
        # what is frequent below a rare disease stands apart
        (
            {"pneumothorax": 1, "hydropneumothorax": 5, "hemothorax": 4},
            {
                "hydropneumothorax": ["hydropneumothorax"],
                "other pleura": ["hemothorax", "pneumothorax"],
            },
            [],
        ),
        # rare siblings merge in the parent's name ...
        ({"hemothorax": 2, "effusion": 3}, {"pleura": ["effusion", "hemothorax"]}, []),
        # ... which says so where a sibling stands apart
        (
            {"effusion": 9, "hemothorax": 2, "pneumothorax": 3},
            {"effusion": ["effusion"], "other pleura": ["pneumothorax", "hemothorax"]},
            [],
        ),
        # what no parent gathers becomes the last class, with what the tree does not know
        (
            {"hemothorax": 2, "edema": 2, "nipple": 1},
            {OTHER_FINDINGS: ["edema", "hemothorax", "nipple"]},
            [],
        ),
        ({"hemothorax": 2, "edema": 2}, {}, ["edema", "hemothorax"]),
        # without a case it follows its neighbours
        ({"effusion": 5, "hemothorax": 0}, {"effusion": ["effusion"]}, ["hemothorax"]),
        ({}, {}, []),
    ],
)
def test_rollup(counts, classes, left_out):
    expected = {name: tuple(members) for name, members in classes.items()}
    assert rollup(cases(**counts), CHEST, 5) == Partition(expected, tuple(left_out))


def test_the_rest_can_be_left_out():
    assert rollup(cases(effusion=4, edema=4), CHEST, 5).classes.keys() == {OTHER_FINDINGS}
    assert rollup(cases(effusion=4, edema=4), CHEST, 5, other=False) == Partition(
        {}, ("edema", "effusion")
    )


def test_a_study_with_two_diseases_is_one_case():
    both = {"effusion": {"s1", "s2", "s3"}, "hemothorax": {"s2", "s3"}}
    assert rollup(both, CHEST, 3).classes == {"effusion": ("effusion",)}
    assert rollup(both, CHEST, 4).left_out == ("effusion", "hemothorax")


def test_classes_come_by_falling_cases():
    made = rollup(cases(effusion=5, edema=7, pneumonia=5), CHEST, 5)
    assert list(made.classes) == ["edema", "effusion", "pneumonia"]
    assert made.class_of() == {"edema": "edema", "effusion": "effusion", "pneumonia": "pneumonia"}


def test_what_cannot_be_rolled_up():
    with pytest.raises(ValueError, match="minimum 0 must be 1 or more"):
        rollup({}, {}, 0)
    with pytest.raises(ValueError, match="in a circle at 'a'"):
        rollup(cases(a=1), {"a": "b", "b": "a"}, 1)


NAMES = [f"d{n}" for n in range(12)]


@st.composite
def forests(draw):
    """A tree over some names; each one's parent is an earlier one, or none."""
    parents = {}
    for at, name in enumerate(NAMES[1:], start=1):
        if draw(st.booleans()):
            parents[name] = NAMES[draw(st.integers(0, at - 1))]
    return parents


CASES = st.dictionaries(
    st.sampled_from([*NAMES, "unheard of"]), st.sets(st.integers(0, 12), max_size=8)
)


@given(CASES, forests(), st.integers(1, 10), st.booleans())
def test_a_partition_is_one(found, tree, minimum, other):
    made = rollup(found, tree, minimum, other=other)
    placed = [name for members in made.classes.values() for name in members]
    assert sorted([*placed, *made.left_out]) == sorted(found)  # each exactly once
    assert all(
        len(set().union(*(found[name] for name in members))) >= minimum
        for members in made.classes.values()
    )
    # as fine as possible: what is frequent enough has a class of its own name
    frequent = {name for name, rows in found.items() if len(rows) >= minimum}
    assert all(name in made.classes[name] for name in frequent)
    # members of a class share its node; only the last class gathers from everywhere
    for name, members in made.classes.items():
        node = name.removeprefix("other ")
        assert name == OTHER_FINDINGS or all(node in path(member, tree) for member in members)
    rearranged = dict(reversed(list(found.items())))
    assert rollup(rearranged, dict(reversed(list(tree.items()))), minimum, other=other) == made


def path(name, tree):
    """A name and all above it."""
    yield name
    if name in tree:
        yield from path(tree[name], tree)


def test_the_tree_says_whose_placing_it_is():
    lines = {line.strip() for line in TREE.splitlines()} - {""}
    assert {"pneumonia", "pneumothorax", "scoliosis", "opacity *"} <= lines
    assert all(line.count("*") == line.endswith(" *") for line in lines)


def test_every_organ_has_a_place():
    tree = read_tree()
    known = set(tree) | set(tree.values())
    assert set(ORGANS) == ANATOMY | {"hilum"}
    assert set(ORGANS.values()) <= known
    assert not set(ORGANS) & known
    assert tree_over(["diaphragm/obscured", "sneeze"]) == {
        **tree,
        "diaphragm/obscured": "diaphragm findings",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [("a\n    b", "'b' is indented"), ("a\n b", "'b' is indented"), ("a\n  b\n  b", "'b' stands")],
)
def test_what_is_no_tree(text, words):
    with pytest.raises(ValueError, match=words):
        read_tree(text)
