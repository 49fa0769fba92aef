"""What became of an archive."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

from cascade.inference.index import Index

_MOST_REASONS = 100


@dataclasses.dataclass(frozen=True)
class Summary:
    """Counts; ``found == annotated + sum(failed.values()) + skipped``.

    Attributes:
        found: files that were to be read, and things that could not be looked into.
        studies: that they make.
        annotated: files with probabilities, doubtful ones included.
        doubtful: those of them whose draft is withheld.
        drafts: studies with a draft.
        needs_reader: studies of which the model abstains.
        failed: files that failed, for each reason.
        skipped: files whose SOP Instance UID came before, with the same pixels.
        filtered: files that were left out, for each reason.
        ignored: files of no image kind.
        resumed: files that an earlier, interrupted run had done.
        already_complete: True where an earlier run had finished, and nothing was done now.
    """

    found: int
    studies: int
    annotated: int
    doubtful: int
    drafts: int
    needs_reader: int
    failed: dict[str, int]
    skipped: int
    filtered: dict[str, int]
    ignored: int
    resumed: int = 0
    already_complete: bool = False

    @property
    def failures(self) -> int:
        """Files that failed."""
        return sum(self.failed.values())

    def __str__(self) -> str:
        """A table to print.

        >>> print(Summary(4, 3, 2, 1, 1, 0, {"the file is empty": 1}, 1, {}, 7))
        files       4
          annotated 2
          doubtful  1, draft withheld
          duplicate 1, skipped
          failed    1
            1 x the file is empty
          ignored   7, of no image kind
        studies     3
          drafts    1
        """
        lines = [("files", self.found, ""), ("  annotated", self.annotated, "")]
        for name, count, remark in (
            ("  doubtful", self.doubtful, ", draft withheld"),
            ("  duplicate", self.skipped, ", skipped"),
        ):
            lines += [(name, count, remark)] if count else []
        text = [_line(*line) for line in lines]
        for name, reasons in (("  failed", self.failed), ("  filtered", self.filtered)):
            if reasons:
                text.append(_line(name, sum(reasons.values()), ""))
                text += [f"    {count} x {reason}" for reason, count in reasons.items()]
        if self.ignored:
            text.append(_line("  ignored", self.ignored, ", of no image kind"))
        text += [_line("studies", self.studies, ""), _line("  drafts", self.drafts, "")]
        if self.needs_reader:
            text.append(_line("  abstained", self.needs_reader, ", needs a reader"))
        if self.already_complete:
            text.append("an earlier run had finished this work: nothing was done now")
        elif self.resumed:
            text.append(f"{self.resumed} of the files were done by an earlier run")
        return "\n".join(text)


def _line(name: str, count: int, remark: str) -> str:
    return f"{name:<11} {count}{remark}"


def summarise(index: Index, resumed: int) -> Summary:
    """Count what an index says is done."""
    files, studies = index.count("files", "status"), index.count("studies", "status")
    return Summary(
        found=sum(files.values()),
        studies=sum(studies.values()),
        annotated=files["draft"] + files["doubtful"],
        doubtful=files["doubtful"],
        drafts=studies["draft"],
        needs_reader=studies["needs_reader"],
        failed=_commonest(index.failures()),
        skipped=files["duplicate"],
        filtered=_commonest(index.count("files", "filtered")),
        ignored=int((index.fact("listed") or {}).get("ignored", 0)),
        resumed=resumed,
    )


def _commonest(reasons: Mapping[str, int]) -> dict[str, int]:
    found = dict(Counter(reasons).most_common(_MOST_REASONS))
    if rest := sum(reasons.values()) - sum(found.values()):
        found["other reasons"] = rest
    return found
