"""What a collection holds, as one HTML page in counts and charts; no network, light and dark.

The page may be shown around: there is no text of a report on it and no identifier of a patient, a
study or an image. Needs no torch.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

import cascade
from cascade.evaluation.html import page_environment
from cascade.io.collection import SPLITS, VIEWS, Collection
from cascade.labels.mesh import NORMAL, diseases_of
from cascade.labels.segment import sentence_spans
from cascade.pipeline.summary_charts import Bin, bins_of, count_bars, histogram, share
from cascade.text.lengths import count_words, length_statistics
from cascade.text.marks import SHOWN, canonical_marks

SECTIONS = ("findings", "impression", "indication", "comparison")
PLOTTED = ("findings", "impression")
MOST_TERMS = 20
LEAST_STUDIES = 2
"""A term, label or source word that fewer studies carry is not named on the page."""
LONGEST_NAME = 80
_REPEATS = ((1, 1, "once"), (2, 2, "twice"), (3, 5, "3–5"), (6, 20, "6–20"), (21, 10**9, "over 20"))


def reasons_of(rejected: Iterable[Any], identifiers: Iterable[str] = ()) -> list[tuple[str, int]]:
    """Why files were rejected, each reason once with its count, the commonest first.

    What differs from file to file is left out of a reason: quoted words, whatever holds a digit or
    names a path, and identifiers, so that equal reasons are equal and nobody is named.

    Args:
        rejected: (file, reason) pairs, or mappings of the two.
        identifiers: further words to leave out.

    >>> reasons_of([("1.xml", "no such view 'AP'"), ("2.xml", "no such view 'LL'")])
    [('no such view …', 2)]
    """
    hidden = frozenset(identifiers)
    counts: Counter[str] = Counter()
    for each in rejected:
        file, reason = (each["file"], each["reason"]) if isinstance(each, Mapping) else each
        text = str(reason).removeprefix(f"{file}: ").replace(str(file), "…")
        text = re.sub(r"(['\"]).*?\1", "…", text)
        words = [
            "…" if word.strip(".,;:()") in hidden or re.search(r"[\d/\\]", word) else word
            for word in text.split()
        ]
        counts[re.sub(r"…(?:[\s,;:]*…)+", "…", " ".join(words))] += 1
    return counts.most_common()


class _View:
    """What the template asks for: plain values, and finished SVG."""

    def __init__(self, collection: Collection, rejected: Sequence[Any]) -> None:
        self.studies, self.images = collection.studies, collection.images
        self.info, self.counts = collection.info, collection.counts
        self.source = str(collection.info.get("source", "unknown"))
        self.texts = {
            section: [str(text) for text in self.studies[section] if text] for section in SECTIONS
        }
        identifiers = {
            *self.studies["study_id"],
            *self.studies["patient_id"],
            *self.images["image_id"],
        }
        self.rejected = len(rejected)
        self.reasons = reasons_of(rejected, identifiers)

    # --- the head

    def tiles(self) -> list[dict[str, str]]:
        """The numbers to see first."""
        count, found, named = (self.counts[k] for k in ("studies", "images_found", "images_named"))
        reported = sum(bool(f or i) for f, i in self._reports())
        annotated = sum(bool(terms) for terms in self.studies["mesh"])
        labelled = sum(labels is not None for labels in self.studies["labels"])
        tiles = [
            ("studies", f"{count:,}", f"of {self.counts['patients']:,} {self._patients()}"),
            ("images found", f"{found:,}", f"of {named:,} named ({share(found, named)})"),
            ("with a report", share(reported, count), f"{reported:,} have findings or impression"),
            ("annotated", share(annotated, count), f"{annotated:,} carry terms by hand"),
        ]
        if labelled:
            tiles.append(("labelled", share(labelled, count), f"{labelled:,} by the source itself"))
        if self.rejected:
            tiles.append(("rejected", f"{self.rejected:,}", "files or rows; reasons below"))
        return [{"name": n, "value": v, "note": note} for n, v, note in tiles]

    def _patients(self) -> str:
        return "patient" if self.counts["patients"] == 1 else "patients"

    def _reports(self) -> list[tuple[str, str]]:
        pairs = zip(self.studies["findings"], self.studies["impression"], strict=True)
        return [(str(f or ""), str(i or "")) for f, i in pairs]

    # --- studies and images

    def splits(self) -> list[dict[str, Any]]:
        """A row a split: studies, patients, images found, share of normal among the annotated."""
        split_of = self.studies.set_index("study_id")["split"].fillna("none")
        found = self.images.loc[self.images["path"].notna(), "study_id"].map(split_of)
        normal = pd.Series([_is_normal(terms) for terms in self.studies["mesh"]], dtype=object)
        names = self.studies["split"].fillna("none").to_numpy()
        rows = []
        for name in (*SPLITS, "none"):
            inside = self.studies[names == name]
            known = normal[names == name].dropna()
            if len(inside):
                rows.append(
                    {
                        "name": "in no split" if name == "none" else name,
                        "studies": len(inside),
                        "share": share(len(inside), len(self.studies)),
                        "patients": int(inside["patient_id"].nunique()),
                        "images": int((found == name).sum()),
                        "normal": share(int(known.sum()), len(known)),
                    }
                )
        return rows

    def views(self) -> list[dict[str, Any]]:
        """A row a view: images named and found."""
        rows = []
        for view in VIEWS:
            inside = self.images[self.images["view"] == view]
            found = int(inside["path"].notna().sum())
            rows.append(
                {
                    "name": view,
                    "named": len(inside),
                    "found": found,
                    "share": share(found, len(inside)),
                }
            )
        return rows

    def images_per_study(self) -> Markup:
        """How many images a study names."""
        per_study = self.images["study_id"].value_counts()
        none = len(self.studies) - len(per_study)
        counts = [*per_study.tolist(), *([0] * none)]
        return histogram("Images named per study", bins_of(counts), "images of a study")

    # --- reports

    def sections(self) -> list[dict[str, Any]]:
        """A row a section: how many studies have it, its length, marks of what was taken out."""
        rows = []
        for section in SECTIONS:
            found = length_statistics(self.texts[section])
            low, middle, high = (found.words.percentiles[part] for part in ("5", "50", "95"))
            there, missing = found.reports, len(self.studies) - found.reports
            rows.append(
                {
                    "name": section,
                    "there": there,
                    "missing": missing,
                    "missing_share": share(missing, len(self.studies)),
                    "median": f"{middle:.0f}" if there else "–",
                    "range": f"{low:.0f}–{high:.0f}" if there else "–",
                    "marked": share(round(found.share_with_marks * there), there),
                }
            )
        return rows

    def lengths(self) -> list[dict[str, Any]]:
        """Histograms of words and sentences of findings and impression."""
        found = []
        for unit, count in (("words", count_words), ("sentences", _sentences)):
            for section in PLOTTED:
                if texts := self.texts[section]:
                    counts = [count(text) for text in texts]
                    title = f"{section.capitalize()}: {unit} a report"
                    note = f"median {pd.Series(counts).median():g}, longest {max(counts):,}"
                    svg = histogram(title, bins_of(counts), unit)
                    found.append({"name": title, "note": note, "svg": svg})
        return found

    def marks(self) -> dict[str, Any]:
        """How many words were taken out of a report, to hide who it is about."""
        counts = [
            sum(canonical_marks(text).count(SHOWN) for text in pair)
            for pair in self._reports()
            if any(pair)
        ]
        return {
            "share": share(sum(count > 0 for count in counts), len(counts)),
            "svg": histogram("Words taken out of a report", bins_of(counts), "marks in a report"),
        }

    def missing(self) -> dict[str, str]:
        """Shares of studies by which of the two main sections they lack."""
        pairs, count = self._reports(), len(self.studies)
        return {
            "both": share(sum(bool(f and i) for f, i in pairs), count),
            "findings": share(sum(bool(i and not f) for f, i in pairs), count),
            "impression": share(sum(bool(f and not i) for f, i in pairs), count),
            "neither": share(sum(not (f or i) for f, i in pairs), count),
        }

    def repeats(self) -> dict[str, Any] | None:
        """How often findings and impression together say the same as another report's."""
        pairs = [(_folded(f), _folded(i)) for f, i in self._reports() if f or i]
        if not pairs:
            return None
        times = Counter(Counter(pairs).values())
        whole = len(pairs)
        bins = [
            Bin(name, sum(n * reports for n, reports in times.items() if low <= n <= high))
            for low, high, name in _REPEATS
        ]
        return {
            "reports": whole,
            "distinct": sum(times.values()),
            "distinct_share": share(sum(times.values()), whole),
            "alone": share(times[1], whole),
            "most": max(times),
            "svg": histogram(
                "Reports by how often their text occurs", bins, "times that it occurs"
            ),
        }

    # --- annotations

    def terms(self) -> dict[str, Any]:
        """The commonest terms by the studies that carry them, and how many terms a study has."""
        annotated = [terms for terms in self.studies["mesh"] if terms]
        carried = [diseases_of(terms) for terms in annotated]
        svg, hidden = _bars("Studies by annotation term", carried, len(annotated))
        per_study = bins_of([len(terms) for terms in annotated])
        automatic = sum(bool(terms) for terms in self.studies["mesh_automatic"])
        return {
            "annotated": len(annotated),
            "none": len(self.studies) - len(annotated),
            "normal": share(sum(bool(_is_normal(t)) for t in annotated), len(annotated)),
            "kinds": len({name for names in carried for name in names}),
            "hidden": hidden,
            "automatic": automatic,
            "svg": svg,
            "per_study": histogram("Terms of a study", per_study, "terms of a study"),
        }

    def labels(self) -> list[dict[str, Any]]:
        """Labels that the source gives, a row each: present, absent, uncertain."""
        counts: dict[str, Counter[float]] = {}
        for labels in self.studies["labels"]:
            for name, value in (labels or {}).items():
                counts.setdefault(str(name), Counter())[float(value)] += 1
        rows = [
            {
                "name": name[:LONGEST_NAME],
                "present": values[1.0],
                "absent": values[0.0],
                "uncertain": values[-1.0],
            }
            for name, values in counts.items()
            if sum(values.values()) >= LEAST_STUDIES
        ]
        return sorted(rows, key=lambda row: -int(row["present"]))

    # --- how it was made

    def facts(self) -> list[tuple[str, str]]:
        """Facts for the foot of the page; no path, for paths name people."""
        splits = self.info.get("splits") or {}
        made = self.info.get("made_by") or {}
        unused = self.info.get("files_unused") or {}
        facts = [("Source", self.source), ("Read from", self.info.get("reports"))]
        if splits:
            fractions = ", ".join(f"{part:g}" for part in splits.get("fractions", ()))
            rule = f"{splits.get('rule', 'given')}; {fractions}; seed {splits.get('seed')}"
            facts.append(("Splits by patient", rule))
        if isinstance(unused, Mapping) and unused.get("count"):
            facts.append(("Image files that no study names", f"{unused['count']:,}"))
        facts += [("Program", made.get("program")), ("Commit", made.get("commit"))]
        return [(name, str(value)) for name, value in facts if value]


def _is_normal(terms: Sequence[str]) -> bool | None:
    """Whether an annotation says normal and nothing else; None without one."""
    return [str(term).lower() for term in terms] == [NORMAL] if len(terms) else None


def _sentences(text: str) -> int:
    return len(sentence_spans(text))


def _folded(text: str) -> str:
    """A text without the differences that ``length_statistics`` passes over, too."""
    return " ".join(text.lower().split())


def _bars(title: str, carried: Sequence[Sequence[str]], whole: int) -> tuple[Markup, int]:
    """The commonest names as bars, and how many more there are."""
    counts = Counter(name for names in carried for name in dict.fromkeys(names))
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [pair for pair in ordered if pair[1] >= LEAST_STUDIES][:MOST_TERMS]
    rows = [(name[:LONGEST_NAME], count) for name, count in shown]
    return count_bars(title, rows, whole), len(ordered) - len(shown)


@functools.cache
def _template() -> jinja2.Template:
    return page_environment("cascade.pipeline").get_template("summary.html.j2")


def render_summary(collection: Collection, rejected: Sequence[Any] = ()) -> str:
    """The page as HTML.

    Args:
        collection: with its splits.
        rejected: what the reader left out: (file, reason) pairs, or mappings of the two.
    """
    view = _View(collection, rejected)
    return _template().render(view=view, notice=cascade.RESEARCH_NOTICE)
