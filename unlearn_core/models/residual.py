"""Blocks with a way around them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Norm(nn.BatchNorm2d):
    """Batch normalisation that takes its running statistics where a batch is one single value for each channel and has none of its own."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class Block(nn.Module):
    """Two 3×3 convolutions with batch normalisation, added to the input (He et al. 2016, arXiv 1512.03385, Fig. 2)."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), Norm(after), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), Norm(after))
        same = before == after and stride == 1
        self.around = nn.Identity() if same else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), Norm(after))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.around(x))


class Patches(nn.Module):
    """Pictures [N, C, H, W] → states [N, P, size] of patches of `side` pixels, with learned places; pictures are filled up with zeros to whole patches."""

    def __init__(self, shape: tuple[int, ...], side: int, size: int):
        super().__init__()
        channels, height, width = shape
        self.fill = (0, -width % side, 0, -height % side)
        self.cut = nn.Conv2d(channels, size, side, side)
        self.places = nn.Parameter(torch.empty(-(-height // side) * -(-width // side), size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.cut.reset_parameters()
        nn.init.normal_(self.places, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.cut(nn.functional.pad(x, self.fill)).flatten(2).mT + self.places
