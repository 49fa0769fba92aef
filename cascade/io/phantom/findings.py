"""What a phantom study shows: its patient, its findings and their MeSH strings.

Every draw comes from ``numpy.random.SeedSequence([seed, stream, number])``, so that study ``i`` of
seed ``s`` is the same whatever else is drawn, in whatever order and by however many workers.

Terms stand in one fixed order within a study, the order of ``KINDS``: heart, lung volumes, pleura,
lungs, bones, devices. Since each qualifier is drawn as well as written, the annotation is a
function of the image.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from cascade.errors import InputError

KINDS = {
    "cardiomegaly": "Cardiomegaly",
    "hypoinflation": "Lung/hypoinflation",
    "hyperdistention": "Lung/hyperdistention",
    "effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
    "opacity": "Opacity/lung",
    "atelectasis": "Pulmonary Atelectasis",
    "nodule": "Nodule/lung",
    "granuloma": "Calcified Granuloma/lung",
    "scoliosis": "Scoliosis/thoracic vertebrae",
    "degenerative": "Thoracic Vertebrae/degenerative",
    "catheter": "Catheters, Indwelling",
    "clips": "Surgical Instruments",
}
"""Findings, in the order in which a study lists them, and how their MeSH string begins."""

_WEIGHTS = {
    "cardiomegaly": 15.0,
    "hypoinflation": 9.0,
    "hyperdistention": 7.5,
    "effusion": 8.0,
    "pneumothorax": 3.5,
    "opacity": 14.0,
    "atelectasis": 10.0,
    "nodule": 5.0,
    "granuloma": 8.0,
    "scoliosis": 5.0,
    "degenerative": 8.5,
    "catheter": 4.5,
    "clips": 4.0,
}
_NORMAL_SHARE = 0.37
_HOW_MANY = (0.62, 0.25, 0.10, 0.03)  # 1, 2, 3, 4 findings in an abnormal study
_BLOCK = 12  # studies among which a patient may come back
_NEW_PATIENT = 0.65
_SAME_FINDINGS = 0.5  # of a patient's later studies that show what the first one showed

STREAMS = {"patient": 1, "block": 2, "findings": 3, "pose": 4, "texture": 5, "text": 6, "file": 7}
_KIND_NAMES = tuple(KINDS)
_PROBABILITIES = np.array([_WEIGHTS[kind] for kind in _KIND_NAMES])
_PROBABILITIES /= _PROBABILITIES.sum()

# Choices of (site, side, degree), each with its weight.
Choice = tuple[str | None, str | None, str | None]
_CHOICES: dict[str, dict[Choice, float]] = {
    "cardiomegaly": {
        (None, None, "borderline"): 2,
        (None, None, "mild"): 5,
        (None, None, "moderate"): 3,
        (None, None, "severe"): 2,
    },
    "hypoinflation": {(None, None, None): 7, (None, None, "mild"): 3},
    "hyperdistention": {(None, None, None): 7, (None, None, "mild"): 3},
    "effusion": {
        (None, side, size): side_weight * size_weight
        for side, side_weight in (("right", 2), ("left", 2), ("bilateral", 2))
        for size, size_weight in (("small", 5), ("moderate", 3), ("large", 2))
        if (side, size) != ("bilateral", "large")
    },
    "pneumothorax": {
        (site, side, size): weight
        for side in ("right", "left")
        for site, size, weight in (("apex", "small", 2), (None, "large", 3))
    },
    "opacity": {
        ("base", "right", None): 3,
        ("base", "left", None): 4,
        ("base", "bilateral", None): 3,
        ("base", "right", "mild"): 1,
        ("base", "left", "mild"): 1,
        ("base", "right", "patchy"): 1,
        ("base", "left", "patchy"): 1,
        ("upper lobe", "right", None): 2,
        ("upper lobe", "left", None): 2,
        ("upper lobe", "right", "patchy"): 1,
        ("upper lobe", "left", "patchy"): 1,
        ("middle lobe", "right", None): 2,
        ("lingula", None, None): 2,
        ("lower lobe", "right", None): 1,
        ("lower lobe", "left", None): 1,
    },
    "atelectasis": {
        ("base", "right", None): 3,
        ("base", "left", None): 4,
        ("base", "bilateral", None): 4,
        ("base", "right", "mild"): 1,
        ("base", "left", "mild"): 1,
        ("middle lobe", "right", None): 1,
        ("lingula", None, None): 1,
    },
    "nodule": {
        ("upper lobe", "right", None): 2,
        ("upper lobe", "left", None): 2,
        ("middle lobe", "right", None): 1,
        ("lingula", None, None): 1,
        ("lower lobe", "right", None): 2,
        ("lower lobe", "left", None): 2,
        (None, "bilateral", "multiple"): 2,
    },
    "granuloma": {
        ("upper lobe", "right", None): 2,
        ("upper lobe", "left", None): 2,
        ("middle lobe", "right", None): 1,
        ("lingula", None, None): 1,
        ("lower lobe", "right", None): 2,
        ("lower lobe", "left", None): 2,
        ("base", "right", None): 1,
        ("base", "left", None): 1,
        ("upper lobe", "right", "multiple"): 1,
        ("upper lobe", "left", "multiple"): 1,
        (None, "bilateral", "multiple"): 1,
    },
    "scoliosis": {
        (None, "right", None): 3,
        (None, "left", None): 2,
        (None, "right", "mild"): 3,
        (None, "left", "mild"): 2,
    },
    "degenerative": {(None, None, None): 6, (None, None, "mild"): 4},
    "catheter": {(None, "right", None): 3, (None, "left", None): 2},
    "clips": {
        ("mediastinum", None, None): 3,
        ("abdomen", "right", None): 2,
        (None, "right", None): 1,
        (None, "left", None): 1,
    },
}
_LOW_SITES = ("base", "lower lobe", "middle lobe", "lingula")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One finding of a study.

    Attributes:
        kind: a key of ``KINDS``.
        site: lobe or region, None where the kind has none.
        side: the patient's side: ``right``, ``left`` or ``bilateral``; None where it has none.
        degree: severity, size, texture or number as the MeSH string words it, or None.
        token: seeds its exact place and shape, so a later study can show it again.
    """

    kind: str
    site: str | None = None
    side: str | None = None
    degree: str | None = None
    token: int = 0

    @property
    def mesh(self) -> str:
        """The MeSH string in Open-i's grammar.

        >>> Finding("opacity", "base", "left", "mild").mesh
        'Opacity/lung/base/left/mild'
        """
        parts = (KINDS[self.kind], self.site, self.side, self.degree)
        return "/".join(part for part in parts if part)

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides it is drawn on, ``right`` and/or ``left``; both where it has no side."""
        if self.site == "lingula":
            return ("left",)
        if self.side in (None, "bilateral"):
            return ("right", "left")
        return (str(self.side),)


@dataclasses.dataclass(frozen=True)
class Patient:
    """What stays the same in all studies of a patient; lengths in half image widths.

    Attributes:
        patient_id: unique within the collection.
        female: draws breast shadows.
        age: in years.
        width: half width of the rib cage.
        height: of the lungs at full inspiration, apex to dome, as a factor near 1.
        fat: thickness of soft tissue, 0 thin to 1 heavy.
        heart: cardiothoracic ratio of this heart when it is not enlarged.
        heart_left: share of the heart's width on the left of the midline.
        knob: width of the aortic knob.
        rib_slope, rib_spacing, rib_contrast: of the posterior ribs.
        bone: density of bone as a factor near 1.
        arms: how far the arms stand away from the body.
        hilum: prominence of the hilar vessels as a factor near 1.
        vessel_seed: seeds the branching of the vessels.
    """

    patient_id: str
    female: bool
    age: int
    width: float
    height: float
    fat: float
    heart: float
    heart_left: float
    knob: float
    rib_slope: float
    rib_spacing: float
    rib_contrast: float
    bone: float
    arms: float
    hilum: float
    vessel_seed: int


def generator(seed: int, stream: str, number: int) -> np.random.Generator:
    """The random generator of one purpose of one study or patient."""
    sequence = np.random.SeedSequence([seed, STREAMS[stream], number])
    return np.random.Generator(np.random.PCG64(sequence))


def check_seed_and_index(seed: int, index: int) -> None:
    """Refuse negative numbers.

    Raises:
        InputError: ``seed`` or ``index`` is negative.
    """
    if seed < 0:
        raise InputError(f"seed={seed} is negative: give 0 or more")
    if index < 0:
        raise InputError(f"study index {index} is negative: give 0 or more")


def first_study(seed: int, index: int) -> int:
    """The index of the first study of the patient of study ``index``; it numbers the patient.

    Patients come back only within a block of studies, so that membership is known without drawing
    all studies before it.
    """
    start = index - index % _BLOCK
    rng = generator(seed, "block", start // _BLOCK)
    firsts: list[int] = []
    first = start
    for position in range(index - start + 1):
        if rng.random() < _NEW_PATIENT or not firsts:
            rng.random()
            first = start + position
            firsts.append(first)
        else:
            first = firsts[int(rng.random() * len(firsts))]
    return first


def draw_patient(seed: int, number: int) -> Patient:
    """The patient of that number."""
    rng = generator(seed, "patient", number)
    female = bool(rng.random() < 0.5)
    uniform = rng.uniform
    return Patient(
        patient_id=f"P{number + 1:06d}",
        female=female,
        age=int(rng.integers(19, 92)),
        width=uniform(0.56, 0.66) - 0.02 * female,
        height=uniform(0.96, 1.045),
        fat=float(rng.beta(2, 3)),
        heart=uniform(0.39, 0.465),
        heart_left=uniform(0.60, 0.68),
        knob=uniform(0.04, 0.09),
        rib_slope=uniform(0.4, 0.75),
        rib_spacing=uniform(0.135, 0.17),
        rib_contrast=uniform(0.5, 1.35),
        bone=uniform(0.8, 1.25),
        arms=uniform(-0.02, 0.25),
        hilum=uniform(0.6, 1.5),
        vessel_seed=int(rng.integers(2**31)),
    )


_IN_LUNGS = frozenset({"opacity", "atelectasis", "nodule", "granuloma"})
_NEVER_TOGETHER = (
    {"hypoinflation", "hyperdistention"},
    {"hypoinflation", "pneumothorax"},
    {"atelectasis", "pneumothorax"},
)


def _clash(one: Finding, other: Finding) -> bool:
    """Whether two findings could not both be seen, or not be told apart.

    Symmetric in its arguments.
    """
    pair = {one.kind, other.kind}
    if pair in _NEVER_TOGETHER:
        return True
    by_kind = {one.kind: one, other.kind: other}
    shared = set(one.sides) & set(other.sides)
    focus = next((f for f in (one, other) if f.kind in _IN_LUNGS), None)
    if "pneumothorax" in pair and ("effusion" in pair or focus):
        return bool(shared)
    if "effusion" in pair:
        size = by_kind["effusion"].degree
        if pair & {"cardiomegaly", "hypoinflation", "hyperdistention"}:
            return size != "small"
        if focus and shared:  # under or beside the fluid
            return (
                focus.site in _LOW_SITES
                or size == "large"
                or (focus.site is None and size != "small")
            )
    if "cardiomegaly" in pair and focus:  # behind or beside the heart
        large = by_kind["cardiomegaly"].degree in ("severe", "moderate")
        beside = focus.site in ("middle lobe", "lingula")
        return beside or (large and focus.site in _LOW_SITES and "left" in shared)
    if pair <= _IN_LUNGS and shared:
        sites = {one.site, other.site}
        return None in sites or len(sites) == 1 or sites <= set(_LOW_SITES)
    return False


def _draw_own_findings(seed: int, index: int) -> tuple[Finding, ...]:
    rng = generator(seed, "findings", index)
    if rng.random() < _NORMAL_SHARE:
        return ()
    wanted = 1 + int(rng.choice(4, p=_HOW_MANY))
    kinds = rng.choice(len(_KIND_NAMES), size=wanted, replace=False, p=_PROBABILITIES)
    chosen: list[Finding] = []
    for kind in (_KIND_NAMES[number] for number in kinds):
        choices = [
            choice
            for choice in _CHOICES[kind]
            if not any(_clash(Finding(kind, *choice), other) for other in chosen)
        ]
        if not choices:
            continue
        weights = np.array([_CHOICES[kind][choice] for choice in choices], dtype=float)
        pick = choices[int(rng.choice(len(choices), p=weights / weights.sum()))]
        chosen.append(Finding(kind, *pick, token=int(rng.integers(2**31))))
    return tuple(sorted(chosen, key=lambda finding: _KIND_NAMES.index(finding.kind)))


def draw_findings(seed: int, index: int) -> tuple[tuple[Finding, ...], bool]:
    """The findings of a study, in the order of ``KINDS``, and whether an earlier study exists.

    Half of a patient's later studies show what the first one showed, at the same places; the
    frequency of each finding is the same as if every study were drawn alone.
    """
    first = first_study(seed, index)
    if first == index:
        return _draw_own_findings(seed, index), False
    same = generator(seed, "findings", index).random(2)[1] < _SAME_FINDINGS
    return _draw_own_findings(seed, first if same else index), True
