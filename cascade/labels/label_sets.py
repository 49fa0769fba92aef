"""Label sets over the one lexicon: ChestX-ray14's, CheXpert's and the paper's.

A label is a name and the findings that stand for it. The sets differ in what they count: a rounded
opacity that nobody calls a nodule is a "Lung Lesion" of CheXpert's and no "Nodule" of
ChestX-ray14's; CheXpert's "Pneumonia" takes any infection.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping

from cascade.labels.lexicon import load_lexicon
from cascade.labels.miner import Mention

NORMAL = "normal"
PRESENT, ABSENT, UNCERTAIN = 1.0, 0.0, -1.0

LEANING = frozenset({"alternative", "likely", "probable", "probable finding", "borderline"})
"""Rules whose doubt leans towards the finding: "probable", "borderline", "X versus Y"."""


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """Labels and the findings that stand for each.

    Attributes:
        labels: label to findings, in column order; ``normal`` is not among them.
        allowed: findings beside which a report is still normal, besides the lexicon's remarks.
        narrow: normal means that none of the set's own labels is found; otherwise that nothing
            which the lexicon knows is.
        source: where the names come from.
    """

    labels: Mapping[str, tuple[str, ...]]
    allowed: frozenset[str]
    narrow: bool
    source: str

    @functools.cached_property
    def counted(self) -> frozenset[str]:
        """The findings that speak against ``normal``."""
        lexicon = load_lexicon()
        own = {finding for findings in self.labels.values() for finding in findings}
        counted = own if self.narrow else set(lexicon.findings)
        return frozenset(counted - self.allowed - lexicon.remarks)


_CHESTXRAY14 = {
    "Atelectasis": ("atelectasis",),
    "Cardiomegaly": ("cardiomegaly",),
    "Effusion": ("effusion",),
    "Infiltration": ("infiltration",),
    "Mass": ("mass",),
    "Nodule": ("nodule",),
    "Pneumonia": ("pneumonia",),
    "Pneumothorax": ("pneumothorax",),
    "Consolidation": ("consolidation",),
    "Edema": ("edema",),
    "Emphysema": ("emphysema",),
    "Fibrosis": ("fibrosis",),
    "Pleural Thickening": ("pleural_thickening",),
    "Hernia": ("hernia",),
}
_CHEXPERT = {
    "Enlarged Cardiomediastinum": ("enlarged_cardiomediastinum",),
    "Cardiomegaly": ("cardiomegaly",),
    "Lung Opacity": (
        "lung_opacity",
        "nodular_opacity",
        "infiltration",
        "interstitial_markings",
        "cicatrix",
    ),
    "Lung Lesion": ("nodule", "mass", "nodular_opacity", "cavity", "calcified_granuloma"),
    "Edema": ("edema", "congestion"),
    "Consolidation": ("consolidation",),
    "Pneumonia": ("pneumonia", "infection"),
    "Atelectasis": ("atelectasis",),
    "Pneumothorax": ("pneumothorax",),
    "Pleural Effusion": ("effusion",),
    "Pleural Other": ("pleural_thickening", "pleural_plaque", "fibrosis"),
    "Fracture": ("fracture",),
    "Support Devices": ("support_devices", "catheter", "surgical_instruments"),
}
_PAPER17 = {
    "calcified granuloma": ("calcified_granuloma",),
    "thoracic vertebrae/degenerative": ("degenerative_thoracic",),
    "lung/hypoinflation": ("hypoinflation",),
    "calcinosis": ("calcinosis",),
    "opacity": ("lung_opacity", "nodular_opacity"),
    "spine/degenerative": ("degenerative",),
    "cardiomegaly": ("cardiomegaly",),
    "scoliosis": ("scoliosis",),
    "lung/hyperdistention": ("hyperdistention",),
    "surgical instruments": ("surgical_instruments",),
    "spondylosis": ("spondylosis",),
    "osteophyte": ("osteophyte",),
    "catheters, indwelling": ("catheter",),
    "fractures, bone": ("fracture",),
    "granulomatous disease": ("granulomatous_disease",),
    "nodule": ("nodule",),
}

LABEL_SETS: dict[str, LabelSet] = {
    "chestxray14": LabelSet(_CHESTXRAY14, frozenset(), False, "ChestX-ray14, Wang et al. 2017"),
    "chexpert": LabelSet(
        _CHEXPERT,
        frozenset({"support_devices", "catheter", "surgical_instruments"}),
        True,
        "CheXpert, Irvin et al. 2019; No Finding is normal",
    ),
    "paper17": LabelSet(_PAPER17, frozenset(), False, "the 17 patterns of Shin et al. 2016"),
}


def label_values(
    mentions: Iterable[Mention], label_set: LabelSet, *, lean: bool = True, has_text: bool = True
) -> dict[str, float]:
    """The labels that a report's mentions give: 1 present, 0 absent, -1 uncertain.

    The strongest mention of any of a label's findings decides: present before uncertain before
    absent. A label that nobody mentions is left out. ``normal`` is 1 where nothing is found and the
    report says anything at all, 0 where something is, and -1 where something may be; the words
    "upper limits of normal" leave a report normal.

    Args:
        mentions: of one report.
        label_set: one of ``LABEL_SETS``.
        lean: a doubt that leans towards the finding (``LEANING``) counts as present.
        has_text: whether there was anything to read.
    """
    strongest: dict[str, float] = {}
    doubtful: set[str] = set()
    for mention in mentions:
        value = _value(mention, lean)
        before = strongest.get(mention.finding)
        if before is None or _STRENGTH[value] > _STRENGTH[before]:
            strongest[mention.finding] = value
        if value == UNCERTAIN and mention.rule != "worded":
            doubtful.add(mention.finding)
    values: dict[str, float] = {}
    for label, findings in label_set.labels.items():
        known = [strongest[finding] for finding in findings if finding in strongest]
        if known:
            values[label] = max(known, key=_STRENGTH.__getitem__)
    if not has_text:
        return values
    counted = label_set.counted
    if any(value == PRESENT and finding in counted for finding, value in strongest.items()):
        normal = ABSENT
    else:
        normal = PRESENT if counted.isdisjoint(doubtful) else UNCERTAIN
    return {NORMAL: normal, **values}


_STRENGTH = {PRESENT: 2, UNCERTAIN: 1, ABSENT: 0}


def _value(mention: Mention, lean: bool) -> float:
    if mention.status == "uncertain":
        return PRESENT if lean and mention.rule in LEANING else UNCERTAIN
    return PRESENT if mention.status == "present" else ABSENT
