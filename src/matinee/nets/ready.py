"""A trained network made ready to answer: less arithmetic and less to convert for each picture, the same answers."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def ready(network: nn.Module, precision: torch.dtype) -> nn.Module:
    """A copy in evaluation mode, to be run under autocast to `precision`: equal up to rounding.

    Batch normalisation that directly follows a convolution in an nn.Sequential is folded into its weights, and the
    weights that autocast would convert for each call are converted once. No layer may be used in two places, and
    convolutions and linear layers only through their `forward`.
    """
    form = copy.deepcopy(network).eval()
    for sequence in [layer for layer in form.modules() if isinstance(layer, nn.Sequential)]:
        for (name, first), (following, second) in itertools.pairwise(list(sequence.named_children())):
            if type(first) is nn.Conv2d and type(second) is nn.BatchNorm2d and second.track_running_stats:
                setattr(sequence, name, fuse_conv_bn_eval(first, second))
                setattr(sequence, following, nn.Identity())
    for layer in form.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.to(precision)
    return form.requires_grad_(False)
