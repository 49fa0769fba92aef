"""Reports in the manner of Open-i: a grammar of sentences with paraphrases and negatives.

Each finding is mentioned in the findings section, or in the impression where that section is
missing, with every qualifier of its MeSH string. A negative sentence is used only where nothing of
what it denies is present. ``XXXX`` stands where a de-identifier took out a date, a name or, as in
Open-i, now and then an innocent word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from cascade.io.phantom.findings import Finding, Patient


@dataclasses.dataclass(frozen=True)
class Report:
    """The sections of a report; None where one is missing."""

    indication: str | None
    comparison: str | None
    findings: str | None
    impression: str | None


# {where}: "in the right upper lobe"; {site}: "right upper lobe"; {degree}: "mild " or "".
_POSITIVE: dict[str, tuple[str, ...]] = {
    "cardiomegaly": (
        "There is {degree}cardiomegaly.",
        "{Degree}cardiomegaly is present.",
        "{Degree}enlargement of the cardiac silhouette.",
        "{Degree}cardiomegaly{stable}.",
        "The heart shows {degree}enlargement.",
    ),
    "hypoinflation": (
        "{Degree}hypoinflation of the lungs.",
        "Lung volumes are {adverb}low.",
        "There are {adverb}low lung volumes with bronchovascular crowding.",
        "The lungs are {adverb}hypoinflated.",
        "{Degree}low inspiration with hypoinflation.",
    ),
    "hyperdistention": (
        "The lungs are {adverb}hyperinflated.",
        "{Degree}hyperexpansion of the lungs with flattened diaphragms.",
        "There is {degree}hyperinflation.",
        "Lungs are {adverb}hyperexpanded, XXXX emphysema.",
    ),
    "effusion": (
        "There {is_are} {degree}{side} pleural effusion{s}.",
        "{Degree}{side} pleural effusion{s}.",
        "{Degree}{side} pleural effusion{s} {is_are} seen{stable}.",
        "Blunting of the {side} costophrenic {angle} from {degree}pleural effusion{s}.",
        "{Degree}{side} pleural fluid is present, in XXXX with effusion.",
    ),
    "pneumothorax": (
        "There is a {degree}{side} {apical}pneumothorax.",
        "{Degree}{side} {apical}pneumothorax.",
        "{Degree}{apical}pneumothorax on the {side}.",
    ),
    "opacity": (
        "There is {degree}airspace opacity {where}.",
        "{Degree}opacity {where}.",
        "{Degree}opacity is seen {where}, which may represent XXXX.",
        "{Degree}{site} opacity, atypical for scar.",
        "Increased {degree}opacity {where}.",
        "{Degree}airspace disease with opacity {where}.",
    ),
    "atelectasis": (
        "{Degree}{site} atelectasis.",
        "There is {degree}subsegmental atelectasis {where}.",
        "{Degree}bandlike opacity {where} compatible with atelectasis.",
        "{Degree}platelike atelectasis {where}{stable}.",
        "{Degree}linear atelectasis is present {where}.",
    ),
    "nodule": (
        "There {is_are} {number}pulmonary nodule{s} {where}.",
        "{Number}nodule{s} {where}.",
        "{Number}rounded nodule{s} {is_are} noted {where}.",
        "{Number}noncalcified nodule{s} {where}, XXXX CT is recommended.",
    ),
    "granuloma": (
        "{Number}calcified granuloma{s} {where}.",
        "There {is_are} {number}calcified granuloma{s} {where}{stable}.",
        "{Number}densely calcified granuloma{s} {where}, in XXXX with prior disease.",
        "Evidence of old granulomatous disease with {number}calcified granuloma{s} {where}.",
    ),
    "scoliosis": (
        "{Degree}scoliosis of the thoracic spine, convex to the {side}.",
        "{Degree}{side}ward curvature of the thoracic spine, scoliosis.",
        "There is {degree}thoracic scoliosis with convexity to the {side}{stable}.",
        "{Degree}dextroscoliosis|{Degree}levoscoliosis of the thoracic spine.",
    ),
    "degenerative": (
        "{Degree}degenerative changes of the thoracic spine.",
        "There are {degree}degenerative changes in the thoracic spine.",
        "{Degree}degenerative disease of the thoracic vertebrae with osteophytes.",
        "{Degree}thoracic spine degenerative change{stable}.",
    ),
    "catheter": (
        "{Side} central venous catheter with tip in the superior vena XXXX.",
        "A {side} catheter is in XXXX with the tip in the SVC.",
        "{Side} subclavian catheter tip overlies the cavoatrial junction.",
        "{Side} chest central catheter{stable}.",
    ),
    "clips": (
        "Surgical clips {where}.",
        "There are surgical clips {where}.",
        "Postsurgical changes with clips {where}{stable}.",
    ),
}
_LUNG_DISEASE = frozenset({"opacity", "atelectasis", "nodule", "granuloma"})
_CHEST_DISEASE = _LUNG_DISEASE | {"cardiomegaly", "effusion", "pneumothorax"}
_ALL = frozenset(_POSITIVE)

# A sentence, and the findings that it denies. One of each group is used at most.
_NEGATIVE: tuple[tuple[tuple[str, frozenset[str]], ...], ...] = (
    (
        ("Heart size is normal.", frozenset({"cardiomegaly"})),
        ("The heart is normal in size.", frozenset({"cardiomegaly"})),
        ("Cardiomediastinal silhouette is within normal limits.", frozenset({"cardiomegaly"})),
        ("The cardiac silhouette and XXXX are normal.", frozenset({"cardiomegaly"})),
        ("Heart size and pulmonary vascularity are normal.", frozenset({"cardiomegaly"})),
        ("The heart and mediastinum are unremarkable.", frozenset({"cardiomegaly", "clips"})),
    ),
    (
        ("The lungs are clear.", _LUNG_DISEASE | {"effusion", "pneumothorax"}),
        ("Lungs are clear bilaterally.", _LUNG_DISEASE | {"effusion", "pneumothorax"}),
        ("No focal airspace disease.", frozenset({"opacity", "atelectasis"})),
        ("There is no focal consolidation.", frozenset({"opacity"})),
        ("No focal consolidation or XXXX infiltrate.", frozenset({"opacity"})),
        (
            "No suspicious pulmonary nodules or opacities.",
            frozenset({"opacity", "nodule", "granuloma", "atelectasis"}),
        ),
    ),
    (
        ("No pneumothorax or pleural effusion.", frozenset({"pneumothorax", "effusion"})),
        ("There is no pleural effusion or pneumothorax.", frozenset({"pneumothorax", "effusion"})),
        ("No pleural effusion.", frozenset({"effusion"})),
        ("No pneumothorax.", frozenset({"pneumothorax"})),
        ("No evidence of pneumothorax.", frozenset({"pneumothorax"})),
        ("No large effusion is identified.", frozenset({"effusion"})),
        ("The costophrenic XXXX are sharp.", frozenset({"effusion"})),
    ),
    (
        (
            "The lungs are well expanded.",
            frozenset(
                {"hypoinflation", "hyperdistention", "pneumothorax", "atelectasis", "effusion"}
            ),
        ),
        ("Normal lung volumes.", frozenset({"hypoinflation", "hyperdistention"})),
    ),
    (
        ("Bony structures are intact.", frozenset({"degenerative", "scoliosis"})),
        ("Osseous structures are unremarkable.", frozenset({"degenerative", "scoliosis"})),
        ("No acute bony abnormality.", frozenset()),
        ("The XXXX are intact.", frozenset({"degenerative", "scoliosis"})),
        ("No acute osseous findings.", frozenset()),
        (
            "Visualized XXXX of the chest are within normal limits.",
            frozenset({"degenerative", "scoliosis"}),
        ),
    ),
    (
        ("No pulmonary edema.", frozenset()),
        ("Pulmonary vasculature is normal.", frozenset()),
        ("Mediastinal contours are normal.", frozenset({"clips"})),
        ("Trachea is midline.", frozenset()),
    ),
)
_CLOSING: tuple[tuple[str, frozenset[str]], ...] = (
    ("No acute cardiopulmonary abnormality.", _CHEST_DISEASE),
    ("No acute disease.", frozenset({"effusion", "pneumothorax", "opacity"})),
    ("No active disease.", frozenset({"effusion", "pneumothorax", "opacity", "atelectasis"})),
    ("No acute cardiopulmonary process.", _CHEST_DISEASE - {"granuloma"}),
    (
        "No evidence of active disease.",
        frozenset({"effusion", "pneumothorax", "opacity", "atelectasis"}),
    ),
    ("Normal chest x-XXXX.", _ALL),
    ("Normal chest.", _ALL),
    ("Clear lungs. No acute findings.", _CHEST_DISEASE - {"cardiomegaly"}),
    ("No acute pulmonary findings.", _LUNG_DISEASE | {"effusion", "pneumothorax"}),
)
_SYMPTOMS = (
    "Chest pain",
    "Shortness of breath",
    "Cough",
    "Dyspnea",
    "Cough and fever",
    "Preop evaluation",
    "XXXX pain",
    "Positive TB test",
    "Hypertension",
    "Fall",
    "Syncope",
    "Wheezing",
    "Followup",
)
_COMPARISON_NONE = ("None.", "None", "None available.", "No comparison available.", "XXXX.")
_COMPARISON_PRIOR = (
    "XXXX, XXXX",
    "Chest radiograph dated XXXX, XXXX.",
    "Two views of the chest XXXX.",
    "XXXX.",
    "PA and lateral chest x-XXXX XXXX.",
)


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.random() * len(options))]


def _where(finding: Finding) -> tuple[str, str]:
    """The place as an adverbial and as an adjective."""
    side = finding.side or ""
    if finding.kind == "clips":
        place = {
            "mediastinum": "in the mediastinum",
            "abdomen": f"in the {side} upper abdomen",
            None: f"in the {side} axilla",
        }[finding.site]
        return place, ""
    if finding.site == "lingula":
        return "in the lingula", "lingular"
    if finding.site == "base":
        if side == "bilateral":
            return "in both lung bases", "bilateral basilar"
        return f"in the {side} lung base", f"{side} basilar"
    if finding.site:
        return f"in the {side} {finding.site}", f"{side} {finding.site}"
    if side == "bilateral":
        return "in both lungs", "bilateral"
    return f"in the {side} lung", side


def describe(finding: Finding, has_prior: bool, rng: np.random.Generator) -> str:
    """One sentence that states the finding with its qualifiers."""
    where, site = _where(finding)
    degree = finding.degree or ""
    many = degree == "multiple"
    plural = many or (finding.kind == "effusion" and finding.side == "bilateral")
    article = "" if many else "a "
    sentence = _pick(rng, _POSITIVE[finding.kind])
    if "|" in sentence:
        right, left = sentence.split("|")
        tail = left.split("scoliosis", 1)[1]
        sentence = right + tail if finding.side == "right" else left
    number = "multiple " if many else ("single " if rng.random() < 0.15 else "")
    if "{number}" in sentence and not many:
        number = article + number
    if (
        not many
        and "granulomatous" not in sentence
        and sentence.startswith("There {is_are} {number}")
    ):
        number = number or "a "
    degree = "" if many else degree
    words = {
        "where": where,
        "site": site,
        "degree": f"{degree} " if degree else "",
        "adverb": "mildly " if degree == "mild" else "",
        "side": finding.side or "",
        "number": number,
        "is_are": "are" if plural else "is",
        "s": "s" if plural else "",
        "angle": "angles" if finding.side == "bilateral" else "angle",
        "apical": "apical " if finding.site == "apex" else "",
        "stable": ", stable" if has_prior and rng.random() < 0.6 else "",
    }
    if finding.kind == "effusion" and not plural and sentence.startswith("There"):
        words["degree"] = "a " + words["degree"]
    words["Degree"] = words["degree"]
    words["Number"] = words["number"]
    words["Side"] = words["side"]
    text = sentence.format(**words).strip()
    return text[0].upper() + text[1:]


def _opening(rng: np.random.Generator, present: frozenset[str]) -> list[str]:
    """Sentences about what is absent, at most one a group, about half of the groups."""
    sentences = []
    for group in _NEGATIVE:
        allowed = [text for text, denied in group if not denied & present]
        if allowed and rng.random() < 0.72:
            sentences.append(_pick(rng, allowed))
    return sentences


def write_report(
    shown: tuple[Finding, ...], patient: Patient, has_prior: bool, rng: np.random.Generator
) -> Report:
    """Write the report of a study.

    Args:
        shown: the findings, empty where normal.
        patient: whose study it is, for the indication.
        has_prior: whether an earlier study can be compared.
        rng: draws the wording.
    """
    present = frozenset(finding.kind for finding in shown)
    chance = rng.random
    positives = [describe(finding, has_prior, rng) for finding in shown]

    without_findings = chance() < 0.12
    without_impression = not without_findings and chance() < 0.02
    negatives = _opening(rng, present)
    body = positives + negatives
    if chance() < 0.7:
        body = [body[place] for place in rng.permutation(len(body))]
    if not body:
        body = ["XXXX views of the chest were obtained."]
    findings = None if without_findings else " ".join(body)

    if without_findings:
        told = list(positives)
    elif has_prior and shown and chance() < 0.15:
        told = [_pick(rng, ("Stable chest.", "No change from XXXX.", "Stable appearance."))]
    else:
        told = [describe(finding, has_prior, rng) for finding in shown if chance() < 0.7]
    closing = [text for text, denied in _CLOSING if not denied & present]
    if closing and (not told or chance() < 0.5):
        told.append(_pick(rng, closing))
    if not told:
        told = ["As above." if chance() < 0.5 else "See findings XXXX."]
    if len(told) > 1 and chance() < 0.6:
        told = [f"{number}. {text}" for number, text in enumerate(told, 1)]
    impression = None if without_impression else " ".join(told)

    indication = None
    if chance() < 0.95:
        indication = _pick(rng, _SYMPTOMS)
        draw = chance()
        if draw < 0.35:
            sex = "female" if patient.female else "male"
            indication = f"XXXX-year-old {sex} with {indication[0].lower()}{indication[1:]}"
            indication = indication.replace("xXXX", "XXXX")
        elif draw < 0.5:
            indication = f"{indication}, XXXX"
        indication += "." if chance() < 0.6 else ""
    comparison = None
    if chance() < 0.75:
        comparison = _pick(rng, _COMPARISON_PRIOR if has_prior else _COMPARISON_NONE)
    return Report(indication, comparison, findings, impression)
