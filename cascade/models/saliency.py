"""Where a label's score comes from: what the head says of each place, or else Grad-CAM.

A head that pools places (``cascade/models/pooling.py``) has a map of its own. Of a plain mean
Grad-CAM (Selvaraju et al. 2017) shows where the score is sensitive. Neither proves where a disease
is: a map is as coarse as the feature map, and it is scaled to its own maximum, so that a faint one
looks like a strong one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from cascade.models.heads import StudyClassifier


def class_activation(maps: Tensor, gradients: Tensor) -> Tensor:
    """The sum of feature maps, each weighed by its mean gradient, with what lowers the score cut.

    Of a mean over the map and a linear head these are the class activation maps of Zhou et al.
    2016, a constant apart.

    Shape:
        - maps, gradients: ``(B, D, H', W')``, the gradients of one score with respect to the maps
        - output: ``(B, H', W')``, 0 or more

    >>> maps = torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])
    >>> gradients = torch.tensor([[[[1.0, 1.0]], [[-1.0, -1.0]]]])
    >>> class_activation(maps, gradients)
    tensor([[[0., 3.]]])
    """
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(dim=1).clamp(min=0)


def grad_cam(classifier: StudyClassifier, images: Tensor, label: int) -> Tensor | None:
    """The map of one label's logit over the views of one study.

    Only what follows the feature map is differentiated. The module must be in evaluation mode.

    Args:
        classifier: the network.
        images: the study's views.
        label: a column of the logits.

    Shape:
        - images: ``(V, 1, H, W)`` in [0, 1]
        - output: ``(V, H, W)`` in [0, 1], enlarged from maps whose highest value over the views
          is 1; all 0 where no place raises the score; None where the map is a single place
    """
    with torch.no_grad():
        maps = classifier.encoder(images)
    if maps.shape[2] * maps.shape[3] < 2:
        return None
    views = torch.ones(1, len(images), dtype=torch.bool, device=images.device)
    with torch.enable_grad():
        maps = maps.detach().clone().requires_grad_()
        score = classifier.read_maps(maps, views).logits[0, label]
        (gradients,) = torch.autograd.grad(score, maps)
    return _enlarged(class_activation(maps.detach(), gradients), images, classifier)


@torch.no_grad()
def evidence_map(classifier: StudyClassifier, images: Tensor, label: int) -> Tensor | None:
    """The head's own map: how far each place stands above the mean place of the study's views.

    Args:
        classifier: the network, in evaluation mode.
        images: the study's views.
        label: a column of the logits.

    Shape:
        - images: ``(V, 1, H, W)`` in [0, 1]
        - output: as of ``grad_cam``; all 0 where all places say the same; None where the pooling
          has no map (``mean``), or one of a single place
    """
    views = torch.ones(1, len(images), dtype=torch.bool, device=images.device)
    evidence = classifier.forward_all(images.unsqueeze(0), views).evidence
    if evidence is None or evidence.shape[3] * evidence.shape[4] < 2:
        return None
    found = evidence[0, :, label]
    return _enlarged((found - found.mean()).clamp(min=0), images, classifier)


def saliency_map(classifier: StudyClassifier, images: Tensor, label: int) -> Tensor | None:
    """The head's own map where it has one, else Grad-CAM; shapes as of ``grad_cam``."""
    find = grad_cam if classifier.resolved()["pooling"] == "mean" else evidence_map
    return find(classifier, images, label)


def _enlarged(found: Tensor, images: Tensor, classifier: StudyClassifier) -> Tensor:
    """Maps of 0 and more, scaled to their common maximum, at the size of the images.

    0 where the encoder did not look (``Encoder.crop``).
    """
    highest = found.max()
    if highest > 0:
        found = found / highest
    full = (int(images.shape[2]), int(images.shape[3]))
    top, left, *size = classifier.encoder.window(*full)
    spread = F.interpolate(found.unsqueeze(1), size=size, mode="bilinear", align_corners=False)
    beside = (left, full[1] - left - size[1], top, full[0] - top - size[0])
    return F.pad(spread[:, 0].clamp(0, 1), beside)
