"""Where an image could change a label's score: Grad-CAM (Selvaraju et al. 2017).

A map shows where the score is sensitive. It is no localisation of disease: it is as coarse as the
feature map, and it is scaled to its own maximum, so that a faint one looks like a strong one.
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
    with torch.enable_grad():
        maps = maps.detach().clone().requires_grad_()
        pooled = classifier.encoder.pool(maps).mean(dim=0, keepdim=True)
        score = classifier.classify(pooled)[0, label]
        (gradients,) = torch.autograd.grad(score, maps)
    found = class_activation(maps.detach(), gradients)
    highest = found.max()
    if highest > 0:
        found = found / highest
    size = (int(images.shape[2]), int(images.shape[3]))
    spread = F.interpolate(found.unsqueeze(1), size=size, mode="bilinear", align_corners=False)
    return spread[:, 0].clamp(0, 1)
