"""Inputs of any shape as one row of numbers, categories by what is known of each."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from unlearn_core.models.base import Facts
from unlearn_core.models.entry import Entry

WIDEST = 16  # numbers that one category is embedded in


class Columns(Entry):
    """A table [N, d] with codes of categories → [N, count]: numbers as they are, then every category one-hot, or by a learned embedding.

    A code that is no category of its column counts as none: all zeros.
    """

    def __init__(self, categories: tuple[int, ...], learned: bool):
        super().__init__()
        self.numbers = [at for at, count in enumerate(categories) if not count]
        self.codes = {at: count for at, count in enumerate(categories) if count}
        widths = [min(WIDEST, -(-count // 2)) if learned else count for count in self.codes.values()]
        self.embed = nn.ModuleList(
            nn.Linear(count, width, bias=False) for count, width in zip(self.codes.values(), widths, strict=True) if learned
        )
        self.count = len(self.numbers) + sum(widths)

    def enter(self, x: Tensor) -> Tensor:
        found = [x[..., self.numbers]]
        for place, (at, count) in enumerate(self.codes.items()):
            one_hot = (x[..., at, None] == torch.arange(count, device=x.device)).to(x.dtype)
            found.append(self.embed[place](one_hot) if len(self.embed) else one_hot)
        return torch.cat(found, dim=-1)


def flat(facts: Facts, learned: bool = True) -> tuple[nn.Module, int]:
    """The layer that makes one row of numbers of an input, and how many it gives. learned: embed categories instead of one-hot."""
    if not facts.categories:
        return nn.Flatten(), prod(facts.shape)
    columns = Columns(facts.categories, learned)
    return columns, columns.count
