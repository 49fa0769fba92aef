"""Fit the check of view and orientation to the pictures that a bundle is trained on.

What is turned or inverted is made from the training pictures themselves; lateral views are the
training set's own where it has them; what is no chest is drawn (``not_chest.py``).
"""

from __future__ import annotations

import logging
import warnings

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from cascade.data.datasets import StudyDataset
from cascade.data.transforms import to_unit
from cascade.models.suitability import Suitability
from cascade.models.view_check import SIDE, ViewCheck, gradient_features
from cascade.training.view_pictures import POSES, VARIANTS, training_pictures

log = logging.getLogger(__name__)

MOST = 800
"""So many training pictures of a view are enough; a fit then takes well under a minute."""
MOST_READ = 2000
"""So many pictures are looked at for the distance."""
ACCEPTED = 0.99
"""This share of the upright validation pictures is not doubted, by check and distance together."""
LEAST = 8
"""Fewer lateral training pictures make no class of their own."""
ROUNDS = 2
"""So often those training pictures are left out that lie turned themselves."""
MOST_TURNED = 0.2
"""Where more than this share seems turned, the seeming is not believed."""
BATCH = 64


def _small(images: Tensor, most: int = MOST) -> Tensor:
    """At most so many of them, spread over all, at the check's size."""
    if len(images) > most:
        images = images[np.linspace(0, len(images) - 1, most).round().astype(int)]
    return F.interpolate(images, size=(SIDE, SIDE), mode="area") if len(images) else images


def fit_suitability(train: StudyDataset, val: StudyDataset, seed: int = 0) -> Suitability:
    """The sense of doubt of a reader of these studies: the distance, and the check beside it.

    Args:
        train: what the network was trained on; the first studies of many are taken.
        val: another split.
        seed: of what is drawn.
    """
    read, upright = _rows_read(train), _rows_read(val)
    suitability = Suitability.fit(_pictures(train, read), _pictures(val, upright))
    lateral = np.array(train.records.laterals[:MOST_READ], dtype=np.int64)
    frontal = np.setdiff1d(read, train.records.laterals)
    if len(frontal):
        suitability.check = fit_view_check(
            _pictures(train, frontal),
            _pictures(train, lateral),
            _pictures(val, upright),
            suitability,
            bool(np.isin(read, lateral).any()),
            seed,
        )
    return suitability


def _rows_read(dataset: StudyDataset) -> NDArray[np.int64]:
    """Cache rows of the pictures that the network reads."""
    some = slice(-(-MOST_READ // dataset.places))
    return np.sort(dataset.rows[some][dataset.present[some]])


def _pictures(dataset: StudyDataset, rows: NDArray[np.int64]) -> Tensor:
    return to_unit(torch.from_numpy(np.asarray(dataset.cache.pixels[rows]))).unsqueeze(1)


def fit_view_check(
    frontal: Tensor,
    lateral: Tensor,
    val: Tensor,
    suitability: Suitability,
    reads_lateral: bool = False,
    seed: int = 0,
) -> ViewCheck:
    """Fit a check to training pictures; set its limit by validation pictures.

    Args:
        frontal: of training, upright.
        lateral: of training, upright; fewer than ``LEAST`` are not used.
        val: of validation, upright, of the views that the network reads.
        suitability: the distance beside which it stands: both together doubt at most
            ``1 - ACCEPTED`` of ``val``.
        reads_lateral: the network was trained on lateral views too: they are no cause for doubt.
        seed: of what is drawn.

    Shape:
        - frontal: ``(N, 1, H, W)`` in [0, 1], N at least 1
        - lateral: ``(M, 1, H, W)``
        - val: ``(V, 1, H, W)``
    """
    frontal = _small(frontal)
    lateral = _small(lateral) if len(lateral) >= LEAST else frontal[:0]
    accepted = ("frontal", "lateral") if reads_lateral and len(lateral) else ("frontal",)
    pictures = training_pictures(frontal, lateral, seed)
    classes = list(dict.fromkeys(pictures.names.tolist()))
    features = torch.cat([gradient_features(part) for part in pictures.images.split(BATCH)])
    check = ViewCheck(classes, accepted)
    kept = np.ones(len(features), dtype=bool)
    for _ in range(ROUNDS):
        _fit_weights(check, features.numpy()[kept], pictures.names[kept])
        exact = features[: len(frontal) * len(POSES)].view(len(POSES), len(frontal), -1)
        odd = np.flatnonzero(~_lies_upright(check, exact).numpy())
        if len(odd) > MOST_TURNED * len(frontal):  # these pictures have no way up
            odd = odd[:0]
        kept = ~np.isin(pictures.owners, odd)
    _fit_weights(check, features.numpy()[kept], pictures.names[kept])
    found = {"frontal": len(frontal), "lateral": len(lateral), "turned": len(odd)}
    check.pictures = found
    check.limit.copy_(torch.tensor(_limit(check, val, suitability)))
    return check


def _fit_weights(check: ViewCheck, features: NDArray[np.float32], names: NDArray[np.str_]) -> None:
    """Logistic regression; the scale of the features goes into the weights."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-3
    place = {name: index for index, name in enumerate(check.classes)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough: the limit is fitted too
        model = LogisticRegression(C=0.01, max_iter=60, class_weight="balanced")
        model.fit((features - mean) / deviation, [place[name] for name in names.tolist()])
    weight = model.coef_ / deviation
    check.weight.copy_(torch.from_numpy(weight))
    check.bias.copy_(torch.from_numpy(model.intercept_ - weight @ mean))


def _lies_upright(check: ViewCheck, variants: Tensor) -> Tensor:
    """Whether pictures lie as they should, judged by all their variants at once.

    Archives hold pictures that are turned themselves (about one in twenty of those of NIH at hand).
    If one is, then that which was turned back from it looks upright, and so on round the circle.

    Args:
        check: fitted, if to some turned ones too.
        variants: features of the pictures and of their variants.

    Shape:
        - variants: ``(len(POSES), N, FEATURES)``
        - output: ``(N,)`` bool
    """
    columns = [check.classes.index(name) for name in POSES]
    chances = F.linear(variants, check.weight, check.bias)[:, :, columns].log_softmax(dim=2)
    poses = list(POSES.values())
    sums = []
    for dark, by in poses:  # were the picture so, then each variant of it would be ...
        so = [poses.index((dark ^ made_dark, (by + made_by) % 360)) for made_dark, made_by in poses]
        sums.append(chances[list(range(len(poses))), :, so].sum(dim=0))
    return torch.stack(sums).argmax(dim=0) == 0


def _limit(check: ViewCheck, val: Tensor, suitability: Suitability) -> float:
    """The lead that few upright validation pictures exceed; never below 0.

    Pictures that the distance doubts already have used up their part of the share.
    """
    val = _small(val)
    lead = torch.cat([check.leads(part).amax(dim=1) for part in val.split(BATCH)])
    far = torch.cat([suitability(part) > 1 for part in val.split(BATCH)])
    suspect = torch.nonzero(lead > 0)[:, 0]
    if len(suspect):
        some = val[suspect]
        made = [some, *(change(some) for change in VARIANTS.values())]
        upright = _lies_upright(check, torch.stack([gradient_features(each) for each in made]))
        if int((~upright).sum()) <= MOST_TURNED * len(val):
            lead[suspect[~upright]] = -torch.inf
    allowed = max(round((1 - ACCEPTED) * len(val)) - int(far.sum()), 0)
    left = lead[~far].sort(descending=True).values
    return max(0.0, float(left[allowed])) if allowed < len(left) else 0.0
