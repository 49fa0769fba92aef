"""What a model card says of a model's reliability: calibration, abstention, doubts and the like."""

from __future__ import annotations

from typing import Any

from cascade.metrics.operating import OPERATING_NAMES, OPERATING_POINTS
from cascade.models.calibration import Calibration
from cascade.models.reader import Reader
from cascade.models.suitability import Suitability


def reliance_card(reader: Reader) -> str:
    """The part of a model card on how far a probability can be relied on; Markdown."""
    parts = [_calibration(reader.calibration)]
    if reader.operating_points is not None:
        parts.append(_points(reader))
    if reader.abstention is not None:
        parts.append(_abstention(reader.abstention))
    parts.append(_views(reader.suitability))
    return "\n".join(parts)


def _views(suitability: Suitability | None) -> str:
    """What becomes of pictures that lie wrong or show something else."""
    if suitability is None:
        return "Pictures: nothing tells those that are no chest radiographs.\n"
    check = suitability.check
    if check is None:
        return "Pictures: those far from the training pictures are doubted, however they lie.\n"
    counts = check.pictures
    lateral = (
        "a lateral view is read like a frontal one."
        if "lateral" in check.accepted
        else "a lateral view is doubted."
        if "lateral" in check.classes
        else "the training set has no lateral views to learn from: such a view is doubted only\n"
        "where it is far from the training pictures, or looks turned or like no chest."
    )
    return (
        "Pictures: those far from the training pictures are doubted, and those that look inverted, "
        f"turned or\nunlike a chest, by a check fitted to {counts.get('frontal', 0)} frontal and "
        f"{counts.get('lateral', 0)} lateral training pictures, without\n"
        f"{counts.get('turned', 0)} that lie turned themselves; {lateral}\n"
    )


def _calibration(calibration: Calibration) -> str:
    found = calibration.agreement
    if found is None or found.error is None:
        return f"Calibration of the probabilities: {calibration.method}; not measured.\n"
    lines = [
        f"Calibration of the probabilities: {calibration.method}. Means over the diseases, on the "
        f"{found.studies}",
        "validation studies; after calibration each study's probability is of a fit on other "
        "patients.",
        "",
        "| | expected calibration error | Brier score |",
        "| --- | --- | --- |",
        f"| as trained | {found.error:.4f} | {found.brier:.4f} |",
    ]
    if found.calibrated_error is not None:
        lines.append(
            f"| calibrated | {found.calibrated_error:.4f} | {found.calibrated_brier:.4f} |"
        )
    if calibration.kept:
        lines += ["", "Too few validation studies, not calibrated: " + ", ".join(calibration.kept)]
    return "\n".join(lines) + "\n"


def _points(reader: Reader) -> str:
    """A table of thresholds; what each reached on the very studies it was chosen on."""
    meaning = "; ".join(f"`{name}`: {OPERATING_POINTS[p]}" for name, p in OPERATING_NAMES.items())
    lines = [
        f"Operating points: {meaning}. A finding is called present at its threshold and above.",
        "Sensitivity and specificity are of the validation studies on which the threshold was "
        "chosen:",
        "they flatter. Where few studies are positive they say little.",
        "",
        f"| disease | positive | negative | {' | '.join(OPERATING_NAMES)} |",
        "| --- " * (3 + len(OPERATING_NAMES)) + "|",
    ]
    for disease in reader.diseases:
        own = (reader.operating_points or {})[disease]
        cells = []
        for name in OPERATING_NAMES:
            point = own[name]
            if point["threshold"] is None:
                cells.append(point["reason"])
            else:
                cells.append(
                    f"{point['threshold']:.4f} ({point['sensitivity']:.2f} / "
                    f"{point['specificity']:.2f})"
                )
        lines.append(
            f"| {disease} | {own['positives']} | {own['negatives']} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


def _abstention(found: dict[str, Any]) -> str:
    """Of which drafts the model abstains, and what that did on validation."""
    if found["threshold"] is None:
        return f"Abstention: no draft is withheld; {found['reason']}.\n"
    withheld = found["withheld"]
    return "\n".join(
        [
            f"Abstention: a draft whose confidence is below {found['threshold']:.6f} is withheld "
            "and needs a reader. The",
            f"threshold keeps {found['coverage']:.3f} ({found['wanted']} wanted) of the "
            f"{found['studies']} validation drafts. Quality is the F1 of what a",
            "draft names; the area is under the risk-coverage curve, the lower the better.",
            "",
            "| quality of all | of those kept | of those withheld | area | of a random order "
            "| of the best |",
            "| --- | --- | --- | --- | --- | --- |",
            f"| {found['quality']:.4f} | {found['kept']:.4f} | "
            f"{'none' if withheld is None else f'{withheld:.4f}'} | {found['area']:.4f} | "
            f"{found['random']:.4f} | {found['best']:.4f} |",
            "",
        ]
    )
