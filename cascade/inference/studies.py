"""From the images of a study to the study: which are read together, and the rows of both."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cascade.inference.decode import Decoded
from cascade.inference.index import FileWork, Instance, StudyWork
from cascade.inference.prediction import Prediction
from cascade.inference.privacy import short_hash
from cascade.inference.rows import new_row, said

LATERAL = "a lateral view by its header: the model was trained on frontal views alone"
MOST_FRONTALS = 4
"""So many frontal views of a study are read together by a model that was trained on one."""

_VIEW_ORDER = {"frontal": 0, "unknown": 1, "lateral": 2}  # as training chooses them


@dataclasses.dataclass
class ReadImage:
    """What became of a file on its way through.

    Attributes:
        file: which.
        decoded: what it held; its pixels go once they are no longer needed.
        instance: what it is, where its header says so.
        repeats: path of the first image with this instance; it is not read again.
        original: that image, where it is under way still.
        probabilities: of that image, where it is done.
        namesake: path of the first image of this SOP Instance UID, whose pixels differ.
        prediction: what the network says, or why it says nothing.
        kept: the pixels stay, since a writer asks for them.
    """

    file: FileWork
    decoded: Decoded
    instance: Instance | None = None
    repeats: str | None = None
    original: ReadImage | None = None
    probabilities: dict[str, float] | None = None
    namesake: str | None = None
    prediction: Prediction | str | None = None
    kept: bool = False

    @property
    def settled(self) -> bool:
        """Whether the network has had it, or never will."""
        return self.decoded.image is None or self.repeats is not None or self.prediction is not None

    def drop_pixels(self) -> None:
        """Forget the picture, keep what was said of it."""
        if (image := self.decoded.image) is not None and not self.kept:
            nothing = image.pixels[:0, :0].copy()  # a view would hold the whole picture
            slim = dataclasses.replace(image, pixels=nothing)
            self.decoded = self.decoded._replace(image=slim)


def read_image(file: FileWork, decoded: Decoded, key: str, kept: bool = False) -> ReadImage:
    """A decoded file, with its instance where it names one."""
    uid = decoded.image.facts.sop_instance_uid if decoded.image is not None else None
    instance = Instance(short_hash(uid, key), decoded.checksum) if uid else None
    return ReadImage(file, decoded, instance, kept=kept)


def probabilities(image: ReadImage | None) -> dict[str, float] | None:
    """What a row says of an image; None where the network said nothing."""
    if image is None or not isinstance(image.prediction, Prediction):
        return None
    found: dict[str, float] = said(image.prediction, ())["probabilities"]
    return found


@dataclasses.dataclass
class ReadStudy:
    """A study on its way through.

    Attributes:
        work: which.
        images: so far.
        chosen: those that are read together.
        reading: what the network says of them together, or why it says nothing; None where one
            image says it all.
    """

    work: StudyWork
    images: list[ReadImage] = dataclasses.field(default_factory=list)
    chosen: list[ReadImage] = dataclasses.field(default_factory=list)
    reading: Prediction | str | None = None

    @property
    def complete(self) -> bool:
        """Whether all its images are settled."""
        return len(self.images) == len(self.work.files) and all(i.settled for i in self.images)

    def choose(self, views: int) -> None:
        """Choose the images that are read together, and forget the pixels of the others.

        Those without doubt, frontal views first, by path: as many as the model was trained on, or
        of a model of single views, up to four that are not lateral.
        """
        good = [image for image in self.images if _usable(image, views)]
        good.sort(key=lambda image: (_order(image), image.file.path))
        self.chosen = good[: views if views > 1 else MOST_FRONTALS]
        kept = {id(image) for image in self.chosen}
        for image in self.images:
            if image.settled and id(image) not in kept:
                image.drop_pixels()


def _order(image: ReadImage) -> int:
    return _VIEW_ORDER[image.decoded.image.view] if image.decoded.image is not None else 3


def _doubts(image: ReadImage, views: int) -> list[str]:
    """What speaks against an image before the network sees it."""
    picture = image.decoded.image
    if picture is None:
        return []
    lateral = (LATERAL,) if picture.view == "lateral" and views == 1 else ()
    return [*picture.doubts, *lateral]


def _usable(image: ReadImage, views: int) -> bool:
    if not isinstance(image.prediction, Prediction):
        return False
    return not image.prediction.doubts and not _doubts(image, views)


class RowMaker:
    """Makes the rows of studies.

    Args:
        model: its id and version.
        views: how many of a study the model was trained on.
        key: of the hashes.
        abstain_below: a draft of less confidence is withheld; None: none is.
        shown: a path as the rows show it.
    """

    def __init__(
        self,
        model: tuple[str, str],
        views: int = 1,
        key: str = "",
        abstain_below: float | None = None,
        shown: Callable[[str], str] = str,
    ) -> None:
        """Remember the settings."""
        self.model, self.views, self.key = model, views, key
        self.abstain_below, self.shown = abstain_below, shown

    def image(self, image: ReadImage) -> dict[str, Any]:
        """The row of an image."""
        picture = image.decoded.image
        notes = list(image.decoded.warnings)
        values: dict[str, Any] = {"path": self.shown(image.file.path)}
        if picture is not None:
            study, series = picture.facts.study_instance_uid, picture.facts.series_instance_uid
            values["study"] = short_hash(study, self.key) if study else None
            values["series"] = short_hash(series, self.key) if series else None
            values["view"] = picture.view
            notes = list(dict.fromkeys([*picture.notes, *notes]))
        if image.namesake is not None:
            first = self.shown(image.namesake)
            notes.append(f"same SOP Instance UID as {first}, other pixels")
        values["notes"] = notes
        if picture is None:
            values["reason"] = image.decoded.reason or "unknown"
            return self._row("images", "failed", values)
        if image.repeats is not None:
            values["reason"] = f"same SOP Instance UID as {self.shown(image.repeats)}"
            values["probabilities"] = image.probabilities or probabilities(image.original)
            return self._row("images", "duplicate", values)
        return self._predicted("images", image.prediction, _doubts(image, self.views), values)

    def _row(self, kind: str, status: str, values: Mapping[str, Any]) -> dict[str, Any]:
        return new_row(kind, status, self.model, **values)

    def _predicted(
        self,
        kind: str,
        prediction: Prediction | str | None,
        doubts: Sequence[str],
        values: dict[str, Any],
    ) -> dict[str, Any]:
        if not isinstance(prediction, Prediction):
            return self._row(kind, "failed", {**values, "reason": prediction or "not read"})
        heard = said(prediction, doubts)
        status = "doubtful" if heard["doubts"] else "draft"
        if kind == "studies" and status == "draft":
            heard["contradictions"] = list(prediction.contradictions)
        return self._row(kind, status, {**values, **heard})

    def study(self, study: ReadStudy, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The row of a study.

        Args:
            study: complete.
            rows: of its images, in the order of ``study.images``.
        """
        statuses = Counter(row["status"] for row in rows)
        values: dict[str, Any] = {
            "study": study.work.study,
            "images": [row["path"] for row in rows],
            "views": [row["view"] for row in rows],
            "read": [],
            "notes": _left_out(statuses) if statuses["draft"] else [],
        }
        if not statuses["draft"] and not statuses["doubtful"]:
            if statuses["failed"]:
                reasons = dict.fromkeys(r["reason"] for r in rows if r["status"] == "failed")
                return self._row("studies", "failed", {**values, "reason": "; ".join(reasons)})
            reason = "every image came before, in another study"
            return self._row("studies", "duplicate", {**values, "reason": reason})
        if not statuses["draft"]:
            return self._doubtful(study, rows, values)
        if not study.chosen:
            raise AssertionError("a draft of an image that is not usable")
        single = study.chosen[0].prediction if len(study.chosen) == 1 else study.reading
        values["read"] = [self.shown(image.file.path) for image in study.chosen]
        return self._abstain(self._predicted("studies", single, (), values))

    def _doubtful(
        self, study: ReadStudy, rows: Sequence[dict[str, Any]], values: dict[str, Any]
    ) -> dict[str, Any]:
        """No image without a doubt: the probabilities of the first, and every doubt."""
        pairs = [
            (image, row)
            for image, row in zip(study.images, rows, strict=True)
            if row["status"] == "doubtful"
        ]
        _, first = min(pairs, key=lambda pair: (_order(pair[0]), pair[0].file.path))
        values |= {key: first[key] for key in ("confidence", "probabilities")}
        values["doubts"] = list(dict.fromkeys(doubt for _, row in pairs for doubt in row["doubts"]))
        return self._row("studies", "doubtful", values)

    def _abstain(self, row: dict[str, Any]) -> dict[str, Any]:
        """Withhold a draft of little confidence."""
        least = self.abstain_below
        if row["status"] != "draft" or least is None or row["confidence"] >= least:
            return row
        row |= {"status": "needs_reader", "annotation": None, "sentences": None}
        row["abstained"] = f"the confidence {row['confidence']:.3f} is below {least:.3f}"
        return row


def _left_out(statuses: Mapping[str, int]) -> list[str]:
    whole = sum(statuses.values())
    return [
        f"{statuses[status]} of {whole} images {word}: left out"
        for status, word in (("failed", "failed"), ("doubtful", "doubtful"))
        if statuses[status]
    ]
