"""Layers that read token ids: 0 is padding behind the last token and counts for nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unlearn_core.models.entry import Blend, Entry

STEP = 2_654_435_761  # Knuth's multiplicative hash


class Mean(Entry):
    """Token ids [N, L] → mean embedding [N, size] of the tokens, and of pairs of neighbours hashed into a table of the same size."""

    def __init__(self, vocabulary: int, size: int, pairs: bool):
        super().__init__()
        self.vocabulary = vocabulary
        self.words = nn.EmbeddingBag(vocabulary, size, mode="mean", padding_idx=0)
        self.pairs = nn.EmbeddingBag(vocabulary, size, mode="mean", padding_idx=0) if pairs else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for table in (self.words, self.pairs):
            if table is not None:
                nn.init.normal_(table.weight, std=1 / math.sqrt(table.weight.shape[1]))
                table.weight.data[0] = 0

    def enter(self, ids: Tensor) -> Tensor:
        found = self.words(ids)
        if self.pairs is None:
            return found
        ids = ids.long()
        first, second = ids[:, :-1], ids[:, 1:]
        # Small factors, so that nothing overflows: ids are below 2^20.
        both = 1 + (first * (STEP % (self.vocabulary - 1)) + second) % (self.vocabulary - 1)
        return (found + self.pairs(torch.where(second > 0, both, 0))) / 2


def encoder(size: int, heads: int, depth: int) -> nn.Module:
    """`depth` transformer layers on states [N, L, size] (Vaswani et al. 2017, arXiv 1706.03762), normalised before each."""
    # No dropout: retrained models and shadows shall differ by their data and seeds only, and layers can be read in either mode.
    layer = nn.TransformerEncoderLayer(size, heads, 4 * size, dropout=0.0, batch_first=True, norm_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


class Attention(Entry):
    """Token ids [N, L] → contextual states [N, L, size]: embeddings with positions and `depth` transformer layers; padding is not looked at.

    Texts are blended position by position, as in wordMixup (Guo, Mao and Zhang 2019, arXiv 1905.08941). A position where only some of them have
    a word counts with the shares of those, 0 to 1, as if it were there that many times: so much attention it gets, and so much it adds to the mean.
    """

    def __init__(self, vocabulary: int, length: int, size: int, heads: int, depth: int):
        super().__init__()
        self.words = nn.Embedding(vocabulary, size, padding_idx=0)
        self.places = nn.Parameter(torch.empty(length, size))
        self.reset_parameters()
        self.layers = encoder(size, heads, depth)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.places, std=0.02)
        nn.init.normal_(self.words.weight, std=0.05)
        self.words.weight.data[0] = 0

    def enter(self, ids: Tensor) -> Tensor:
        return self.words(ids)

    def forward(self, ids: Tensor | Blend) -> Tensor:
        if isinstance(ids, Blend):
            longest = max(1, int((ids.x != 0).any(dim=0).sum()))  # padding behind it would only take time
            return self._between(ids.under(lambda x: x[:, :longest]))
        hidden = ids == 0
        return self.layers(self.enter(ids) + self.places[: ids.shape[1]], src_key_padding_mask=hidden).masked_fill(hidden[..., None], 0.0)

    def _between(self, blend: Blend) -> Tensor:
        share = blend.mix((blend.x != 0).float()).clamp(0, 1)
        with soft_masks():
            states = self.layers(blend.through(self.enter) + self.places[: share.shape[1]], src_key_padding_mask=share.log())
        there = share > 0
        # So that Pooled, which counts every position that is there as one, gives the mean weighed by the shares.
        weight = share * there.sum(dim=1, keepdim=True) / share.sum(dim=1, keepdim=True)
        return torch.where(there[..., None], states * weight[..., None], 0.0)


@contextmanager
def soft_masks() -> Iterator[None]:
    """torch's fused transformer layers take any mask that is not 0 for "hidden"; in here they add masks to the scores, as they should."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Pooled(nn.Module):
    """States [N, L, size], all zero at padding → their mean over real tokens [N, size]."""

    def forward(self, states: Tensor) -> Tensor:
        real = (states != 0).any(dim=-1).sum(dim=1, keepdim=True).clamp(min=1)
        return states.sum(dim=1) / real
