"""Diseases rolled up along a tree until each class has enough cases.

Esteva et al. (Nature 542, 2017) train on a partition of their taxonomy: they walk down from the
root and stop at the first node that holds fewer cases than a largest class size. The archive here
is small, so the bound is the other one: a class is as fine as it can be while it still holds a
least number of cases. Rare diseases rise to their parent together until there are enough.

``TREE`` is hand-made, over the diseases of the Open-i archive. A line stands below its parent. An
asterisk says that the placing is ours; every other line stands there in MeSH (C05 and C08 compared
with its tree of 2017; C14, C23, E04 and E07 by knowledge of it). Of several places in MeSH it has
one, and levels of MeSH are left out where a parent would have one child. Radiological signs such as
opacity have no place among MeSH's diseases. Below a disease of the archive stand only its own
kinds, for it takes them in when they are rare.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Mapping
from collections.abc import Set as AbstractSet

OTHER_FINDINGS = "other findings"
"""The class of all that found no other."""

TREE = """
lung diseases
  lung diseases, obstructive
    pulmonary disease, chronic obstructive
      pulmonary emphysema
        bullous emphysema *
        blister *
      emphysema *
    lung/hyperdistention *
    bronchitis
      bronchiolitis
  lung, hyperlucent
  interstitial lung findings *
    lung diseases, interstitial
    lung/interstitial *
    markings/interstitial *
    markings/reticular *
  pulmonary fibrosis
  pulmonary edema
  pulmonary congestion *
  pulmonary atelectasis
  pneumonia
  cystic fibrosis
  bronchiectasis *
  hypertension, pulmonary
  low lung volume *
    lung/hypoinflation *
    volume loss *
    hypovolemia *
  lung opacities *
    opacity *
    density *
    infiltrate *
    consolidation *
    airspace disease *
  focal lung lesions *
    nodule *
    mass *
    cysts *
    cavitation *
    lucency *
  lung markings *
  lung findings *
pleural diseases
  pleural effusion
  costophrenic angle findings *
  pneumothorax
    hydropneumothorax *
    hemopneumothorax *
  hemothorax
  thickening *
  pleura findings *
healed inflammation *
  granulomatous disease *
    granuloma *
      calcified granuloma *
    sarcoidosis *
    tuberculosis *
  calcinosis *
  cicatrix *
  fibrosis *
cardiovascular diseases
  heart diseases
    cardiomegaly
      cardiac shadow/enlarged *
    cardiac shadow findings *
    heart failure
    pericardial effusion
    heart findings *
  vascular diseases
    atherosclerosis
    aortic aneurysm
    aorta findings *
    vessel findings *
mediastinum and hila *
  mediastinal emphysema *
  shift *
  hilum findings *
  lymph node findings *
  mediastinum findings *
  trachea findings *
  epicardial fat *
musculoskeletal diseases
  bone diseases
    spinal diseases
      spinal curvatures
        scoliosis
        kyphosis
      spinal osteophytosis
        osteophyte *
        hyperostosis, diffuse idiopathic skeletal
      spondylosis
        spine/degenerative *
        thoracic vertebrae/degenerative *
        lumbar vertebrae/degenerative *
        cervical vertebrae/degenerative *
    bone diseases, metabolic
      osteoporosis
    bone diseases, developmental
      funnel chest
      pectus carinatum
    dislocations
    fractures, bone *
    deformity *
    sclerosis *
    expansile bone lesions *
    bone findings *
  joint diseases
    arthritis
    joint findings *
hernia *
  hernia, diaphragmatic
    hernia, hiatal
  diaphragm findings *
    diaphragm/elevated *
    diaphragm/flattened *
    diaphragmatic eventration *
abdomen and soft tissue *
  pneumoperitoneum *
  cholelithiasis *
  subcutaneous emphysema *
  nipple shadow *
  soft tissue findings *
equipment and supplies
  catheters, indwelling
  tube, inserted *
  surgical equipment
    surgical instruments
    sutures
  prostheses and implants
    stents
    breast implants
    implanted medical device *
  medical device *
  foreign bodies *
  contrast media *
surgical procedures, operative
  pneumonectomy
  mastectomy
  spinal fusion
  colonic interposition *
"""

ORGANS = {
    "abdomen": "soft tissue findings",
    "adipose tissue": "soft tissue findings",
    "aorta": "aorta findings",
    "aorta, thoracic": "aorta findings",
    "blood vessels": "vessel findings",
    "bone and bones": "bone findings",
    "cardiac shadow": "cardiac shadow findings",
    "cervical vertebrae": "spinal diseases",
    "costophrenic angle": "costophrenic angle findings",
    "diaphragm": "diaphragm findings",
    "heart": "heart findings",
    "heart atria": "heart findings",
    "heart ventricles": "heart findings",
    "hilum": "hilum findings",
    "humerus": "joint findings",
    "lumbar vertebrae": "spinal diseases",
    "lung": "lung findings",
    "lymph nodes": "lymph node findings",
    "markings": "lung markings",
    "mediastinum": "mediastinum findings",
    "pleura": "pleura findings",
    "pulmonary artery": "vessel findings",
    "ribs": "bone findings",
    "shoulder": "joint findings",
    "spine": "spinal diseases",
    "sulcus": "costophrenic angle findings",
    "thoracic vertebrae": "spinal diseases",
    "thorax": "bone findings",
    "trachea": "trachea findings",
    "trachea, carina": "trachea findings",
}
"""Where a disease of an organ stands if it has no line of its own (``heart/obscured``); ours."""


@dataclasses.dataclass(frozen=True)
class Partition:
    """Diseases in classes, none in two.

    Attributes:
        classes: members by class, both in the order of falling cases, ties by name.
        left_out: the diseases that are in no class.
    """

    classes: dict[str, tuple[str, ...]]
    left_out: tuple[str, ...]

    def class_of(self) -> dict[str, str]:
        """The class of each disease that has one."""
        return {member: name for name, members in self.classes.items() for member in members}


def read_tree(text: str = TREE) -> dict[str, str]:
    r"""The parent of each line of an indented tree that has one; the asterisks are dropped.

    >>> read_tree("lung diseases\n  pneumonia\n  nodule *")
    {'pneumonia': 'lung diseases', 'nodule': 'lung diseases'}

    Raises:
        ValueError: a name stands twice, or a line is indented by more than one step.
    """
    parents: dict[str, str] = {}
    above: list[str] = []
    seen: set[str] = set()
    for line in filter(str.strip, text.splitlines()):
        name = line.strip().removesuffix("*").strip()
        depth, odd = divmod(len(line) - len(line.lstrip()), 2)
        if odd or depth > len(above):
            raise ValueError(f"{name!r} is indented by more than one step")
        if name in seen:
            raise ValueError(f"{name!r} stands twice in the tree")
        seen.add(name)
        del above[depth:]
        if above:
            parents[name] = above[-1]
        above.append(name)
    return parents


def tree_over(diseases: Iterable[str]) -> dict[str, str]:
    """``TREE``, with diseases of an organ that have no line of their own put below their organ's.

    >>> tree_over(["heart/obscured"])["heart/obscured"]
    'heart findings'
    """
    tree = read_tree()
    for disease in diseases:
        organ = disease.split("/")[0]
        if disease not in tree and organ in ORGANS:
            tree[disease] = ORGANS[organ]
    return tree


def rollup(
    cases: Mapping[str, AbstractSet[Hashable]],
    tree: Mapping[str, str],
    minimum: int,
    *,
    other: bool = True,
) -> Partition:
    """Classes as fine as possible, each of at least ``minimum`` cases.

    From the leaves up: what stands at a node, together with what its children could not place, is a
    class if it has enough cases, else it rises to the parent. So a frequent disease stands alone,
    and takes in rare ones below it; rare siblings become a class in their parent's name, ``other``
    before it where a part of that parent already stands apart. A case with several diseases of a
    class is one case: hence sets, not counts.

    Args:
        cases: who has each disease; a disease without any follows its neighbours.
        tree: the parent of each disease or group that has one.
        minimum: the least number of cases of a class, 1 or more.
        other: what is left at the root becomes ``OTHER_FINDINGS`` if it has enough cases.

    Raises:
        ValueError: a minimum below 1, or a tree that runs in a circle.
    """
    if minimum < 1:
        raise ValueError(f"minimum {minimum} must be 1 or more")
    children: dict[str | None, set[str]] = {None: set()}
    for disease in cases:
        path, node = {disease}, disease
        while (parent := tree.get(node)) is not None:
            if parent in path:
                raise ValueError(f"the tree runs in a circle at {parent!r}")
            path.add(parent)
            children.setdefault(parent, set()).add(node)
            node = parent
        children[None].add(node)

    classes: dict[str, tuple[str, ...]] = {}

    def together(members: Iterable[str]) -> int:
        return len(set[Hashable]().union(*(cases[name] for name in members)))

    def ordered(members: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(members, key=lambda name: (-len(cases[name]), name)))

    def settle(node: str | None) -> list[str]:
        """Make the classes at and below a node; returns the diseases still without one."""
        left = [node] if node is not None and node in cases else []
        before = len(classes)
        for child in sorted(children.get(node, ())):
            left += settle(child)
        if node is None or together(left) < minimum:
            return left
        apart = len(classes) > before and node not in cases
        classes[f"other {node}" if apart else node] = ordered(left)
        return []

    left = ordered(settle(None))
    if other and together(left) >= minimum:
        classes[OTHER_FINDINGS], left = left, ()
    order = sorted(classes, key=lambda name: (-together(classes[name]), name))
    return Partition({name: classes[name] for name in order}, left)
